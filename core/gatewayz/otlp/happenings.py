"""What every mapping of an event to a span says alike: when it ended, and what happened within."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayz.otlp import encoder
from gatewayz.otlp.encoder import EVENT, Key

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayz.events import Event

__all__ = ["end_ns", "happenings"]

EXCEPTION_TYPE = Key("exception.type", EVENT)
EXCEPTION_MESSAGE = Key("exception.message", EVENT)


def end_ns(event: Event) -> int:
    """Return when a span ended, in nanoseconds since the epoch; never before its start.

    A clock set back between the two must not become a duration of centuries.
    """
    start_ns = event.start_time_ns
    return max(start_ns, start_ns if event.end_time_ns is None else event.end_time_ns)


def happenings(event: Event, flat: Callable[[Any], Any]) -> bytes:
    """Return the events of a span, and its error as the event `exception` where none is among them.

    `flat` makes an attribute's value one that stores can search.
    """
    made = [
        encoder.event(
            e.name,
            e.time_ns,
            encoder.attributes({name: flat(v) for name, v in e.attributes.items()}, EVENT),
        )
        for e in event.events
    ]
    error = event.error
    if error is not None and all(e.name != "exception" for e in event.events):
        about = EXCEPTION_TYPE.text(error.type or "_OTHER")
        if error.message:
            about += EXCEPTION_MESSAGE.text(error.message)
        made.append(encoder.event("exception", end_ns(event), about))
    return b"".join(made)
