"""Sends OTLP requests and says what the collector made of each: over HTTP or gRPC.

Both senders have one call, `send(body, timeout_s)`, with a request as bytes or as parts of them: it
returns None (all taken) or the `PartialSuccess`, or raises a `DeliveryError`. It ends within
`timeout_s` seconds whatever the server does, follows no redirect, and reads at most 64 KiB of an
answer. Safe to call from several threads, and after a fork.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gatewayz.answers import raise_for_answer
from gatewayz.errors import Misconfigured, Retry, SettingsError
from gatewayz.otlp.answer import (
    PartialSuccess,
    read_json,
    read_protobuf,
    status_message,
)
from gatewayz.otlp.grpc_sender import OtlpGrpcSender
from gatewayz.outbound.client import HttpClient, gzip_of
from gatewayz.outbound.headers import check_headers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["OtlpGrpcSender", "OtlpHttpSender", "PartialSuccess", "check_headers"]


class OtlpHttpSender:
    """Posts binary protobuf to one address, exactly as given (`https://host/v1/traces`)."""

    def __init__(
        self,
        endpoint: str,
        headers: Mapping[str, str],
        compression: str = "gzip",
        *,
        certificate: str | None = None,
        client_certificate: str | None = None,
        client_key: str | None = None,
    ) -> None:
        """Check the settings and open nothing yet; SettingsError says what is wrong.

        `certificate` is a PEM file of authorities to trust instead of the system's; `client_*`
        are PEM files for mutual TLS.
        """
        parts = urlsplit(endpoint)
        self.endpoint = endpoint
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        context = None
        if parts.scheme == "https":
            context = _tls_context(certificate, client_certificate, client_key)
        self._gzip = compression == "gzip"
        encoding = {"content-encoding": "gzip"} if self._gzip else {}
        kind = {"content-type": "application/x-protobuf"}
        self._client = HttpClient(endpoint, {**headers, **kind, **encoding}, context)

    def send(self, body: bytes | Sequence[bytes], timeout_s: float) -> PartialSuccess | None:
        """Deliver one request; see the module."""
        parts = [body] if isinstance(body, bytes) else body
        packed = gzip_of(parts) if self._gzip else b"".join(parts)
        answer = self._client.request("POST", self._target, packed, timeout_s)
        if answer.status >= 300:
            content = answer.content
            shown = status_message(content) if "protobuf" in answer.kind else content
            raise_for_answer(answer.status, answer.headers, self._client.mask(shown))
        return self._taken(answer.content, answer.kind, cut=answer.cut)

    def close(self) -> None:
        """Close the idle connections. Idempotent; `send` opens new ones."""
        self._client.close()

    def _taken(self, content: bytes, kind: str, *, cut: bool) -> PartialSuccess | None:
        try:
            if kind == "application/json":
                return read_json(content) if content else None
            if kind in {
                "",
                "application/x-protobuf",
                "application/protobuf",
                "application/octet-stream",
            }:
                return read_protobuf(content, cut=cut)
        except ValueError as error:
            msg = f"the answer is garbage ({error}); whether the spans were taken is unknown"
            raise Retry(msg) from None
        if kind in {"text/html", "application/xhtml+xml"}:
            msg = (
                f"{self.endpoint} answered a web page, not OTLP: the path is wrong "
                "(collectors listen on :4318/v1/traces)"
            )
            raise Misconfigured(msg)
        return None


def _tls_context(
    authorities: str | None, certificate: str | None, key: str | None
) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=authorities)
    except (OSError, ssl.SSLError) as error:
        msg = f"cannot use {authorities} as certificate authorities: {error.strerror or error}"
        raise SettingsError(msg) from None
    if certificate:
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            msg = f"cannot use {certificate} as client certificate: {error.strerror or error}"
            raise SettingsError(msg) from None
    return context
