"""GPT-2's own weights (Radford et al. 2019) into our model, and our models out to Hugging Face's transformers.

Both are folders of files: `config.json`, the tensors (`model.safetensors`, in older folders `pytorch_model.bin`, in
large ones several files with an index) and the tokenizer (`vocab.json` with `merges.txt`, or `tokenizer.json`).
What stands in them is in `gpt2_layout.py`. No code of others runs: a pickle that holds more than tensors is refused.
"""

import json
import pickle
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from minigpt.config import GPTConfig, InputError, fit_vocabulary, nearest
from minigpt.model.gpt import GPT, holding
from minigpt.model.lora import merged
from minigpt.text.data import cache_folder
from minigpt.text.tokenizer import BPETokenizer, Tokenizer, gpt2_tokenizer
from minigpt.weights import gpt2_layout

HUB = "https://huggingface.co/openai-community"


@dataclass(frozen=True)
class Release:
    """A size of GPT-2 that can be downloaded: the commit of its repository, and the size and SHA-256 of its weights.

    The SHA-256 is not signed by anyone; but people who do not know each other have published the same one.
    """

    config: GPTConfig
    commit: str
    megabytes: int
    sha256: str


RELEASES = {  # sizes: Radford et al. 2019, table 2; heads: OpenAI's hparams.json
    "gpt2": Release(
        GPTConfig(dropout=0.1), "607a30d783dfa663caf39e06633721c8d4cfcd7e", 548,
        "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
    ),
    "gpt2-medium": Release(
        GPTConfig(n_layers=24, n_heads=16, d_model=1024, dropout=0.1), "6dcaa7a952f72f9298047fd5137cd6e4f05f41da", 1520,
        "fc5a354a19255ad494f3d71549390baca1ccf61d1d822b9408971705c687c9cd",
    ),
    "gpt2-large": Release(
        GPTConfig(n_layers=36, n_heads=20, d_model=1280, dropout=0.1), "32b71b12589c2f8d625668d2335a01cac3249519", 3247,
        "5f47f3e12f91cd33b662ce7e433b6150ad5512b5884a2cee961b50e9c3bbebce",
    ),
    "gpt2-xl": Release(
        GPTConfig(n_layers=48, n_heads=25, d_model=1600, dropout=0.1), "15ea56dee5df4983c59b2538573817e1667135e2", 6432,
        "0f8b28eb05a8075f48b61b6f35332978c74fc7763fa9fb4051a1c30511736a6a",
    ),
}  # fmt: skip


# In.


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever goes wrong with a file becomes one InputError that names it."""
    try:
        yield
    except FileNotFoundError as problem:
        raise InputError(f"{str(problem.filename or path)!r} is missing") from None
    except InputError as problem:
        raise InputError(f"{str(path)!r} cannot be used: {problem}") from None
    except pickle.UnpicklingError as problem:
        call = re.search(r"GLOBAL (\S+)", str(problem))
        why = f"it is a pickle that would call {call[1]}" if call else "it is not a pickle of tensors alone"
        raise InputError(
            f"{str(path)!r} was refused before any of it ran: {why}. Take the model.safetensors of the same model, "
            "which cannot hold code"
        ) from None
    except Exception as problem:  # what a damaged file makes json, safetensors and torch raise is no closed list
        raise InputError(
            f"{str(path)!r} cannot be used ({type(problem).__name__}: {problem}); fetch it again"
        ) from None


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8-sig"))


def read_config(folder: Path) -> GPTConfig:
    """The config of a folder. Raises InputError if it is missing or damaged, and as `from_gpt2_config`."""
    with reading(folder / "config.json"):
        return gpt2_layout.from_gpt2_config(_json(folder / "config.json"))


def read_pickle(path: Path) -> dict[str, Any]:
    """What torch.save wrote. A pickle names functions to call; only those that make tensors are."""
    with warnings.catch_warnings(action="ignore"):  # about old formats
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    if not (isinstance(loaded, dict) and all(isinstance(name, str) for name in loaded)):
        raise InputError("it does not hold tensors by name")
    return loaded


def read_tensors(folder: Path) -> dict[str, Any]:
    """What the weight files of a folder hold, one file or several with an index, as it is.

    Raises:
        InputError: naming the file that is missing, damaged, or a pickle of more than tensors.
    """
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{name}.index.json"
        if (folder / name).exists():
            parts = [name]
        elif index.exists():
            with reading(index):
                parts = sorted(set(_json(index)["weight_map"].values()))
                if any(Path(part).name != part for part in parts):
                    raise InputError(f"it names files elsewhere: {', '.join(parts)}")
        else:
            continue
        tensors: dict[str, Any] = {}
        for part in parts:
            with reading(folder / part):
                tensors |= load_file(folder / part) if part.endswith(".safetensors") else read_pickle(folder / part)
        return tensors
    raise InputError(f"{str(folder)!r} has no weights: neither model.safetensors nor pytorch_model.bin")


def read_tokenizer(folder: Path) -> BPETokenizer | None:
    """The tokenizer of a folder, with its own ids; None if there is none.

    Raises:
        InputError: if it is damaged, or works in another way than GPT-2's.
    """
    if (path := folder / "tokenizer.json").exists():
        with reading(path):
            whole = _json(path)
            cut = whole["pre_tokenizer"]
            kind = (whole["normalizer"], cut["type"], cut["add_prefix_space"], cut.get("use_regex", True))
            if kind != (None, "ByteLevel", False, True):
                raise InputError("it does not cut a text into words as GPT-2's does")
            merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in whole["model"]["merges"]]
            added = {token["content"]: token["id"] for token in whole["added_tokens"]}
            return gpt2_layout.from_gpt2_tokenizer(whole["model"]["vocab"] | added, merges, added)
    if (path := folder / "vocab.json").exists():
        with reading(path):
            lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
            merges = [line.split(" ") for line in lines if line and not line.startswith("#version")]
            return gpt2_layout.from_gpt2_tokenizer(_json(path), merges, _special(folder))
    return None


def _special(folder: Path) -> set[str]:
    """The special tokens that a folder's tokenizer_config.json names, if it has one that does."""
    path = folder / "tokenizer_config.json"
    known = _json(path).get("added_tokens_decoder", {}) if path.exists() else {}
    return {token["content"] for token in known.values()}


def download(name: str) -> Path:
    """The folder in the cache with the weights of a released GPT-2, downloaded once and verified each time.

    Before a download, a line on stderr says why and how much: the file is not there, or is not the one published.

    Raises:
        InputError: if they are not there and cannot be fetched; it says what to bring, from where, and where to put it.
    """
    import pooch

    release, folder = RELEASES[name], cache_folder() / name
    path = folder / "model.safetensors"
    if path.exists() and pooch.file_hash(str(path)) == release.sha256:
        return folder
    reason = "is damaged, its SHA-256 is not the published one" if path.exists() else "is not there yet"
    print(f"{str(path)!r} {reason}: downloading {name} ({release.megabytes} MB)", file=sys.stderr)
    pooch.get_logger().setLevel("WARNING")  # its own line would say less
    url = f"{HUB}/{name}/resolve/{release.commit}/model.safetensors"
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=2**20)
    try:
        pooch.retrieve(url, f"sha256:{release.sha256}", "model.safetensors", folder, downloader=downloader)
    except Exception as problem:  # pooch lets every kind of network error through
        raise InputError(
            f"{name} ({release.megabytes} MB) is not in the cache, or not whole, and cannot be downloaded "
            f"({type(problem).__name__}: {str(problem)[:100]}). Go online once; or take model.safetensors, vocab.json "
            f"and merges.txt from the repository openai-community/{name} on Hugging Face, into {str(folder)!r}"
        ) from None
    return folder


def is_gpt2(folder_or_name: str | Path) -> bool:
    """Whether this is the name of a released GPT-2, or a folder whose config.json is one of transformers'."""
    try:
        return str(folder_or_name) in RELEASES or "model_type" in _json(Path(folder_or_name) / "config.json")
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def load_gpt2(folder_or_name: str | Path) -> GPT:
    """A GPT-2 from a folder, or by its name: gpt2, gpt2-medium, gpt2-large, gpt2-xl (124 to 1558 million parameters).

    By name it is downloaded once into the cache. The model is on the CPU, in evaluation mode, in float32 (in float64 if
    its file is); its config has a dropout of 0.1, as the configs in its repositories have.

    Raises:
        InputError: if it cannot be found, fetched or read, or if it does not fit our model, naming all that is wrong.
    """
    name = str(folder_or_name)
    if name in RELEASES:
        folder, config = download(name), RELEASES[name].config
    elif Path(name).is_dir():
        folder, config = Path(name), read_config(Path(name))
    else:
        raise InputError(f"there is no folder {name!r}, and no GPT-2 of that name; {nearest(name, list(RELEASES))}")
    tensors = read_tensors(folder)
    with reading(folder):
        state = gpt2_layout.from_gpt2(tensors, config)
    return holding(config, state)


def load_gpt2_tokenizer(folder_or_name: str | Path) -> BPETokenizer:
    """The tokenizer of a GPT-2: the one in its folder, or else GPT-2's own through tiktoken.

    Raises:
        InputError: if there is none in the folder and the model's vocabulary is not GPT-2's; or as `gpt2_tokenizer`.
    """
    released = str(folder_or_name) in RELEASES
    folder = cache_folder() / str(folder_or_name) if released else Path(folder_or_name)
    if (tokenizer := read_tokenizer(folder)) is not None:
        return tokenizer
    own = (GPTConfig.vocab_size, GPTConfig(pad_vocab=64).padded_vocab_size)  # as released, and as nanoGPT trains it
    if not released and read_config(folder).vocab_size not in own:
        raise InputError(f"{str(folder)!r} has no tokenizer: neither vocab.json with merges.txt nor tokenizer.json")
    return gpt2_tokenizer()


def load(folder_or_name: str | Path) -> tuple[GPT, BPETokenizer]:
    """`load_gpt2` and `load_gpt2_tokenizer`. Of a model with more rows than tokens, the rest is padding.

    Raises:
        InputError: as they do, or if the tokenizer has more tokens than the model.
    """
    model, tokenizer = load_gpt2(folder_or_name), load_gpt2_tokenizer(folder_or_name)
    try:
        model.config = fit_vocabulary(model.config, tokenizer.vocab_size)
    except InputError as problem:
        raise InputError(f"{str(folder_or_name)!r} cannot be used: {problem}") from None
    return model, tokenizer


# Out.


def export_gpt2(model: GPT, tokenizer: Tokenizer, out: str | Path) -> None:
    """Write a folder that `load_gpt2` reads, and transformers' AutoModelForCausalLM and AutoTokenizer.

    Where the model has no biases, the files have zeros, because there every GPT-2 has them. A CharTokenizer is left
    out: transformers has nothing like it.

    Args:
        model: on any device; its numbers are written as they are, adapters merged.
        tokenizer: the model's.
        out: a folder that is not there yet, or empty. It appears when it is complete.

    Raises:
        InputError: if there is something at `out`, if it cannot be written, or as `to_gpt2_config`
            and `to_gpt2_tokenizer`.
    """
    model = merged(model)
    files = {"config.json": json.dumps(gpt2_layout.to_gpt2_config(model.config, tokenizer.end_of_text), indent=1)}
    if isinstance(tokenizer, BPETokenizer):
        files |= gpt2_layout.to_gpt2_tokenizer(tokenizer, model.config.context_length)
    write_folder(out, {"model.safetensors": gpt2_layout.to_gpt2(model)}, files)


def write_folder(out: str | Path, tensors: dict[str, dict[str, Tensor]], files: dict[str, str]) -> None:
    """Write a folder that appears when it is complete.

    Args:
        out: a folder that is not there yet, or empty.
        tensors: files of tensors, by name.
        files: files of text, by name.

    Raises:
        InputError: if there is something at `out`, or if it cannot be written.
    """
    out = Path(out).resolve()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{str(out)!r} is there already: name a folder that is new, or empty")
    unfinished = out.with_name(f"{out.name}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for name, text in files.items():
            (unfinished / name).write_text(text, encoding="utf-8", newline="\n")
        for name, part in tensors.items():
            # transformers refuses a file that does not say which library's tensors it holds.
            save_file(part, unfinished / name, metadata={"format": "pt"})
            shutil.copymode(unfinished / "config.json", unfinished / name)  # save_file hides it from others
        if out.exists():
            out.rmdir()  # Windows renames only to what is not there
        unfinished.rename(out)
    except (OSError, SafetensorError) as problem:
        raise InputError(f"{str(out)!r} could not be written ({problem}): make room, or choose another place") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
