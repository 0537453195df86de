"""Keeps what goes wrong in tracing out of the call that is traced."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["harmless"]

logger = logging.getLogger(__name__)

_WARN_EVERY_S = 60.0
_warned_at = -_WARN_EVERY_S


def harmless(step: Callable[..., Any], *args: Any) -> Any:
    """Return what a step returns, or None where it raises, with at most one log line a minute."""
    try:
        return step(*args)
    except Exception:
        # This runs inside somebody's model call, on objects of an SDK that may be newer than we
        # are: a surprise costs the trace of one call, never the call.
        global _warned_at  # noqa: PLW0603 - one line a minute, whichever step it is
        if time.monotonic() - _warned_at >= _WARN_EVERY_S:
            _warned_at = time.monotonic()
            logger.warning("a call of an SDK could not be traced", exc_info=True)
        return None
