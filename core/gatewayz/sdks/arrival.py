"""Calls back once a module has been imported, without importing it.

A program that never uses an SDK never pays for it, and one that imports it late is traced all the
same. A finder stands first on `sys.meta_path` while somebody waits, asks the others for the module
and puts a loader before theirs that only adds the call.
"""

from __future__ import annotations

import importlib.abc
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["cancel", "when_imported"]

_waiting: dict[str, Callable[[ModuleType], None]] = {}
_lock = threading.RLock()


def when_imported(name: str, call: Callable[[ModuleType], None]) -> None:
    """Call `call(module)` as soon as a top-level module is imported; at once where it already is.

    One caller a name, the last one. It runs in the importing thread and must not raise.
    """
    with _lock:
        _waiting[name] = call
        if _FINDER not in sys.meta_path:
            sys.meta_path.insert(0, _FINDER)
    if name in sys.modules:
        # Waits for another thread that is in the middle of importing it.
        arrived(importlib.import_module(name))


def cancel(name: str) -> None:
    """Wait for a module no longer."""
    with _lock:
        _waiting.pop(name, None)
        if not _waiting and _FINDER in sys.meta_path:
            sys.meta_path.remove(_FINDER)


def arrived(module: ModuleType) -> None:
    """Call whoever waits for this module, once."""
    with _lock:
        call = _waiting.get(module.__name__)
        cancel(module.__name__)
    if call is not None:
        call(module)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname not in _waiting:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader(importlib.abc.Loader):
    """The module's own loader, which it becomes again once the module is made."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        arrived(module)

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":
            raise AttributeError(name)
        return getattr(self._loader, name)


_FINDER = _Finder()
