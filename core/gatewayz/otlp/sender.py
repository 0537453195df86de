"""Sends OTLP requests and says what the collector made of each: over HTTP or gRPC.

Both senders have one call, `send(body, timeout_s)`: it returns None (all taken) or the
`PartialSuccess`, or raises a `DeliveryError`. It ends within `timeout_s` seconds whatever the
server does, follows no redirect, and reads at most 64 KiB of an answer. Safe to call from several
threads, and after a fork.
"""

from __future__ import annotations

import os
import ssl
import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gatewayz.answers import raise_for_answer
from gatewayz.errors import DeliveryError, Misconfigured, Retry, SettingsError
from gatewayz.otlp.answer import (
    PartialSuccess,
    read_json,
    read_protobuf,
    status_message,
)
from gatewayz.otlp.grpc_sender import OtlpGrpcSender
from gatewayz.otlp.headers import Mask, check_headers, user_agent

if TYPE_CHECKING:
    from collections.abc import Mapping

    import urllib3

__all__ = ["OtlpGrpcSender", "OtlpHttpSender", "PartialSuccess", "check_headers"]

MAX_ANSWER_BYTES = 64 * 1024


def gzip_of(body: bytes) -> bytes:
    """Return `body` as gzip: by isal where it is installed (5 times faster), else zlib level 1."""
    try:
        from isal import igzip
    except ImportError:
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        return packer.compress(body) + packer.flush()
    return bytes(igzip.compress(body, 1))


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
        check_headers(headers)
        parts = urlsplit(endpoint)
        self.endpoint = endpoint
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._context = None
        if parts.scheme == "https":
            self._context = _tls_context(certificate, client_certificate, client_key)
        self._gzip = compression == "gzip"
        # Lower-case, so that a name given by the user and one of ours cannot both be sent.
        self._headers = {
            "user-agent": user_agent(),
            **{name.lower(): value for name, value in headers.items()},
            "content-type": "application/x-protobuf",
            "accept-encoding": "identity",
        }
        if self._gzip:
            self._headers["content-encoding"] = "gzip"
        self._mask = Mask(headers)
        self._pool: urllib3.HTTPConnectionPool | None = None
        self._pid = 0
        self._total_deadline = _import_deadline().total_deadline

    def send(self, body: bytes, timeout_s: float) -> PartialSuccess | None:
        """Deliver one request; see the module."""
        import urllib3

        packed = gzip_of(body) if self._gzip else body
        try:
            with self._total_deadline(timeout_s):
                answer = self._connections().urlopen(
                    "POST",
                    self._target,
                    body=packed,
                    headers=self._headers,
                    redirect=False,
                    retries=False,
                    timeout=timeout_s,
                    preload_content=False,
                    decode_content=False,
                )
                content, cut = _read_answer(answer)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _transport_error(error, timeout_s) from None
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if answer.status >= 300:
            shown = status_message(content) if "protobuf" in kind else content
            raise_for_answer(answer.status, answer.headers, self._mask(shown))
        return self._taken(content, kind, cut=cut)

    def close(self) -> None:
        """Close the idle connections. Idempotent; `send` opens new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _connections(self) -> urllib3.HTTPConnectionPool:
        # A forked child must not write into its parent's connections.
        pid = os.getpid()
        if self._pool is None or self._pid != pid:
            self._pool, self._pid = _import_deadline().new_pool(self.endpoint, self._context), pid
        return self._pool

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


def _import_deadline() -> Any:
    try:
        from gatewayz.otlp import deadline
    except ImportError as error:
        msg = "sending OTLP over HTTP needs urllib3: pip install 'urllib3>=2,<3'"
        raise SettingsError(msg) from error
    return deadline


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


def _read_answer(answer: urllib3.BaseHTTPResponse) -> tuple[bytes, bool]:
    """Return the beginning of an answer and whether it goes on beyond that."""
    import urllib3

    try:
        content = answer.read(MAX_ANSWER_BYTES + 1, decode_content=False)
    except (urllib3.exceptions.HTTPError, OSError):
        answer.close()
        # The status of a refusal says enough; a success has to be complete to be believed.
        if answer.status >= 300:
            return b"", False
        raise
    cut = len(content) > MAX_ANSWER_BYTES
    if cut:
        answer.close()  # the rest is not read: the connection cannot be used again
    else:
        answer.release_conn()
    if answer.headers.get("content-encoding", "").lower() in {"gzip", "deflate"}:
        try:
            unpacker = zlib.decompressobj(47)
            content = unpacker.decompress(content, MAX_ANSWER_BYTES)
        except zlib.error:
            return content, cut
        cut = cut or bool(unpacker.unconsumed_tail)
    return content[:MAX_ANSWER_BYTES], cut


def _transport_error(error: Exception, timeout_s: float) -> DeliveryError:
    import urllib3

    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and len(causes) < 8:
        causes.append(cause)  # type: ignore[arg-type]
    causes += [arg for known in tuple(causes) for arg in known.args if isinstance(arg, Exception)]
    # urllib3 counts a refused connection among its timeouts, as NewConnectionError.
    refused = isinstance(error, urllib3.exceptions.NewConnectionError)
    timeouts = (TimeoutError, urllib3.exceptions.TimeoutError)
    if not refused and any(isinstance(known, timeouts) for known in causes):
        return Retry(f"timeout: no complete answer within {timeout_s:g} s")
    for known in causes:
        if isinstance(known, ssl.SSLCertVerificationError):
            return Misconfigured(
                f"TLS: {known.verify_message}; trust it with a certificate setting"
            )
        if isinstance(known, ssl.SSLError) and known.reason in {
            "WRONG_VERSION_NUMBER",
            "HTTP_REQUEST",
        }:
            return Misconfigured(
                "TLS: the server does not speak https; use http:// or its TLS port"
            )
        if isinstance(known, urllib3.exceptions.LocationValueError):
            return Misconfigured(f"not an address: {known}")
    return Retry(f"connection: {_deepest(causes)}")


def _deepest(causes: list[Exception]) -> str:
    """Return the error nearest to the cause that has words for it."""
    for known in reversed(causes):
        words = getattr(known, "strerror", None) or (str(known) if not known.args[1:] else "")
        if words:
            return f"{type(known).__name__}: {words}"
    return type(causes[0]).__name__
