"""The gateway's own errors, in the wire format of whoever asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from gatewayz.gateway.upstreams import WireFormat

__all__ = ["Refusal", "answer"]

# Shapes and names: https://platform.openai.com/docs/guides/error-codes and
# https://docs.anthropic.com/en/api/errors (as the SDKs 3.54 and 2.12 read them).
_OPENAI_TYPES = {
    401: "invalid_request_error",
    403: "invalid_request_error",
    502: "server_error",
    504: "server_error",
}
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    502: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Refusal(Exception):  # noqa: N818 - an answer, not a failure of ours
    """A request that gets an answer of the gateway's own. The message says the cure."""

    def __init__(
        self, status: int, reason: str, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.code = code
        self.param = param


def error_type(api: WireFormat, status: int) -> str:
    """Return the name that a wire format gives to an error of this HTTP status."""
    if api == "anthropic":
        return _ANTHROPIC_TYPES.get(
            status, "api_error" if status >= 500 else "invalid_request_error"
        )
    if status == 429:
        return "rate_limit_error"
    return _OPENAI_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")


def answer(api: WireFormat, refusal: Refusal) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return the headers and the body of a refusal."""
    kind = error_type(api, refusal.status)
    body: dict[str, Any]
    if api == "anthropic":
        body = {"type": "error", "error": {"type": kind, "message": refusal.reason}}
    else:
        body = {
            "error": {
                "message": refusal.reason,
                "type": kind,
                "param": refusal.param,
                "code": refusal.code,
            }
        }
    encoded = msgspec.json.encode(body)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(encoded)).encode()),
    ]
    return headers, encoded
