"""Text from anywhere, made safe and short for one line of a terminal."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal

__all__ = ["duration", "money", "one_line"]

# Control characters move the cursor or start escape sequences, bidirectional controls reorder
# what is read (CVE-2021-42574), line separators break the line, surrogates cannot be encoded.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escaped(match: re.Match[str]) -> str:
    char = match[0]
    if char in _NAMED:
        return _NAMED[char]
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def one_line(text: str, max_chars: int = 80) -> str:
    r"""Return `text` with everything a terminal acts on escaped, cut to about `max_chars`.

    >>> one_line("red \x1b[31m\n")
    'red \\x1b[31m\\n'
    """
    cut = len(text) > max_chars
    shown = _UNSAFE.sub(_escaped, text[: max_chars - 1] if cut else text)
    return f"{shown}…" if cut else shown


def duration(nanoseconds: int) -> str:
    """Return a duration in the unit a person would choose.

    >>> duration(860_000), duration(42_000_000), duration(2_414_000_000), duration(83_000_000_000)
    ('0.9ms', '42ms', '2.41s', '1m23s')
    """
    if nanoseconds < 9_950_000:
        return f"{max(nanoseconds, 0) / 1e6:.1f}ms"
    if nanoseconds < 999_500_000:
        return f"{nanoseconds / 1e6:.0f}ms"
    if nanoseconds < 59_995_000_000:
        return f"{nanoseconds / 1e9:.2f}s"
    minutes, seconds = divmod(round(nanoseconds / 1e9), 60)
    return f"{minutes}m{seconds:02d}s"


def money(amount_usd: Decimal) -> str:
    """Return dollars with at least two digits that say something.

    >>> money(Decimal("12.5")), money(Decimal("0.0123")), money(Decimal("0.00000213"))
    ('$12.50', '$0.0123', '$0.0000021')
    """
    if amount_usd == 0:
        return "$0"
    places = 2 if abs(amount_usd) >= 1 else max(4, 1 - amount_usd.adjusted())
    rounded = amount_usd.quantize(Decimal(1).scaleb(-min(places, 20)), ROUND_HALF_UP)
    return f"${rounded:,f}"
