"""What callers hand to Langfuse's client, put into the form of events. Nothing here raises."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gatewayz.content import clean_metadata, clean_text, to_content
from gatewayz.events import Prompt, freeze
from gatewayz.redact import redact_json, redact_text

if TYPE_CHECKING:
    from gatewayz.complaints import Complaints

__all__ = ["Given", "span_id_of", "text_of", "trace_id_of"]

_NAME_CHARS = 200
_TAGS = 64
_LEVELS = frozenset({"DEBUG", "DEFAULT", "WARNING", "ERROR"})
_HEX = frozenset("0123456789abcdef")
# Later than the year 5000 in seconds, earlier than the year 1971 in nanoseconds.
_SECONDS_END = 10**14


def trace_id_of(given: Any) -> str:
    """Return a trace id: as given where it is one, else made from it, the same each time.

    >>> trace_id_of("order-17")
    '72a90ea3da8b5dd01bde2f27314e02e2'
    """
    return _id(given, 32)


def span_id_of(given: Any) -> str:
    """Return a span id: as given where it is one, else made from it, the same each time."""
    return _id(given, 16)


def _id(given: Any, digits: int) -> str:
    text = clean_text(given, 1000)
    plain = text.lower()
    if len(plain) == digits and _HEX.issuperset(plain) and plain.strip("0"):
        return plain
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:digits]


def text_of(given: Any, max_chars: int = _NAME_CHARS) -> str | None:
    """Return a short text; None for None and for nothing."""
    return None if given is None else clean_text(given, max_chars) or None


class Given:
    """Reads what callers gave; complains where it makes no sense, and leaves that out.

    `redact` tells whether what looks like a credential is masked.
    """

    def __init__(self, complaints: Complaints, *, redact: bool) -> None:
        self._complain = complaints.add
        self._redact = redact

    def time_ns(self, given: Any) -> int | None:
        """Return a moment in nanoseconds since the epoch; None where it is none.

        Takes a datetime (a naive one is local time), ISO 8601 text, seconds, or an integer of
        nanoseconds.
        """
        if given is None:
            return None
        try:
            if isinstance(given, str):
                given = datetime.fromisoformat(given)
            if isinstance(given, datetime):
                seconds = int(given.replace(microsecond=0).timestamp())
                return max(0, seconds * 1_000_000_000 + given.microsecond * 1000)
            number = isinstance(given, (int, float, Decimal)) and not isinstance(given, bool)
            if number and 0 <= given < 2**63:
                return int(given) if given > _SECONDS_END else int(given * 1_000_000_000)
        except (ValueError, OverflowError, OSError, ArithmeticError):
            pass
        self._complain("Langfuse client: a time must be a datetime, ISO 8601 text or seconds")
        return None

    def content(self, given: Any) -> bytes | None:
        """Return content as bounded JSON; None for None."""
        if given is None:
            return None
        raw, _ = to_content(given)
        return redact_json(raw) if self._redact and raw is not None else raw

    def text(self, given: Any, max_chars: int) -> str | None:
        """Return a longer text; None for None and for nothing."""
        text = text_of(given, max_chars)
        return redact_text(text) if self._redact and text else text

    def metadata(self, given: Any) -> Mapping[str, Any]:
        """Return metadata as a read-only mapping; what is no mapping stands under `metadata`."""
        if given is None:
            return {}
        found = clean_metadata(given if isinstance(given, Mapping) else {"metadata": given})
        if self._redact:
            found = {k: redact_text(v) if isinstance(v, str) else v for k, v in found.items()}
        frozen: Mapping[str, Any] = freeze(found)
        return frozen

    def tags(self, given: Any) -> tuple[str, ...]:
        """Return tags, each once; a text alone is one tag."""
        if given is None:
            return ()
        if isinstance(given, (set, frozenset)):
            given = sorted(given, key=str)
        listed = given if isinstance(given, (list, tuple)) else (given,)
        cleaned = dict.fromkeys(clean_text(tag, _NAME_CHARS) for tag in listed)
        return tuple(filter(None, cleaned))[:_TAGS]

    def level(self, given: Any) -> str | None:
        """Return one of Langfuse's levels; None where it is none."""
        if given is None:
            return None
        level = clean_text(given, _NAME_CHARS).upper()
        if level in _LEVELS:
            return level
        self._complain("Langfuse client: level must be DEBUG, DEFAULT, WARNING or ERROR")
        return None

    def prompt(self, given: Any) -> Prompt | None:
        """Return the managed prompt of a prompt client, a mapping or a name; None for a fallback.

        A fallback is the caller's own text: there is nothing in Langfuse to link to.
        """
        if given is None or getattr(given, "is_fallback", False) is True:
            return None
        name, version = given, None
        if not isinstance(given, str):
            mapping = isinstance(given, Mapping)
            name = given.get("name") if mapping else getattr(given, "name", None)
            version = given.get("version") if mapping else getattr(given, "version", None)
        if not isinstance(name, str) or not name:
            self._complain("Langfuse client: prompt must be what get_prompt() returned")
            return None
        known = isinstance(version, (int, str)) and not isinstance(version, bool)
        return Prompt(name=clean_text(name, _NAME_CHARS), version=version if known else None)
