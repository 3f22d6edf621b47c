"""The command line: minigpt doctor · lab · data · tokenizer · train · evaluate · generate · export.

Every command prints for people, or one JSON object with `--json`. Bad input gives one message and exit status 2.
"""

import io
import json
import os
import platform
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional

from minigpt.config import GPTConfig, InputError, TrainConfig, nearest, preset

if TYPE_CHECKING:
    import torch

    from minigpt.checkpoint import Checkpoint
    from minigpt.model import GPT
    from minigpt.shards import Manifest
    from minigpt.tokenizer import Tokenizer

STOPPED = 75
"""Exit status of a training that stopped early with a checkpoint (a signal, --max-minutes): BSD's «try again»."""

# The commands import what they need themselves: `minigpt --help` should not wait for torch.


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=1))


def _print_table(rows: dict[str, Any]) -> None:
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value:,}" if isinstance(value, int) else f"{name:<{width}}  {value}")


def _wrap(text: str) -> str:
    width = min(100, shutil.get_terminal_size().columns)
    return "\n".join(textwrap.fill(line, width) for line in text.splitlines())


def _find(model: str) -> "Checkpoint":
    """The checkpoint of a model, after a word about newer ones that cannot be used."""
    from minigpt import checkpoint, pretrained

    if model not in checkpoint.BUNDLED and not Path(model).exists():
        known = [*checkpoint.BUNDLED, *pretrained.RELEASES]
        raise InputError(f"there is no model and no folder called {model!r}; {nearest(model, known)}")
    found, problems = checkpoint.find(model)
    for problem in problems:
        print(f"passed over: {problem}", file=sys.stderr)
    if problems:
        print(f"the newest good checkpoint is {str(found.folder)!r}", file=sys.stderr)
    return found


def _load(model: str) -> "tuple[GPT, Tokenizer]":
    """A model with its tokenizer: one of ours, or a GPT-2 by name or in the layout of transformers."""
    from minigpt import checkpoint, pretrained

    if pretrained.is_gpt2(model):
        return pretrained.load(model)
    found = _find(model)
    return checkpoint.build_model(found), found.tokenizer


def _load_tokenizer(model: str) -> "Tokenizer":
    """The tokenizer of a model, or from a file of its own."""
    from minigpt import pretrained
    from minigpt.tokenizer import load_tokenizer

    if Path(model).is_file():
        return load_tokenizer(Path(model))
    return pretrained.load_gpt2_tokenizer(model) if pretrained.is_gpt2(model) else _find(model).tokenizer


def doctor(json: bool = False) -> int:
    """Tell what this machine has, which settings are fastest here, and what works offline.

    Args:
        json: print one JSON object.
    """
    import torch

    from minigpt import checkpoint, data, model, runtime

    device = runtime.pick_device()
    small = model.GPT(GPTConfig(vocab_size=512, context_length=128, n_layers=2, n_heads=4, d_model=128))
    ids = torch.randint(512, (16, 128))
    precision = runtime.pick_precision("auto", torch.device("cpu"))

    def work() -> None:
        with runtime.autocast(torch.device("cpu"), precision):
            small(ids).float().square().mean().backward()

    cache = data.cache_folder()
    shakespeare = (cache / "tinyshakespeare.txt").exists()
    storyteller = (checkpoint.BUNDLED["storyteller"] / "config.json").exists()
    free = shutil.disk_usage(cache if cache.exists() else Path.home()).free
    packages = ("minigpt-course", "torch", "numpy", "tiktoken", "tyro", "safetensors", "jupyterlab", "matplotlib")
    report = {
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpu cores": os.cpu_count(),
        "cpu instructions": torch.backends.cpu.get_cpu_capability(),
        "bfloat16 units": runtime.has_bfloat16_units(device),
        "precision": runtime.pick_precision("auto", device),
        "best threads": runtime.fastest_threads(work),
        "free disk (GB)": round(free / 1e9, 1),
        "cache": str(cache),
        "offline: the bundled model": storyteller,
        "offline: the story world": True,
        "offline: tiny Shakespeare": shakespeare,
        "offline: lessons": _version("jupyterlab") != "not installed",
    }
    if json:
        _print_json(report)
    else:
        if cache.is_relative_to(Path.home()):  # fit to show: in a notebook it is stored
            report["cache"] = str(Path("~") / cache.relative_to(Path.home()))
        _print_table({k: ("yes" if v else "no") if isinstance(v, bool) else v for k, v in report.items()})
        if not shakespeare:
            print("\ntiny Shakespeare is downloaded (1.1 MB) the first time you train with --data shakespeare")
    return 0


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def lab(lesson: Positional[str] = "00_start_here", port: int = 8888) -> int:
    """Open JupyterLab on the first page or on a lesson. Without a display it prints the address to open.

    Args:
        lesson: name of the lesson, or its number; by default the page that says where to begin.
        port: where JupyterLab listens; the next free one is taken if it is in use.
    """
    roots = [
        root for root in (Path.cwd(), *Path.cwd().parents, Path(__file__).parents[1]) if (root / "notebooks").is_dir()
    ]
    if not roots:
        raise InputError("there is no folder «notebooks» here: run this in a clone of the course's repository")
    lessons = sorted((roots[0] / "notebooks").glob("*.ipynb"))
    beginning = lesson.zfill(2) if lesson.isdigit() else Path(lesson).name.removesuffix(".ipynb")
    found = [path for path in lessons if path.name.startswith(beginning)]
    if not found:
        raise InputError(f"there is no lesson {lesson!r}; {nearest(lesson, [path.stem for path in lessons])}")
    if _version("jupyterlab") == "not installed":
        raise InputError("JupyterLab is not installed: run `make lab`, or pip install -e '.[lab]'")
    has_display = platform.system() in ("Windows", "Darwin") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    command = [sys.executable, "-m", "jupyterlab", f"--port={port}", *([] if has_display else ["--no-browser"])]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # in a container there is often no other user
    # Jupyter finds labconfig/ there, which switches its question about news off: a lesson needs no network.
    environment = os.environ | {"JUPYTER_CONFIG_PATH": str(roots[0])}
    # A file as argument would make its folder the root, and the pictures of the lessons, one folder up, out of reach.
    command.append(f"--ServerApp.root_dir={roots[0]}")
    command.append(f"--LabApp.default_url=/lab/tree/notebooks/{found[0].name}")
    _sign(roots[0] / "notebooks")
    return subprocess.call(command, cwd=roots[0], env=environment)


def _sign(folder: Path) -> None:
    """Let JupyterLab show the stored figures of the course's own notebooks; `jupyter trust` does the same.

    In a notebook that nobody on this machine has run or signed, such as one from a clone, it shows no SVG.
    """
    import nbformat
    from nbformat.sign import NotebookNotary

    notary = NotebookNotary()
    for source in (folder / "source").glob("*.py"):
        for path in (folder / f"{source.stem}.ipynb", folder / "solutions" / f"{source.stem}.ipynb"):
            with suppress(OSError, ValueError):  # not built yet, or broken: JupyterLab says so when it is opened
                notary.sign(nbformat.read(path, as_version=4))


def data(
    name: Positional[str] = "stories",
    num: int = 3,
    context_length: int = 192,
    tokenizer: Literal["auto", "char", "bpe"] = "auto",
    vocab_size: int = 1024,
    verify: bool = False,
    json: bool = False,
) -> int:
    """Look at a data set: its size, its tokens, and a few rows. `minigpt data prepare --help`: texts of any size.

    Args:
        name: stories, shakespeare, or the path of a text file or of a folder that `minigpt data prepare` made.
        num: how many rows to show.
        context_length: tokens in a row.
        tokenizer: one token per character, or byte pairs learned from the text.
        vocab_size: size of a byte-pair vocabulary.
        verify: compare every file of tokens with its hash, too.
        json: print one JSON object.
    """
    from minigpt import shards, stories
    from minigpt.data import StoryData, TextData, load_data

    if num < 0:
        raise InputError(f"num is {num}; it must be at least 0")
    source = load_data(name, context_length, tokenizer, vocab_size)
    report: dict[str, Any] = {"data": source.spec["name"], "vocab_size": source.tokenizer.vocab_size}
    if verify and not isinstance(source, TextData):
        raise InputError(f"{name} has no files to verify: leave --verify out")
    if isinstance(source, StoryData):
        examples = [stories.story_at("train", index) for index in range(num)]
        report |= {
            "different stories": stories.world().n_stories,
            "entropy (bits per story)": round(stories.entropy(), 4),
            "training stories": "made as needed, none twice",
            "validation and test stories": source.held_out,
            "examples": [{"plot": s.plot, "bits": s.bits, "text": s.text} for s in examples],
        }
    elif isinstance(source, TextData):
        rows = source.batch_at(0, max(1, num))[0][:num]
        report |= _sizes(source.manifest)
        if verify:
            report["files verified"] = shards.verify(source.folder)
        report |= {
            "folder": str(source.folder),
            "examples": [{"text": source.tokenizer.decode(row.tolist())} for row in rows],
        }
    if json:
        _print_json(report)
        return 0
    examples_shown = report.pop("examples")
    _print_table(report)
    for example in examples_shown:
        heading = f"{example['plot']}, {example['bits']:.1f} bits" if "plot" in example else "a training row"
        print(f"\n[{heading}]\n{_wrap(example['text'])}")
    return 0


def _sizes(manifest: "Manifest") -> dict[str, int]:
    report: dict[str, int] = {}
    for split, shards in manifest.shards.items():
        report |= {
            f"{split} tokens": sum(shard.tokens for shard in shards),
            f"{split} bytes": sum(shard.text_bytes for shard in shards),
            f"{split} shards": len(shards),
        }
    return report


def data_prepare(
    files: Positional[tuple[Path, ...]],
    out: Path,
    tokenizer: str = "gpt2",
    workers: int = 0,
    shard_mb: float = 64,
    json: bool = False,
) -> int:
    """Tokenize texts of any size into a folder for `--data`, in parallel; the same command again goes on.

    The last tenth of the text, at most 8 MB, becomes the validation split.

    Args:
        files: texts in UTF-8: .jsonl with a "text" in each line, anything else is one long text.
        out: the folder.
        tokenizer: gpt2, a bundled model, a run's folder, or a tokenizer file.
        workers: processes; 0 means one for each core.
        shard_mb: megabytes of text in a file of tokens, about.
        json: print one JSON object.
    """
    from minigpt.prepare import prepare

    used = _load_tokenizer(tokenizer)
    if workers == 0:
        # What taskset or a container leaves to this process; and Windows cannot wait for more than 61 at once.
        workers = min(61, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    manifest, n_kept = prepare(list(files), out, used, workers=workers, shard_bytes=round(shard_mb * 1e6))
    report = {"folder": str(out), "vocab_size": used.vocab_size, **_sizes(manifest), "shards kept": n_kept}
    if json:
        _print_json(report)
        return 0
    _print_table(report)
    print(f"\nTry: minigpt data {out}    minigpt train --data {out} --out run")
    return 0


def tokenizer(
    text: Positional[str] = "",
    model: str = "storyteller",
    train: str | None = None,
    vocab_size: int = 2048,
    num_stories: int = 20_000,
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Show how a text is cut into tokens, or train a tokenizer.

    Args:
        text: the text to cut.
        model: whose tokenizer: a model as for `minigpt generate`, or a tokenizer file.
        train: train a byte-pair tokenizer on this data instead: stories, or the path of a text file.
        vocab_size: its size.
        num_stories: how many training stories to learn from.
        out: the file to write it to.
        json: print one JSON object.
    """
    from minigpt import stories
    from minigpt.data import read_text
    from minigpt.tokenizer import BPETokenizer

    if train is not None:
        if out is None:
            raise InputError("where should the tokenizer go? Add --out FILE.json")
        if num_stories < 1:
            raise InputError(f"num_stories is {num_stories}; it must be at least 1")
        texts = (
            [stories.story_at("train", i).text for i in range(num_stories)]
            if train == "stories"
            else read_text(Path(train))
        )
        made = BPETokenizer.train(texts, vocab_size)
        made.save(out)
        if json:
            _print_json({"out": str(out), "vocab_size": made.vocab_size})
        else:
            print(f"{out}: {made.vocab_size} tokens")
        return 0
    used = _load_tokenizer(model)
    ids = used.encode(text)
    pieces = [used.decode([i]) for i in ids]
    if json:
        _print_json({"ids": ids, "tokens": pieces})
    elif not text:
        print(f'{used.vocab_size} tokens; give a text to see it cut: minigpt tokenizer "Once upon a time"')
    else:
        for i, piece in zip(ids, pieces, strict=True):
            print(f"{i:>6}  {piece!r}")
        print(f"{len(ids)} tokens for {len(text.encode())} bytes")
    return 0


@dataclass(frozen=True)
class Train:
    """Train a model. A preset sets all of it; any flag below changes one part."""

    preset: str = "storyteller"
    """storyteller, tiny, shakespeare-char, shakespeare-char-fast, -long or -gpu, gpt2 or gpt2-8."""
    data: str = "stories"
    """stories, shakespeare, or the path of a text file or of a folder that `minigpt data prepare` made."""
    out: Path = Path("run")
    """Folder for metrics.jsonl and checkpoints."""
    resume: bool = False
    """Go on with the run in --out from its newest good checkpoint."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, …"""
    tokenizer: Literal["auto", "char", "bpe"] = "auto"
    """For a text file: one token per character, or byte pairs learned from it (--vocab-size of them)."""
    model: OmitArgPrefixes[GPTConfig] = field(default_factory=GPTConfig)
    train: OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)


def _train_defaults(arguments: list[str]) -> Train:
    """What the flags start from: the preset's values, or with --resume those of the run itself."""
    import argparse

    scan = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    scan.add_argument("--preset", default="storyteller")
    scan.add_argument("--out", type=Path, default=Path("run"))
    scan.add_argument("--resume", action="store_true")
    scan.add_argument("--device", default="auto")
    try:
        known, _ = scan.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise InputError(str(error)) from None
    chosen = preset(known.preset)
    defaults = Train(
        known.preset,
        chosen.data,
        known.out,
        known.resume,
        tokenizer=chosen.tokenizer,
        model=chosen.model,
        train=chosen.train,
    )
    if {"-h", "--help"} & set(arguments):
        return defaults
    if known.resume:
        from minigpt import checkpoint

        saved, _ = checkpoint.newest_good(known.out)
        if not saved.run:
            raise InputError(f"{str(saved.folder)!r} does not say how it was trained, so it cannot be resumed")
        spec = saved.run["data"]
        defaults = replace(
            defaults, data=spec["name"], tokenizer=spec.get("tokenizer", "auto"),
            model=saved.model_config, train=TrainConfig(**saved.run["train"]),
        )  # fmt: skip
    else:
        from minigpt import runtime

        if runtime.pick_device(known.device).type == "cuda":
            defaults = replace(defaults, train=replace(defaults.train, compile=True))
    return defaults


def train(arguments: Train) -> int:
    """Train a model, or go on with a run."""
    from minigpt import runtime

    device = runtime.pick_device(arguments.device)
    with runtime.processes(device):
        return _train(arguments, device)


def _train(arguments: Train, device: "torch.device") -> int:
    from minigpt.data import load_data
    from minigpt.runtime import rank
    from minigpt.trainer import Trainer

    model = arguments.model
    try:
        source = load_data(arguments.data, model.context_length, arguments.tokenizer, model.vocab_size)
    except InputError as error:
        if arguments.resume:
            raise InputError(f"{error}. If the data was moved, add --data NEW_PLACE") from None
        raise
    # The data's tokenizer knows how many tokens there are.
    model_config = replace(model, vocab_size=source.tokenizer.vocab_size)
    if arguments.resume:
        trainer = Trainer.resume(arguments.out, source, model_config, arguments.train, device)
    else:
        trainer = Trainer(model_config, arguments.train, source, device, arguments.out)
    say = print if rank() == 0 else lambda message: None
    max_steps = arguments.train.max_steps
    if trainer.step >= max_steps:
        say(f"{arguments.out} is finished: {trainer.step} steps are done. To train longer, raise --max-steps")
        return 0
    size = sum(parameter.numel() for parameter in trainer.model.parameters())
    doing = "going on with" if trainer.step else "training"
    say(trainer.choices())
    say(f"{doing} {arguments.out}: {size:,} parameters, step {trainer.step} of {max_steps}")
    if not trainer.run():
        say(f"stopped after step {trainer.step}; go on with: minigpt train --out {arguments.out} --resume")
        return STOPPED
    say(f"done. Try: minigpt generate --model {arguments.out}    minigpt evaluate --model {arguments.out}")
    return 0


def evaluate(
    model: str = "storyteller",
    split: str | None = None,
    samples: int = 1000,
    seed: int = 0,
    device: str = "auto",
    json: bool = False,
) -> int:
    """Measure a model on its data: loss, distance to the entropy floor, and how many of its stories hold together.

    Args:
        model: a bundled model, or the folder of a run or of a checkpoint.
        split: val or test; by default test for stories, val for a text.
        samples: how many stories to generate and grade.
        seed: of those samples.
        device: auto, cpu, cuda, ….
        json: print one JSON object.
    """
    from minigpt import checkpoint, pretrained, runtime
    from minigpt.data import StoryData, load_data
    from minigpt.evaluate import evaluate as measure

    if pretrained.is_gpt2(model):
        raise InputError(f"{model!r} does not say what it was trained on, so there is nothing to measure it on")
    found = _find(model)
    if "data" not in found.run:
        raise InputError(f"{model!r} does not say what it was trained on, so there is nothing to measure it on")
    spec = found.run["data"]
    length = found.model_config.context_length
    source: Any
    if spec["name"] == "stories":
        source = StoryData(found.tokenizer, length)
    else:
        source = load_data(spec["name"], length, spec["tokenizer"], found.model_config.vocab_size)
        if source.spec != spec:
            raise InputError(
                f"{spec['name']!r} has changed since the model was trained on it; evaluate needs the same text"
            )
    report = measure(checkpoint.build_model(found).to(runtime.pick_device(device)), source, split, samples, seed)
    if json:
        _print_json(report)
        return 0
    units = {
        "loss": "nats per token",
        "floor": "nats per token",
        "gap": "nats per token",
        "floor_error": "standard error",
    }
    _print_table({
        name: f"{value:.4f} {units.get(name, '')}".rstrip() if isinstance(value, float) else value
        for name, value in report.items() if value is not None
    })  # fmt: skip
    return 0


def generate(
    prompt: Positional[str] = "",
    model: str = "storyteller",
    num: int = 1,
    max_new_tokens: int | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    beams: int | None = None,
    length_penalty: float = 1.0,
    seed: int | None = None,
    stream: bool = False,
    device: str = "auto",
    json: bool = False,
) -> int:
    """Let a model continue a text.

    Args:
        prompt: the beginning; empty for a text from nothing.
        model: storyteller; gpt2, gpt2-medium, gpt2-large, gpt2-xl; the folder of a run, a checkpoint or an export.
        num: how many texts.
        max_new_tokens: where to cut a text that does not end by itself; by default as many as the context has left.
        temperature: 1 samples as the model was trained, lower is safer, 0 always takes the likeliest token.
        top_k: sample from this many of the likeliest tokens only.
        top_p: sample from the fewest tokens that together have this probability.
        repetition_penalty: above 1 makes tokens that the text has already less likely.
        beams: instead of sampling, search with this many beams for the likeliest texts.
        length_penalty: with --beams, divide a text's log-probability by its length to this power.
        seed: the same seed gives the same texts.
        stream: show the text while it is written.
        device: auto, cpu, cuda, ….
        json: print one JSON object.
    """
    from minigpt import generate as sampling
    from minigpt import runtime
    from minigpt.beam_search import beam_search

    drawn = (temperature, top_k, top_p, repetition_penalty, seed) != (1.0, None, None, 1.0, None)
    if beams is not None and (drawn or num > max(1, beams)):
        raise InputError(
            f"--beams {beams} finds {beams} texts and draws nothing: leave out --temperature, --top-k, --top-p, "
            f"--repetition-penalty and --seed, and ask with --num for {beams} at most"
        )
    if stream and (json or beams is not None or num != 1):
        raise InputError("--stream shows one text while it is drawn: leave out --num, --beams and --json")
    loaded, used = _load(model)
    loaded.to(runtime.pick_device(device))
    start = [] if used.end_of_text is None else [used.end_of_text]
    ids = start + used.encode(prompt)
    if not ids:
        raise InputError("this model needs a beginning: give a prompt of at least one character")
    if max_new_tokens is None:
        max_new_tokens = max(1, loaded.config.context_length - len(ids))
    options: sampling.Options = {
        "temperature": temperature, "top_k": top_k, "top_p": top_p, "repetition_penalty": repetition_penalty,
        "stop_token": used.end_of_text, "seed": seed,
    }  # fmt: skip
    if stream:
        tokens = sampling.stream(loaded, ids, max_new_tokens, **options)
        print(prompt, end="", flush=True)
        for piece in sampling.stream_text(tokens, used):
            print(piece, end="", flush=True)
        print()
        return 0
    if beams is None:
        (samples,) = sampling.generate_batch(loaded, [ids], max_new_tokens, num=num, **options)
        found = [(sample.tokens, sum(sample.log_probabilities)) for sample in samples]
    else:
        best = beam_search(
            loaded, ids, max_new_tokens, beams=beams, length_penalty=length_penalty, stop_token=used.end_of_text
        )
        found = [(beam.tokens, beam.log_probability) for beam in best[:num]]
    texts = [prompt + used.decode(new) for new, _ in found]
    if json:
        log_probabilities = [log_probability for _, log_probability in found]
        _print_json({"model": model, "prompt": prompt, "texts": texts, "log_probabilities": log_probabilities})
    else:
        print("\n\n".join(map(_wrap, texts)))
    return 0


def export(out: Path, model: str = "storyteller", json: bool = False) -> int:
    """Write a model for transformers, in GPT-2's layout on Hugging Face.

    Args:
        out: a new folder, for config.json, model.safetensors and the tokenizer.
        model: as for `minigpt generate`.
        json: print one JSON object.
    """
    from minigpt import pretrained
    from minigpt.tokenizer import BPETokenizer

    loaded, used = _load(model)
    pretrained.export_gpt2(loaded, used, out)
    report = {
        "out": str(out),
        "parameters": sum(parameter.numel() for parameter in loaded.parameters()),
        "biases": "as trained" if loaded.config.bias else "zeros, because every GPT-2 has biases",
        "tokenizer": f"{used.vocab_size:,} tokens, the same ids"
        if isinstance(used, BPETokenizer)
        else "left out, because transformers has none that gives each character an id",
    }
    if json:
        _print_json(report)
        return 0
    _print_table(report)
    print(f"\nTry in Python: transformers.AutoModelForCausalLM.from_pretrained({str(out)!r})")
    return 0


COMMANDS: dict[str, Callable[..., int]] = {
    "doctor": doctor,
    "lab": lab,
    "data": data,
    "tokenizer": tokenizer,
    "train": train,
    "evaluate": evaluate,
    "generate": generate,
    "export": export,
}


def _help() -> str:
    lines = [f"  {name:<10} {(command.__doc__ or '').splitlines()[0]}" for name, command in COMMANDS.items()]
    return "\n".join(
        ["usage: minigpt COMMAND [options]", "", *lines, "", "minigpt COMMAND --help explains its options."]
    )


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit status: 0 done, 2 bad input, 75 training stopped early, 130 Ctrl-C."""
    arguments = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for a terminal or file that cannot hold every character
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    name, *rest = arguments
    try:
        if name not in COMMANDS:
            raise InputError(f"there is no command {name!r}; {nearest(name, list(COMMANDS))}")
        program = f"minigpt {name}"
        if name == "train":
            return train(tyro.cli(Train, prog=program, args=rest, default=_train_defaults(rest)))
        if name == "data" and rest[:1] == ["prepare"]:
            return tyro.cli(data_prepare, prog=f"{program} prepare", args=rest[1:])
        return tyro.cli(COMMANDS[name], prog=program, args=rest)
    except (InputError, OSError) as error:  # OSError: a full disk or a forbidden folder that nobody foresaw
        print(f"minigpt: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
