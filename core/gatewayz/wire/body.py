"""The few fields of a request body that the gateway looks at or changes, without parsing the rest."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from gatewayz.wire.identity import asks
from gatewayz.wire.jsontext import UNREADABLE, decode

__all__ = ["Peek", "peek", "replace_fields"]

_WHITE_SPACE = re.compile(r"[ \t\r\n]*")
_raw_decode = json.JSONDecoder(strict=False).raw_decode


class Peek(msgspec.Struct, frozen=True):
    """What the gateway has to know of a request before it is forwarded.

    `wants_usage`: the client itself asked for the usage of a streamed chat. `no_log`: it asked
    for no trace at all (body field `no-log`, which is never forwarded).
    """

    model: str | None
    stream: bool
    wants_usage: bool
    no_log: bool


class _Fields(msgspec.Struct):
    model: Any = None
    stream: Any = None
    stream_options: Any = None
    no_log: Any = msgspec.field(default=None, name="no-log")


_NAMES = ("model", "stream", "stream_options", "no-log")
_fields_decoder = msgspec.json.Decoder(_Fields)
_raw_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def peek(body: bytes) -> Peek:
    """Return the routing fields of a request body, decoding nothing else.

    Raises ValueError, with a reason fit for the client, when the body is not a JSON object or
    `model` is not a string. A missing or null `model` is None.
    """
    try:
        fields = _fields_decoder.decode(body)
    except UNREADABLE:
        # Also valid JSON that msgspec refuses, such as lone surrogates: read it the slow way.
        raw = _top_level(body)
        model, stream, options, no_log = (decode(raw.get(name, b"null")) for name in _NAMES)
        fields = _Fields(model, stream, options, no_log)
    if fields.model is not None and not isinstance(fields.model, str):
        msg = "`model` must be a string"
        raise ValueError(msg)
    options = fields.stream_options
    return Peek(
        model=fields.model,
        stream=fields.stream is True,
        wants_usage=isinstance(options, dict) and options.get("include_usage") is True,
        no_log=fields.no_log is True or (isinstance(fields.no_log, str) and asks(fields.no_log)),
    )


def replace_fields(
    body: bytes,
    *,
    model: str | None = None,
    include_usage: bool = False,
    drop: tuple[str, ...] = (),
) -> bytes:
    """Return the body with these top-level fields changed and every other value's bytes as they were.

    `include_usage` sets `stream_options.include_usage`, keeping its other options. Without any
    change to make, the same object is returned. Raises ValueError when the body is no JSON object.
    """
    if model is None and not include_usage and not drop:
        return body
    fields = _top_level(body)
    before = dict(fields)
    if model is not None:
        fields["model"] = json.dumps(model).encode()
    if include_usage:
        try:
            options = _top_level(fields.get("stream_options", b"{}"))
        except ValueError:
            options = {}
        options["include_usage"] = b"true"
        fields["stream_options"] = _join(options)
    for name in drop:
        fields.pop(name, None)
    return body if fields == before else _join(fields)


def _join(fields: dict[str, bytes]) -> bytes:
    return (
        b"{" + b",".join(b"%s:%s" % (json.dumps(k).encode(), v) for k, v in fields.items()) + b"}"
    )


def _top_level(body: bytes) -> dict[str, bytes]:
    """Return the top-level fields of a JSON object, each value's bytes as they are."""
    try:
        return {k: bytes(v) for k, v in _raw_decoder.decode(body).items()}
    except msgspec.ValidationError:
        msg = "the request body must be a JSON object"
    except UNREADABLE:
        return _scan(body)
    raise ValueError(msg)


def _scan(body: bytes) -> dict[str, bytes]:
    # The same with the standard library, which also reads NaN and lone surrogates. Bytes that are
    # no UTF-8 survive as escapes.
    source = body.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    try:
        whole = json.loads(source, strict=False)
    except RecursionError:
        msg = "the request body is nested too deeply"
        raise ValueError(msg) from None
    except ValueError:
        msg = "the request body is not valid JSON"
        raise ValueError(msg) from None
    if not isinstance(whole, dict):
        msg = "the request body must be a JSON object"
        raise ValueError(msg)  # noqa: TRY004 - the caller sent it, no argument has a wrong type
    fields: dict[str, bytes] = {}
    position = _skip(source, _skip(source, 0) + 1)
    while source[position] != "}":
        key, position = _raw_decode(source, position)
        position = _skip(source, _skip(source, position) + 1)
        _, end = _raw_decode(source, position)
        fields[key] = source[position:end].encode("utf-8", "surrogateescape")
        position = _skip(source, end)
        if source[position] == ",":
            position = _skip(source, position + 1)
    return fields


def _skip(source: str, position: int) -> int:
    found = _WHITE_SPACE.match(source, position)
    return found.end() if found else position
