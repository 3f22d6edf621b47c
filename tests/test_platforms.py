"""What Windows and macOS meet and Linux hides, as far as Linux can play them."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import minigpt
from minigpt import runtime
from minigpt.commands.output import print_json
from minigpt.config import InputError
from minigpt.generation.generate import generate
from minigpt.weights import checkpoint
from minigpt.weights.checkpoint import load_model

ROOT = Path(minigpt.__file__).parents[1]


def git(folder: Path, *arguments: str) -> None:
    settings = ("user.name=test", "user.email=test@example.org", "commit.gpgsign=false", "init.defaultBranch=main")
    options = [word for setting in settings for word in ("-c", setting)]
    subprocess.run(["git", *options, *arguments], cwd=folder, check=True, capture_output=True, text=True)


def run(folder: Path, *commands: str, **environment: str) -> str:
    """What commands print, one after the other in one process, with the package of this folder and beside it."""
    program = "import sys; from minigpt.cli import main\nfor line in sys.argv[1:]: assert main(line.split()) == 0, line"
    place = folder.parent / "elsewhere"
    place.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", program, *commands],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(folder), "MINIGPT_CACHE": str(place / "cache")} | environment,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def package_beside(folder: Path) -> Path:
    """This package, as a folder whose neighbour a test may write to."""
    (folder / "package").symlink_to(ROOT)
    return folder / "package"


# A clone made by Git for Windows, which turns the ends of lines unless it is told not to.


def cloned(folder: Path, *, with_attributes: bool) -> Path:
    """The package as it is in this folder, committed, and cloned with the setting that Git for Windows comes with."""
    origin, clone = folder / "origin", folder / "clone"
    shutil.copytree(ROOT / "minigpt", origin / "minigpt", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "figures", origin / "figures", ignore=shutil.ignore_patterns("__pycache__"))
    if with_attributes:
        shutil.copy(ROOT / ".gitattributes", origin)
    git(folder, "init", "-q", str(origin))
    git(origin, "add", "-A")
    git(origin, "commit", "-q", "-m", "all of it")
    git(folder, "clone", "-q", "-c", "core.autocrlf=true", str(origin), str(clone))
    return clone


def test_a_clone_on_windows_has_the_same_bytes(tmp_path: Path) -> None:
    clone = cloned(tmp_path, with_attributes=True)
    files = [path for path in (tmp_path / "origin").rglob("*") if path.is_file() and ".git" not in path.parts]
    assert len(files) > 80
    for path in files:
        assert (clone / path.relative_to(tmp_path / "origin")).read_bytes() == path.read_bytes(), path


def test_a_clone_with_turned_line_ends_works(tmp_path: Path) -> None:
    clone = cloned(tmp_path, with_attributes=False)
    for name in ("config.json", "tokenizer.json"):
        assert b"\r\n" in (clone / "minigpt" / "storyteller" / name).read_bytes(), "Git did turn them"
    small = "--max-steps 1 --threads 1 --batch-size 2 --d-model 8"
    commands = ("generate Once --seed 1 --max-new-tokens 4", "tokenizer Once", f"train --preset tiny {small} --out run")
    there = run(clone, *commands)
    assert there.startswith("Once") and "tokens for 4 bytes" in there and "done." in there
    model, tokenizer = load_model()
    prompt = [0 if tokenizer.end_of_text is None else tokenizer.end_of_text, *tokenizer.encode("Once")]
    (ids,) = generate(model, prompt, 4, stop_token=tokenizer.end_of_text, seed=1)
    assert there.startswith("Once" + tokenizer.decode(ids)), "the same model"


@pytest.mark.parametrize("written", [b"\n", b"\r\n"], ids=["on Linux", "on Windows, by an earlier minigpt"])
@pytest.mark.parametrize("found", [b"\n", b"\r\n"], ids=["as Unix has it", "as Windows has it"])
def test_a_run_in_git_keeps_its_seal(tmp_path: Path, written: bytes, found: bytes) -> None:
    folder = shutil.copytree(checkpoint.BUNDLED["storyteller"], tmp_path / "run")
    path = folder / "tokenizer.json"
    text = path.read_bytes().replace(b"\r\n", b"\n")
    config = json.loads((folder / "config.json").read_bytes())
    path.write_bytes(text.replace(b"\n", written))
    config["sha256"]["tokenizer.json"] = checkpoint._sha256(path)
    config["sha256"].pop("config.json")
    config["sha256"]["config.json"] = checkpoint._seal(config)
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8", newline="\r\n")
    path.write_bytes(text.replace(b"\n", found))
    assert checkpoint.load(folder).tokenizer.vocab_size == 1861
    path.write_bytes(text.replace(b" the", b" teh", 1).replace(b"\n", found))
    with pytest.raises(InputError, match=r"tokenizer.json is truncated or was changed"):
        checkpoint.load(folder)


# What other systems do not have.


def test_nothing_is_read_or_written_in_the_system_s_own_encoding(tmp_path: Path) -> None:
    """On Windows that is no UTF-8. Python warns on every system, when it is asked to."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "text.txt").write_text("Größe, 你好, и так далее. " * 300, encoding="utf-8")
    small = "--max-steps 2 --threads 1 --batch-size 2 --d-model 8 --context-length 16"
    run(
        package_beside(tmp_path),
        f"train --preset tiny --data text.txt --tokenizer char {small} --out run",
        "train --out run --resume --max-steps 3",
        "evaluate --model run",
        "generate и --model run --max-new-tokens 4",
        "tokenizer --train text.txt --vocab-size 260 --out bpe.json",
        "data prepare text.txt --tokenizer bpe.json --out tokens --workers 1",
        "export --out gpt2 --model run",
        PYTHONWARNDEFAULTENCODING="1",
        PYTHONWARNINGS="error::EncodingWarning:minigpt",
    )


def test_every_file_names_its_encoding() -> None:
    """The same for what no command above reaches: ruff's PLW1514, over all code but the lessons."""
    folders = ["minigpt", "figures", "benchmarks", "site"]
    ruff = [sys.executable, "-m", "ruff", "check", "-q", "--preview", "--select", "PLW1514", *folders]
    done = subprocess.run(ruff, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_json_is_json_in_a_pipe_on_windows(tmp_path: Path) -> None:
    out = run(package_beside(tmp_path), "generate 你😀né --max-new-tokens 1 --json", PYTHONIOENCODING="cp1252")
    assert json.loads(out)["prompt"] == "你😀né"


def test_json_of_half_a_character_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"text": "\ud83d"})
    assert json.loads(capsys.readouterr().out) == {"text": "\ud83d"}


def test_without_the_module_resource_nobody_counts_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.delattr(os, "uname")
    assert runtime.peak_memory(torch.device("cpu")) is None


def test_where_the_system_is_macos_memory_is_counted_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    on_linux = runtime.peak_memory(torch.device("cpu"))
    monkeypatch.setattr(sys, "platform", "darwin")
    on_macos = runtime.peak_memory(torch.device("cpu"))
    assert on_linux is not None and on_macos is not None and 500 < on_linux / on_macos < 1500


def test_a_device_without_float64_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apple's mps makes a tensor, and then raises TypeError at the first one of float64, in the middle of a step."""
    zeros = torch.zeros

    def as_on_mps(*size: int, device: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        if dtype == torch.float64:
            raise TypeError(
                "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
            )
        return zeros(*size, dtype=dtype)

    monkeypatch.setattr(torch, "zeros", as_on_mps)
    with pytest.raises(InputError, match=r"device 'mps' cannot be used here \(.*doesn't support float64.*try auto"):
        runtime.pick_device("mps")


def test_the_modules_load_without_what_only_unix_has(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fork", "geteuid", "uname", "sched_getaffinity"):
        monkeypatch.delattr(os, name)
    for name in ("resource", "fcntl", "pwd", "grp", "termios"):
        monkeypatch.setitem(sys.modules, name, None)
    for path in (ROOT / "minigpt").rglob("*.py"):
        if path.parts[-2] != "storyteller" and "course" not in path.parts and path.stem != "__main__":
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


def test_a_checkpoint_that_another_program_has_open_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows renames and deletes no folder with an open file, such as a model's weights in a notebook beside."""
    source = checkpoint.BUNDLED["storyteller"]
    for step in (11500, 11501, 11502):  # the bundled model's own step, and two later
        shutil.copytree(source, checkpoint.checkpoint_folder(tmp_path, step))
    replace = os.replace

    def as_on_windows(old: Path, new: Path) -> None:
        if Path(old).name == "step-00011500":
            raise PermissionError(13, "The process cannot access the file because it is being used")
        replace(old, new)

    monkeypatch.setattr(os, "replace", as_on_windows)
    checkpoint.keep_newest(tmp_path, 1)
    folders = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert folders == ["step-00011500", "step-00011502"]
    assert checkpoint.load(checkpoint.checkpoint_folder(tmp_path, 11500)).step == 11500, "whole"
    monkeypatch.undo()
    checkpoint.keep_newest(tmp_path, 1)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00011502"], "next time"
