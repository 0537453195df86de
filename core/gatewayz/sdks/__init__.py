"""Traces the calls of official SDKs, without a change to the code that makes them.

`instrument` and `uninstrument` are what `Tracer` calls. An SDK is never imported here: what is not
imported yet is wrapped when the application imports it.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import threading
from typing import TYPE_CHECKING

from gatewayz.errors import SettingsError
from gatewayz.sdks.anthropic import ANTHROPIC
from gatewayz.sdks.arrival import cancel, when_imported
from gatewayz.sdks.openai import OPENAI

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

    from gatewayz.sdks.wrapping import Wrapping
    from gatewayz.tracer import Tracer

__all__ = ["SDKS", "await_import", "instrument", "uninstrument"]

logger = logging.getLogger(__name__)

SDKS = {sdk.name: sdk for sdk in (OPENAI, ANTHROPIC)}
"""The SDKs that can be traced, by the name of their package."""

_tracers: dict[str, Tracer] = {}
_wrappings: dict[str, Wrapping] = {}
_lock = threading.RLock()


def instrument(name: str, tracer: Tracer) -> None:
    """Trace the calls of one SDK with this tracer, from now or from its import on. Idempotent.

    Raises SettingsError for an unknown name, an SDK that is not installed, or one of a version
    whose clients are made otherwise (where it is imported later, that is a line in the log).
    """
    if name not in SDKS:
        msg = f"instrument() knows {' and '.join(map(repr, SDKS))}, not {name!r}"
        raise SettingsError(msg)
    if name not in sys.modules and importlib.util.find_spec(name) is None:
        msg = f"{name} cannot be traced: it is not installed; run: pip install {name}"
        raise SettingsError(msg)
    with _lock:
        _tracers[name] = tracer
        wrapping = _wrappings.get(name)
        if wrapping is not None:
            wrapping.tracer = tracer
            return
    problem = None

    def wrap(module: ModuleType) -> None:
        nonlocal problem
        problem = _wrap(module)

    when_imported(name, wrap)
    if problem is not None:
        raise problem


def await_import(names: Iterable[str], tracer: Callable[[], Tracer]) -> None:
    """Trace SDKs with the tracer that is then asked for, each once it is imported, if it ever is.

    For the start of a process: loads nothing. A name that is not known or not installed is passed
    over; whoever set it has been told.
    """

    def wrap(module: ModuleType) -> None:
        _tracers.setdefault(module.__name__, tracer())
        _wrap(module)

    for name in SDKS.keys() & set(names):
        when_imported(name, wrap)


def uninstrument(name: str) -> None:
    """Undo `instrument`: the SDK's methods are the ones they were. Idempotent.

    Raises SettingsError for an unknown name.
    """
    if name not in SDKS:
        msg = f"uninstrument() knows {' and '.join(map(repr, SDKS))}, not {name!r}"
        raise SettingsError(msg)
    cancel(name)
    with _lock:
        _tracers.pop(name, None)
        wrapping = _wrappings.pop(name, None)
    if wrapping is not None:
        wrapping.undo()


def _wrap(module: ModuleType) -> SettingsError | None:
    from gatewayz.sdks.wrapping import Wrapping

    name = module.__name__
    with _lock:
        tracer = _tracers.get(name)
        if tracer is None or name in _wrappings:
            return None
        try:
            _wrappings[name] = Wrapping(SDKS[name], module, tracer)
        except SettingsError as error:
            logger.warning("%s", error)
            return error
    return None
