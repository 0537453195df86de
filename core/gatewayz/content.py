"""Turns any Python value into bounded, valid JSON that keeps its shape.

Content comes from callers: SDK objects, bytes, cycles, ten megabytes of text. What is plain and
small takes one `msgspec` encode. Anything else is first rebuilt as plain JSON values, then cut
until it fits: the longest strings first, then the middle of long lists, then depth. The same value
gives the same bytes. Marks say what was cut: `…[truncated 1234 bytes]`, `…[truncated 20 items]`.

An object that is not data shows as its type's name: its `repr` could hold anything.
"""

from __future__ import annotations

import bisect
import dataclasses
import datetime as dt
import enum
import itertools
import math
import numbers
import pathlib
import uuid
from collections.abc import ItemsView, KeysView, Mapping, Sequence, ValuesView
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from gatewayz.redact import MASK, is_secret_key

__all__ = ["MAX_CONTENT_BYTES", "MAX_DEPTH", "clean_metadata", "clean_text", "to_content"]

MAX_CONTENT_BYTES = 256 * 1024
"""How large an input, an output or a list of tools may be, as JSON."""
MAX_DEPTH = 16
"""How many lists and dicts may be nested; deeper ones become a mark."""

_METADATA_BYTES = 64 * 1024
_METADATA_KEYS = 128
_KEY_CHARS = 200
_TEXT_CHARS = 1000
_BYTES_READ_AS_TEXT = 4 * 1024 * 1024
_LARGEST_INT_BITS = 4096
_INT64 = range(-(2**63), 2**64)
_MOST_ITEMS = 100_000
_ENDLESS = 2**62
_SCALARS = frozenset({str, int, float, bool, type(None)})
_KINDS = _SCALARS | {list, tuple}

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.decode


def to_content(value: Any, max_bytes: int = MAX_CONTENT_BYTES) -> tuple[bytes | None, bool]:
    """Return a value as UTF-8 JSON of at most `max_bytes`, and whether something was cut.

    None is no content: `(None, False)`. Where not even a mark fits, `(None, True)`. Never raises on
    any value; lone surrogates and NUL characters are taken out, NaN and infinity become null.
    """
    if value is None:
        return None, False
    try:
        if _cost(value, max_bytes, 1) >= 0:
            encoded = _encode(value)
            if len(encoded) <= max_bytes:
                return encoded, False
    except (ValueError, OverflowError, TypeError, RecursionError, RuntimeError):
        # A lone surrogate, or another thread changed the value meanwhile: the long way copes.
        pass
    for limits in _LADDER:
        raw, cut = _Rebuilt(max_bytes, limits).encode(value)
        if raw is not None:
            return raw, cut
    mark = _encode("…")
    return (mark if len(mark) <= max_bytes else None), True


def clean_text(value: Any, max_chars: int = _TEXT_CHARS) -> str:
    """Return a value as text that every backend takes: no lone surrogates, no NUL, bounded.

    None is the empty text, what is no text its JSON; a text too long ends in `…`. Never raises.
    """
    if value is None:
        return ""
    if type(value) is str and len(value) <= max_chars and value.isascii() and "\0" not in value:
        return value
    if type(value) is not str:
        plain = _plain(value)
        if isinstance(plain, str):
            value = plain
        else:
            raw, _ = to_content(plain, 4 * max_chars)
            value = "" if raw is None else raw.decode()
    if len(value) <= max_chars:
        return _clean(value)
    return _clean(value[: max(max_chars - 1, 0)]) + "…"[:max_chars]


def clean_metadata(mapping: Any) -> dict[str, Any]:
    """Return a mapping as JSON values: at most 128 keys of 200 characters, 64 KiB in all.

    What stands under a name like `password` or `api_key` is masked, at any depth. Anything but a
    mapping gives an empty dict. Never raises.
    """
    plain = _plain(mapping)
    if type(plain) in _KINDS:
        return {}
    kept: dict[str, Any] = {}
    for key, value in _items(plain, _METADATA_KEYS):
        name = _key(key)
        kept[name] = MASK if value is not None and is_secret_key(name) else value
    if not kept:
        return {}
    raw, _ = to_content(kept, _METADATA_BYTES)
    found = None if raw is None else _decode(raw)
    if not isinstance(found, dict):
        return {}
    for value in found.values():
        if isinstance(value, (dict, list)):
            _mask_texts(value)
    return found


def _mask_texts(value: Any) -> None:
    """Mask the texts under secret names within a value; a schema may well have such a name."""
    for name, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(item, (dict, list)):
            _mask_texts(item)
        elif item and isinstance(item, str) and isinstance(name, str) and is_secret_key(name):
            value[name] = MASK


def _cost(value: Any, left: int, depth: int) -> int:
    """Return `left` less the least number of bytes a value takes; negative: do not just encode it.

    Anything but exact built-in types, nesting that is too deep and NUL characters are refused. The
    count ends cycles, and lists that hold one long text many times, before they are encoded.
    """
    kind = type(value)
    if kind is str:
        return left - len(value) if "\0" not in value else -1
    if kind is dict:
        left -= 4 * len(value)
        if depth > MAX_DEPTH:
            return -1
        for key, item in value.items():
            if left < 0 or type(key) is not str or len(key) > _KEY_CHARS or "\0" in key:
                return -1
            if type(item) is str:
                left = left - len(item) if "\0" not in item else -1
            else:
                left = _cost(item, left, depth + 1)
        return left
    if kind is list or kind is tuple:
        left -= len(value)
        if depth > MAX_DEPTH:
            return -1
        for item in value:
            if left < 0:
                return -1
            left = _cost(item, left, depth + 1)
        return left
    if kind is int:
        return left - 1 if value in _INT64 else -1
    return left - 1 if kind in _SCALARS else -1


def _plain(value: Any) -> Any:
    """Return one value as an exact str, int, float, bool, None, list or tuple, or as a Mapping.

    What it holds stays as it is. Runs code of the caller's objects (`model_dump`, `__str__`,
    properties): where that raises, the value shows as its type's name.
    """
    try:
        plain = _plain_of(value)
        if type(plain) in _KINDS or isinstance(plain, Mapping):
            return plain
    except Exception:  # noqa: BLE001 - an object of the caller's own
        return _type_name(value)
    return _type_name(value)


def _plain_of(value: Any) -> Any:
    kind = type(value)
    if kind in _KINDS:
        return _number(value) if kind is int or kind is float else value
    if isinstance(value, enum.Enum):
        return _plain_of(value.value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _text_of_bytes(value)
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (Decimal, uuid.UUID, pathlib.PurePath, dt.timedelta)):
        return str(value)
    if isinstance(value, numbers.Integral):
        return _number(int(value))
    if isinstance(value, numbers.Real):
        return _number(float(value))
    if isinstance(value, Mapping):
        return value
    if isinstance(value, (set, frozenset)):
        # The order of a set of strings differs from process to process.
        return sorted(itertools.islice(value, _MOST_ITEMS), key=_set_order)
    if isinstance(value, (Sequence, ItemsView, KeysView, ValuesView)):
        return list(itertools.islice(value, _MOST_ITEMS))
    if isinstance(value, type):
        return _type_name(value)
    dump = getattr(kind, "model_dump", None)
    if callable(dump):
        return _plain_of(dump(value, mode="json", warnings=False))
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, BaseException):
        return f"{kind.__name__}: {value}"
    # A type that says how it is shown is shown so; a SecretStr shows stars.
    shows_itself = getattr(kind, "__str__", None) is not object.__str__
    return _plain_of(str(value)) if shows_itself else _type_name(value)


def _number(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value in _INT64:
        return value
    bits = value.bit_length()
    return str(value) if bits <= _LARGEST_INT_BITS else f"<int of {bits} bits>"


def _text_of_bytes(value: bytes | bytearray | memoryview) -> str:
    size = value.nbytes if isinstance(value, memoryview) else len(value)
    if size <= _BYTES_READ_AS_TEXT:
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            pass
    return f"<{size} bytes>"


def _type_name(value: Any) -> str:
    # Not isinstance: that asks the object what it is.
    kind = value if issubclass(type(value), type) else type(value)
    name = type.__getattribute__(kind, "__name__")
    module = kind.__dict__.get("__module__")
    return f"<{module}.{name}>" if isinstance(module, str) else f"<{name}>"


def _set_order(item: Any) -> tuple[str, str]:
    return type(item).__name__, str(_plain(item))


def _key(key: Any) -> str:
    return clean_text(key, _KEY_CHARS) if key is not None else "null"


def _items(mapping: Mapping[Any, Any], most: int) -> list[tuple[Any, Any]]:
    """Return the first items of a mapping; those read so far, where reading it fails."""
    found: list[tuple[Any, Any]] = []
    try:
        # A dict is copied in one step, so that no other thread can change it in between.
        items = list(dict.items(mapping)) if isinstance(mapping, dict) else mapping.items()
        found.extend((key, value) for key, value in itertools.islice(items, most))
    except Exception:  # noqa: BLE001 - a mapping of the caller's own
        return found
    return found


def _clean(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            # Two halves of a character come together; one that stays alone becomes U+FFFD.
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", "") if "\0" in text else text


class _Limits(NamedTuple):
    """How much of a value is kept. `shortest` is the least of a long string that is worth it."""

    items: int
    depth: int
    nodes: int
    shortest: int


# Tried in this order until the result fits. The nodes bound time and memory: a small value can
# hold itself many times over.
_LADDER = (
    _Limits(items=8192, depth=MAX_DEPTH, nodes=50_000, shortest=200),
    _Limits(items=512, depth=MAX_DEPTH, nodes=50_000, shortest=100),
    _Limits(items=64, depth=MAX_DEPTH, nodes=20_000, shortest=50),
    _Limits(items=16, depth=MAX_DEPTH, nodes=10_000, shortest=50),
    _Limits(items=4, depth=6, nodes=5_000, shortest=3),
    _Limits(items=2, depth=3, nodes=100, shortest=3),
    _Limits(items=1, depth=1, nodes=10, shortest=3),
)


class _TooMany(Exception):  # noqa: N818 - internal, reads as what happened
    """The value has more nodes than the limits allow."""


class _Rebuilt:
    """One attempt to rebuild a value within limits and to encode it within `max_bytes`."""

    def __init__(self, max_bytes: int, limits: _Limits) -> None:
        self._max_bytes = max_bytes
        self._limits = limits
        # A value and its comma take two bytes at least.
        self._nodes = min(limits.nodes, max_bytes // 2 + 1)
        self._open: set[int] = set()
        # Where each string of the value stands: its parent, its key or index there, the string.
        self._texts: list[tuple[Any, Any, str]] = []
        self._cut = False

    def encode(self, value: Any) -> tuple[bytes | None, bool]:
        """Return the JSON, or None where it does not fit, and whether something was cut."""
        root: list[Any] = [None]
        try:
            self._place(value, root, 0, 1)
        except _TooMany:
            return None, True
        # A character takes a byte at least: no string can keep more of them than this.
        most = _level([len(text) for _, _, text in self._texts], self._max_bytes)
        sizes = []
        filled = 0
        for parent, key, text in self._texts:
            parent[key] = _clean(text[:most])
            size = len(_encode(parent[key])) - 2
            filled += size
            sizes.append(size if len(text) <= most else _ENDLESS)
        raw = _encode(root[0])
        if len(raw) <= self._max_bytes and most == _ENDLESS:
            return raw, self._cut
        room = self._max_bytes - (len(raw) - filled)
        level = _level(sizes, room)
        if room < 0 or level < self._limits.shortest:
            return None, True
        for (parent, key, text), size in zip(self._texts, sizes, strict=True):
            if size > level:
                parent[key] = _shortened(text, level)
        raw = _encode(root[0])
        return (raw if len(raw) <= self._max_bytes else None), True

    def _place(self, value: Any, parent: Any, key: Any, depth: int) -> None:
        """Put a value, rebuilt, into its parent; strings are noted, and filled in later."""
        self._nodes -= 1
        if self._nodes < 0:
            raise _TooMany
        plain = _plain(value)
        kind = type(plain)
        if kind is str:
            self._texts.append((parent, key, plain))
            parent[key] = ""
        elif kind in _SCALARS:
            parent[key] = plain
        elif id(value) in self._open:
            parent[key] = "…[cycle]"
        elif depth > self._limits.depth:
            parent[key] = "…[truncated: nested too deeply]"
            self._cut = True
        else:
            self._open.add(id(value))
            of_list = kind is list or kind is tuple
            place = self._place_list if of_list else self._place_items
            parent[key] = place(plain, depth)
            self._open.discard(id(value))

    def _place_items(self, mapping: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        items = _items(mapping, _MOST_ITEMS)
        for index, (key, value) in enumerate(items[: self._limits.items]):
            name = _key(key)
            self._cut = self._cut or (isinstance(key, str) and len(key) > _KEY_CHARS)
            self._place(value, made, f"{name}~{index}" if name in made else name, depth + 1)
        if len(items) > self._limits.items:
            made["…"] = f"[truncated {len(items) - self._limits.items} keys]"
            self._cut = True
        return made

    def _place_list(self, items: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
        count, most = len(items), self._limits.items
        head = count if count <= most else most - most // 2
        made: list[Any] = [None] * head
        for index, value in enumerate(items[:head]):
            self._place(value, made, index, depth + 1)
        if count > most:
            made.append(f"…[truncated {count - most} items]")
            self._cut = True
            for value in items[count - most // 2 :]:
                made.append(None)
                self._place(value, made, len(made) - 1, depth + 1)
        return made


def _level(sizes: list[int], room: int) -> int:
    """Return the most that each may keep so that all together keep at most `room`.

    `_ENDLESS` where all fit whole; what is larger than the level is to be cut down to it.
    """
    left = room
    for index, size in enumerate(sorted(sizes)):
        share = max(left, 0) // (len(sizes) - index)
        if size > share:
            return share
        left -= size
    return _ENDLESS


def _shortened(text: str, max_bytes: int) -> str:
    """Return the beginning of a text and a mark, of at most `max_bytes` as JSON without quotes."""
    total = sum(
        len(text[at : at + 65536].encode("utf-8", "surrogatepass"))
        for at in range(0, len(text), 65536)
    )
    mark = f"…[truncated {total} bytes]"
    room = max_bytes - len(mark.encode())
    if room < 0:
        return "…" if max_bytes >= len("…".encode()) else ""
    head = _clean(text[:room])
    chars = bisect.bisect_right(
        range(1, len(head) + 1), room, key=lambda count: len(_encode(head[:count])) - 2
    )
    head = head[:chars]
    return f"{head}…[truncated {total - len(head.encode())} bytes]"
