"""What a lesson says where it cannot run, in place of an error from somewhere inside a package."""

from importlib import metadata

from packaging.requirements import Requirement

REMEDY = "Run `make lab` in the folder of the course (see README.md): it installs what is needed."


class NotReady(Exception):
    """What is missing or too old, and what to run."""

    def _render_traceback_(self) -> list[str]:
        """What Jupyter shows: the message alone, because no line of a traceback is of use to the learner."""
        return [str(self)]


def check_packages() -> None:
    """Compare what is installed with what minigpt asks for in pyproject.toml.

    A copy of minigpt that was never installed asks for nothing.

    Raises:
        NotReady: torch or another package is missing or too old.
    """
    try:
        lines = metadata.requires("minigpt-course") or []
    except metadata.PackageNotFoundError:
        return
    problems = []
    for wanted in map(Requirement, lines):
        if wanted.marker is not None:
            continue  # belongs to an extra: what lessons import of those says so itself
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            problems.append(f"{wanted.name} is not installed")
            continue
        if not wanted.specifier.contains(version, prereleases=True):
            problems.append(f"{wanted.name} is of version {version}, and the lessons need {wanted.specifier}")
    if problems:
        raise NotReady(f"{'; '.join(problems)}. {REMEDY}")
