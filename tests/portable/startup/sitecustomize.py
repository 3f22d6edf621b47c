"""Put on another processor: every Python process that the test starts runs this first, and so do their own processes.

Python runs a module of this name, found on PYTHONPATH, before all else. It waits until torch is loaded, which a process
that needs no torch never does, and then lets `another_processor.py` do what the environment asks for.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType


class _Loader(importlib.abc.Loader):
    """Loads torch as ever, and makes it another processor's at once."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self.loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        import another_processor  # type: ignore[import-not-found]  # it stands beside this file

        another_processor.install()


class _WaitForTorch(importlib.abc.MetaPathFinder):
    """Answers once, for torch, with what all others would have found."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


sys.meta_path.insert(0, _WaitForTorch())
