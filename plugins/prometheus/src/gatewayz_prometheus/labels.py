"""Bounds what label values come from outside, so that no client can make a million series."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from gatewayz_prometheus.totals import OTHER

if TYPE_CHECKING:
    from gatewayz_prometheus.totals import Totals

__all__ = ["MAX_LABEL_CHARS", "Vocabularies", "clean"]

MAX_LABEL_CHARS = 200
# NUL ends the input for Prometheus's lexers and the rest have no business in a label; line feeds
# are escaped by the exposition formats, which know how.
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f\u0085\u2028\u2029]")


def clean(value: object) -> str:
    """Return a label value that every scraper can read: bounded, valid UTF-8, no control characters."""
    text = str(value)
    if len(text) > MAX_LABEL_CHARS:
        text = text[: MAX_LABEL_CHARS - 1] + "…"
    text = text.encode("utf-8", "replace").decode("utf-8")
    return _CONTROL.sub("\ufffd", text)


class Vocabularies:
    """The values each label has had, at most `max_values` of them; kept in `totals.first_seen`."""

    def __init__(self, totals: Totals, max_values: int) -> None:
        self._totals = totals
        self._max_values = max_values

    def admit(self, vocabulary: str, value: object, overflows: list[str]) -> str:
        """Return the value to count under; add the vocabulary to `overflows` if that is `other`.

        The empty value (not known) and `other` itself take no room.
        """
        text = clean(value)
        if not text or text == OTHER:
            return text
        seen = self._totals.first_seen[vocabulary]
        if text in seen:
            return text
        if len(seen) >= self._max_values:
            overflows.append(vocabulary)
            return OTHER
        seen[text] = time.time_ns()
        return text
