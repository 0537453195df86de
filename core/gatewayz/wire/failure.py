"""What a provider said went wrong, in whichever shape it said it."""

from __future__ import annotations

from typing import Any

from gatewayz.events import Error
from gatewayz.wire.jsontext import mapping, text

__all__ = ["error_from"]

_MESSAGE_CHARS = 2000
_SHOWN_TEXT_CHARS = 300


def error_from(value: Any, status: int = 0, raw: bytes = b"") -> Error:
    """Return the error that an error body, or an error event of a stream, describes.

    Known shapes: OpenAI `{"error": {message, type, code}}`, Anthropic `{"type": "error", "error":
    {type, message}}`, a list with one of them (Gemini), `{"error": "text"}`, `{"message": …}`,
    `{"detail": …}`; anything else is shown as text, from `raw`. `status` is the HTTP status; where
    it is a success, a status the error itself carries is taken.
    """
    if isinstance(value, list) and value:
        value = value[0]
    outer = mapping(value)
    inner = outer.get("error")
    fields = inner if isinstance(inner, dict) and inner else outer
    code = fields.get("code")
    message = text(fields.get("message")) or text(inner) or _detail(outer.get("detail"))
    if message is None:
        shown = raw[: 4 * _SHOWN_TEXT_CHARS].decode("utf-8", "replace")
        message = " ".join(shown.split())[:_SHOWN_TEXT_CHARS]
    if status < 400:
        status = code if isinstance(code, int) and 400 <= code <= 599 else 0
    kind = text(fields.get("type"))
    if kind is None or kind == "error":
        kind = text(code) or text(fields.get("status"))
    return Error(
        type=(kind or (f"http_{status}" if status else "error"))[:200],
        message=message[:_MESSAGE_CHARS],
        status=status or None,
    )


def _detail(value: Any) -> str | None:
    # FastAPI servers: a text, or a list of validation errors.
    if isinstance(value, list) and value:
        value = mapping(value[0]).get("msg")
    return text(value)
