"""What code runs inside of: the span around it, inherited attributes, suppression.

One context variable of ours holds the innermost node; nothing is ever attached to OpenTelemetry's
context. A node entered in the frame of a generator counts only while that generator is running
(its frame is on the stack): a `break` in the consumer, which leaves the generator suspended inside
its `with`, never makes it anybody's parent.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

__all__ = ["Inherited", "Node", "current", "enter", "leave", "living"]

_SUSPENDS = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
# `@contextmanager` runs the body of a `with` outside its generator on purpose.
_MANAGERS = frozenset(
    {
        contextlib._GeneratorContextManager.__enter__.__code__,
        contextlib._AsyncGeneratorContextManager.__aenter__.__code__,
    }
)


class Inherited:
    """Attributes that every span inside takes on, already merged with the ones around them."""

    __slots__ = ("metadata", "session_id", "tags", "user_id")

    def __init__(
        self,
        around: Inherited | None,
        user_id: str | None,
        session_id: str | None,
        tags: tuple[str, ...],
        metadata: Mapping[str, Any],
    ) -> None:
        self.user_id: str | None = (
            user_id if user_id is not None or around is None else around.user_id
        )
        self.session_id: str | None = (
            session_id if session_id is not None or around is None else around.session_id
        )
        self.tags: tuple[str, ...] = tags if around is None else around.tags + tags
        self.metadata: dict[str, Any] = (
            dict(metadata) if around is None else {**around.metadata, **metadata}
        )


class Node:
    """One level of nesting. `_up` is the living node around it, `_over` tells that it has ended."""

    _up: Node | None = None
    _over = False
    _token: Token[Node | None] | None = None
    _frame: int = 0
    _inherited: Inherited | None = None
    _suppressed = False
    _is_span = False


current: ContextVar[Node | None] = ContextVar("gatewayz_scope", default=None)


def living() -> Node | None:
    """Return the innermost node that is open and whose frame, if it is a generator's, is running."""
    node = current.get()
    while node is not None:
        if not node._over and (not node._frame or _on_stack(node._frame)):
            return node
        node = node._up
    return None


def _on_stack(frame_id: int) -> bool:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if id(frame) == frame_id:
            return True
        frame = frame.f_back
    return False


def enter(node: Node, frame: FrameType) -> None:
    """Make a node the innermost one; `frame` is where its `with` stands."""
    if frame.f_code.co_flags & _SUSPENDS and (
        frame.f_back is None or frame.f_back.f_code not in _MANAGERS
    ):
        node._frame = id(frame)
    node._token = current.set(node)


def leave(node: Node) -> None:
    """Step out of a node, from wherever its end was called."""
    node._over = True
    token, node._token = node._token, None
    if token is not None:
        try:  # noqa: SIM105 - contextlib.suppress costs as much as all the rest of this
            current.reset(token)
        except ValueError:
            # Ended in another context (a task, a thread): an ended node is nobody's parent anyway.
            pass
