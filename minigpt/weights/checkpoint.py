"""Checkpoints: folders that are complete or not there, verified when they are read.

A checkpoint holds `model.safetensors`, `tokenizer.json`, `config.json` and, for a run that goes on,
`training.safetensors` (the state of the optimisers and of the random generator). `config.json` is written last and
holds the SHA-256 of the other files and of itself. No pickle anywhere: loading a checkpoint never runs code.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from minigpt.config import GPTConfig, InputError, fit_vocabulary, model_config_from_json, to_json
from minigpt.model.gpt import GPT, empty_model
from minigpt.model.lora import merged, with_adapters
from minigpt.text.tokenizer import Tokenizer, load_tokenizer

FORMAT = 1
"""Of config.json; to be raised when an older program could not read what a newer one writes."""

STEP_FOLDER = re.compile(r"step-\d{8,}")

BUNDLED = {name: Path(__file__).parents[1] / name for name in ("storyteller", "helper")}
"""Models that come with the package."""


@dataclass
class Checkpoint:
    """What a checkpoint holds, on the CPU."""

    folder: Path
    model_config: GPTConfig
    model_state: dict[str, Tensor]
    tokenizer: Tokenizer
    step: int
    run: dict[str, Any]
    """How the run was set up (data, training config, precision, threads): what resume needs to go on as before."""
    training: dict[str, Tensor]
    """Optimiser states and the random generator's; empty for a model that is only to be used."""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_sealed(path: Path, digest: str) -> bool:
    """Whether a file has this SHA-256; a text with either line end, which Git for Windows turns in a clone."""
    if path.suffix != ".json":
        return _sha256(path) == digest
    text = path.read_bytes().replace(b"\r\n", b"\n")
    return digest in (hashlib.sha256(each).hexdigest() for each in (text, text.replace(b"\n", b"\r\n")))


def _seal(config: dict[str, Any]) -> str:
    """SHA-256 of what config.json says, whatever its white space."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def _flush(path: Path) -> None:
    """Make sure that a file's or folder's content is on the disk, not in a buffer that a power cut would lose."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open a folder
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)  # Windows flushes only what it may write
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _put_away(folder: Path) -> None:
    """Delete a checkpoint, or whatever has its name: first by another name, so that nobody ever finds half of it.

    Raises:
        OSError: when another program has it open, and the system (Windows) does not let it go; then it is untouched.
    """
    away = folder.with_name(f"{folder.name}.old")
    if away.is_dir() and not away.is_symlink():
        shutil.rmtree(away, ignore_errors=True)  # of a process that was killed here
    if os.path.lexists(folder):
        os.replace(folder, away)
    if away.is_dir() and not away.is_symlink():
        shutil.rmtree(away, ignore_errors=True)
    else:
        away.unlink(missing_ok=True)  # a file or a link that somebody put there


def save(
    folder: Path,
    model: GPT,
    tokenizer: Tokenizer,
    *,
    step: int = 0,
    run: dict[str, Any] | None = None,
    training: dict[str, Tensor] | None = None,
    state: dict[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint so that `folder` holds all of it or, after a crash at any moment, does not exist.

    Args:
        folder: where.
        model: whose weights; without `state`, adapters are merged into them.
        tokenizer: which belongs to it.
        step: how many steps it was trained.
        run: how, to resume it.
        training: what the optimisers remember.
        state: the model's parameters, where the model itself holds only shards of them.

    Raises:
        InputError: when the disk is full or cannot be written; what was there before is untouched.
    """
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        if state is None:
            model = merged(model)
            state = model.state_dict()
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        for name in _tied(model.config, state):
            del state[name]  # the same tensor as the token embedding's
        save_file(state, unfinished / "model.safetensors")
        if training:
            save_file(
                {name: t.detach().cpu().contiguous() for name, t in training.items()},
                unfinished / "training.safetensors",
            )
        tokenizer.save(unfinished / "tokenizer.json")
        config: dict[str, Any] = {
            "format": FORMAT,
            "step": step,
            "model": to_json(model.config),
            "run": run or {},
            "sha256": {file.name: _sha256(file) for file in sorted(unfinished.iterdir())},
        }
        config["sha256"]["config.json"] = _seal(config)
        (unfinished / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8", newline="\n")
        for file in unfinished.iterdir():
            _flush(file)
        _put_away(folder)
        unfinished.rename(folder)
        _flush(folder.parent)
    except (OSError, SafetensorError) as error:
        others = [other.name for other in folder.parent.glob("step-*") if STEP_FOLDER.fullmatch(other.name)]
        then = f"go on from {max(others)} with --resume" if others else "begin again"
        raise InputError(
            f"the checkpoint {str(folder)!r} could not be written ({error}): make room, or close the program that has "
            f"it open, then {then}"
        ) from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _config(folder: Path) -> dict[str, Any]:
    """What config.json says.

    Raises:
        InputError: when it is not what `save` wrote.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"checkpoint {str(folder)!r}: config.json is damaged or no JSON ({error})") from None
    if not (isinstance(config, dict) and "format" in config and "sha256" in config):
        raise InputError(
            f'{str(folder)!r} is no checkpoint of minigpt: its config.json has no "format" and "sha256". If it is '
            'a GPT-2 for transformers, its config.json needs "model_type": "gpt2"'
        )
    return config


def load(folder: Path) -> Checkpoint:
    """Read a checkpoint and verify every file.

    Raises:
        InputError: when a file is missing, truncated or was changed, naming it.
    """
    try:
        config = _config(folder)
        if config["format"] != FORMAT:
            raise InputError(f"checkpoint {str(folder)!r} has format {config['format']}; this minigpt reads {FORMAT}")
        expected: dict[str, str] = config["sha256"]
        found = {"config.json": expected.pop("config.json") == _seal(config)}
        found |= {name: _is_sealed(folder / name, digest) for name, digest in expected.items()}
        for name, is_good in found.items():
            if not is_good:
                raise InputError(f"checkpoint {str(folder)!r}: {name} is truncated or was changed since it was written")
        if folder.name != checkpoint_folder(folder, config["step"]).name and STEP_FOLDER.fullmatch(folder.name):
            raise InputError(
                f"checkpoint {str(folder)!r} holds step {config['step']}: give it the name that it had, "
                f"{checkpoint_folder(folder, config['step']).name}"
            )
        tokenizer = load_tokenizer(folder / "tokenizer.json")
        return Checkpoint(
            folder=folder,
            model_config=fit_vocabulary(model_config_from_json(config["model"]), tokenizer.vocab_size),
            model_state=load_file(folder / "model.safetensors"),
            tokenizer=tokenizer,
            step=config["step"],
            run=config["run"],
            training=load_file(folder / "training.safetensors") if "training.safetensors" in expected else {},
        )
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"checkpoint {str(folder)!r}: {Path(error.filename).name} is missing") from None
    except OSError as error:
        raise InputError(f"checkpoint {str(folder)!r} cannot be read ({error})") from None
    except SafetensorError as error:
        raise InputError(f"checkpoint {str(folder)!r}: a safetensors file is damaged ({error})") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"checkpoint {str(folder)!r}: config.json is damaged ({error})") from None


def checkpoint_folder(run_folder: Path, step: int) -> Path:
    """Where a run keeps the checkpoint of this step."""
    return run_folder / "checkpoints" / f"step-{step:08d}"


def checkpoint_folders(run_folder: Path) -> list[Path]:
    """The checkpoints of a run, the newest last; whether they are good is not looked at."""
    found = (run_folder / "checkpoints").glob("step-*")
    return sorted(folder for folder in found if STEP_FOLDER.fullmatch(folder.name))


def newest_good(run_folder: Path) -> tuple[Checkpoint, list[str]]:
    """The newest checkpoint of a run that passes its verification, and what was wrong with the newer ones.

    Raises:
        InputError: when there is none.
    """
    problems: list[str] = []
    for folder in reversed(checkpoint_folders(run_folder)):
        try:
            return load(folder), problems
        except InputError as error:
            problems.append(str(error))
    if not problems:
        raise InputError(f"{str(run_folder)!r} has no checkpoint to go on from or to use: train without --resume")
    detail = "".join(f"\n  - {problem}" for problem in problems)
    raise InputError(
        f"{str(run_folder)!r} has no checkpoint that can be used: restore one of them, or train anew with another "
        f"--out:{detail}"
    )


def keep_newest(run_folder: Path, count: int, best: int = -1) -> None:
    """Delete all but the newest `count` checkpoints of a run, and that of step `best`.

    One that another program has open stays for the next time: Windows does not let it go.
    """
    for folder in checkpoint_folders(run_folder)[:-count]:
        if folder != checkpoint_folder(run_folder, best):
            with suppress(OSError):
                _put_away(folder)


def find(name: str) -> tuple[Checkpoint, list[str]]:
    """The checkpoint meant by a bundled model's name, a run's folder, or a checkpoint's folder.

    The second value tells what was wrong with newer checkpoints that had to be passed over.

    Raises:
        InputError: when there is nothing of that name, or nothing that can be used.
    """
    folder = BUNDLED.get(name, Path(name))
    if (folder / "checkpoints").is_dir():
        return newest_good(folder)
    if not folder.is_dir():
        raise InputError(f"there is no model and no folder called {name!r}; bundled models: {', '.join(BUNDLED)}")
    if (folder / "metrics.jsonl").exists():
        raise InputError(f"{name!r} is a run without a checkpoint: train it again, with another --out")
    if not (folder / "config.json").exists() and not (folder / "model.safetensors").exists():
        raise InputError(f"{name!r} holds neither a checkpoint nor a run; give the folder that --out named")
    if folder.parent.name == "checkpoints":
        try:
            return load(folder), []
        except InputError as error:
            good = newest_good(folder.parent.parent)[0].folder
            raise InputError(f"{error}. The newest good checkpoint of this run is {str(good)!r}") from None
    return load(folder), []


def _tied(config: GPTConfig, state: Collection[str]) -> list[str]:
    """Of these names, that of the output head's matrix where it is the token embedding's; under an adapter or not."""
    names = ("output_head.weight", "output_head.base.weight")
    return [name for name in names if name in state and config.tie_embeddings]


def _with_adapters_of_run(model: GPT, checkpoint: Checkpoint) -> GPT:
    """The model as the run of a checkpoint trains it: with adapters, where its config says so."""
    train = checkpoint.run.get("train", {})
    if not train.get("lora"):
        return model
    return with_adapters(model, train["lora"], train["lora_alpha"], train["lora_on"])


def build_model(checkpoint: Checkpoint, *, merge: bool = True) -> GPT:
    """The model of a checkpoint, in evaluation mode, on the CPU.

    Args:
        checkpoint: what `load` read.
        merge: whether a model that is trained with adapters becomes a plain one, to use; to go on training it must not.

    Raises:
        InputError: when the tensors are not those of the model, naming the first that does not fit.
    """
    try:
        model = _with_adapters_of_run(empty_model(checkpoint.model_config), checkpoint)
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"checkpoint {str(checkpoint.folder)!r}: config.json is damaged ({error})") from None
    expected, state = model.state_dict(), dict(checkpoint.model_state)
    for name in _tied(checkpoint.model_config, expected):
        if "token_embedding.weight" in state:
            state[name] = state["token_embedding.weight"]
    for name, tensor in expected.items():
        if name not in state or state[name].shape != tensor.shape:
            found = tuple(state[name].shape) if name in state else "missing"
            raise InputError(
                f"{str(checkpoint.folder)!r}: tensor {name} is {found}, the config needs {tuple(tensor.shape)}"
            )
    if unknown := sorted(state.keys() - expected.keys()):
        raise InputError(f"{str(checkpoint.folder)!r}: tensor {unknown[0]} is not of this model")
    dtypes = {str(tensor.dtype).removeprefix("torch.") for tensor in state.values()}
    if len(dtypes) > 1 or not all(tensor.is_floating_point() for tensor in state.values()):
        raise InputError(f"{str(checkpoint.folder)!r}: its tensors are {', '.join(sorted(dtypes))}, not all float32")
    model.load_state_dict(state, assign=True)
    for name in _tied(checkpoint.model_config, expected):
        head = model.get_submodule(name.removesuffix(".weight"))
        head.weight = model.token_embedding.weight
    return (merged(model) if merge else model).eval()


def load_model(name: str = "storyteller") -> tuple[GPT, Tokenizer]:
    """A trained model and its tokenizer: bundled ("storyteller", "helper"), or from a run's or a checkpoint's folder.

    `minigpt.weights.models.load_model` takes these and everybody else's models.

    Raises:
        InputError: when there is nothing of that name, or nothing that can be used.
    """
    checkpoint, _ = find(name)
    return build_model(checkpoint), checkpoint.tokenizer
