"""Counts what has begun and not ended, and forgets what never will."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["InFlight"]


class InFlight:
    """Spans in flight, by id: an end that was lost is forgotten after an hour.

    At most `max_spans` are kept, the oldest is forgotten first. An end whose beginning was never
    seen changes nothing. Takes no lock.
    """

    def __init__(
        self,
        *,
        max_spans: int = 100_000,
        max_age_s: float = 3600.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._began: OrderedDict[str, float] = OrderedDict()
        self._max_spans = max_spans
        self._max_age_s = max_age_s
        self._monotonic = monotonic

    def begin(self, span_id: str) -> None:
        """Note that a span began."""
        self._began[span_id] = self._monotonic()
        if len(self._began) > self._max_spans:
            self._began.popitem(last=False)

    def end(self, span_id: str) -> None:
        """Note that a span ended."""
        self._began.pop(span_id, None)

    def count(self) -> int:
        """Return how many are in flight, after forgetting those that are too old."""
        too_old = self._monotonic() - self._max_age_s
        while self._began and next(iter(self._began.values())) < too_old:
            self._began.popitem(last=False)
        return len(self._began)
