"""What `gatewayz run` puts before a program: Python imports it at start-up, by its name.

It makes way for the `sitecustomize` that would have been imported without it, and arranges for the
SDKs to be traced once they are imported. The program itself finds nothing of it on `sys.path`.
"""

import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatewayz.tracer import Tracer


def _chain(here: str) -> None:
    """Run the `sitecustomize` that this one hides, as Python would have."""
    sys.path[:] = [path for path in sys.path if os.path.realpath(path or ".") != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


def _trace() -> None:
    names = [name for name in os.environ.get("GATEWAYZ_INSTRUMENT", "").split(",") if name]
    try:
        from gatewayz.sdks import await_import
    except ImportError as error:
        # Only the program that was asked for, not every Python it may start in turn.
        if os.environ.get("_GATEWAYZ_RUN_PID") == str(os.getpid()):
            message = f"gatewayz: nothing is traced: {sys.executable} has no gatewayz ({error})\n"
            sys.stderr.write(message)
        return
    await_import(names, _default_tracer)


def _default_tracer() -> "Tracer":
    from gatewayz.tracer import AITracer

    return AITracer


_chain(str(Path(__file__).resolve().parent))
_trace()
