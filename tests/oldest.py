"""The package with the oldest versions of what it needs, as pyproject.toml allows them: `make test-oldest`.

A venv in a temporary folder gets each requirement of the package at its lower bound. Everything else, torch and what
the tests need among it, comes from the environment that runs this, so that nothing large is downloaded again. With
`--list` it prints the bounds alone.
"""

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
AS_IT_IS = {"torch"}
"""Not taken back to its bound: it is large, and its builds differ from machine to machine."""

ROOMS = ("text", "model", "generation", "weights", "evaluation", "training", "commands")
FILES = ("config", "cli", "runtime", "imports", "processes", "platforms", "damage")
TESTS = [f"tests/{room}" for room in ROOMS] + [f"tests/test_{name}.py" for name in FILES]
"""Those of the package; the course, the figures and the benchmarks have requirements of their own."""


def lower_bounds(pyproject: Path = ROOT / "pyproject.toml") -> dict[str, str]:
    """Each package that minigpt needs, and the oldest version that it may have."""
    with pyproject.open("rb") as file:
        lines = tomllib.load(file)["project"]["dependencies"]
    bounds = {}
    for line in lines:
        found = re.fullmatch(r"([\w-]+)>=([\w.]+)", line)
        assert found, f"{line!r} has no lower bound, or more than that"
        bounds[found[1]] = found[2]
    return bounds


def main() -> int:
    """Make the environment, show what it has, and run the tests of the package in it."""
    pinned = [f"{name}=={version}" for name, version in lower_bounds().items() if name not in AS_IT_IS]
    print("\n".join(pinned), flush=True)
    if "--list" in sys.argv:
        return 0
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True, symlinks=os.name != "nt")
        python = str(Path(folder) / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
        ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
        own = Path(subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip())
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pinned]
        subprocess.run(pip, check=True)
        # After what is pinned, and only now: pip should not take a newer version there for its own.
        (own / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
        show = "from importlib.metadata import version; import sys; print(*(f'{n} {version(n)}' for n in sys.argv[1:]))"
        subprocess.run([python, "-c", show, *lower_bounds()], check=True)
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # newer packages announce plugins that older ones lack
        pytest = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(sys.argv[1:] or TESTS)]
        return subprocess.run(pytest, cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    raise SystemExit(main())
