"""Asks one host over HTTP: within a total deadline, without redirects, an answer bounded in size.

Needs urllib3, which belongs to the backends that send. Safe from several threads and after a fork.
"""

from __future__ import annotations

import os
import ssl
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from gatewayz.errors import DeliveryError, Misconfigured, Retry, SettingsError
from gatewayz.outbound.headers import Mask, check_headers, user_agent
from gatewayz.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import urllib3

__all__ = ["MAX_ANSWER_BYTES", "HttpAnswer", "HttpClient", "gzip_of"]

MAX_ANSWER_BYTES = 64 * 1024
_PIECE_BYTES = 64 * 1024


def gzip_of(parts: Iterable[bytes]) -> bytes:
    """Return what the parts say together as gzip: by isal where it is installed, else zlib level 1.

    Isal is 5 times faster. A batch is megabytes, so it is packed piece by piece, with pauses.
    """
    try:
        from isal import isal_zlib as library
    except ImportError:
        import zlib as library  # type: ignore[no-redef]
    packer = library.compressobj(1, zlib.DEFLATED, 31)
    packed: list[bytes] = []
    piece: list[bytes] = []
    size = 0
    with Pace() as pace:
        for part in parts:
            piece.append(part)
            size += len(part)
            if size >= _PIECE_BYTES:
                packed.append(packer.compress(b"".join(piece)))
                piece, size = [], 0
                pace.breathe()
    packed.append(packer.compress(b"".join(piece)))
    packed.append(packer.flush())
    return b"".join(packed)


class HttpAnswer(NamedTuple):
    """What a service answered; `cut` tells that the content goes on beyond what was read."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    cut: bool

    @property
    def kind(self) -> str:
        """Return the media type, lower-case, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class HttpClient:
    """Connections to the host of `address`; nothing is opened before the first request.

    `headers` go with every request. `mask` hides their values in what a service echoes.
    """

    def __init__(
        self, address: str, headers: Mapping[str, str], context: ssl.SSLContext | None = None
    ) -> None:
        """Check the headers; SettingsError for one that cannot be sent, or without urllib3."""
        check_headers(headers)
        self.mask = Mask(headers)
        self._address = address
        self._context = context
        if context is None and urlsplit(address).scheme == "https":
            self._context = ssl.create_default_context()
        # Lower-case, so that a name given by the user and one of ours cannot both be sent.
        self._headers = {
            "user-agent": user_agent(),
            **{name.lower(): value for name, value in headers.items()},
            "accept-encoding": "identity",
        }
        self._pool: urllib3.HTTPConnectionPool | None = None
        self._pid = 0
        self._deadline = _import_deadline()

    def request(
        self,
        method: str,
        target: str,
        body: bytes | None,
        timeout_s: float,
        *,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> HttpAnswer:
        """Return the answer to one request for `target` (path and query), whatever its status.

        Raises Retry where no whole answer came within `timeout_s` seconds, Misconfigured for TLS
        and addresses that cannot work.
        """
        import urllib3

        if timeout_s <= 0:
            msg = "timeout: no time was left for this call"
            raise Retry(msg)
        try:
            with self._deadline.total_deadline(timeout_s):
                answer = self._connections().urlopen(
                    method,
                    target,
                    body=body,
                    headers={**self._headers, **headers} if headers else self._headers,
                    redirect=False,
                    retries=False,
                    timeout=timeout_s,
                    preload_content=False,
                    decode_content=False,
                )
                content, cut = _read_answer(answer, max_bytes)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _unanswered(error, timeout_s) from None
        return HttpAnswer(answer.status, answer.headers, content, cut)

    def close(self) -> None:
        """Close the idle connections. Idempotent; `request` opens new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _connections(self) -> urllib3.HTTPConnectionPool:
        # A forked child must not write into its parent's connections.
        pid = os.getpid()
        if self._pool is None or self._pid != pid:
            self._pool, self._pid = self._deadline.new_pool(self._address, self._context), pid
        return self._pool


def _import_deadline() -> Any:
    try:
        from gatewayz.outbound import deadline
    except ImportError as error:
        msg = "sending over HTTP needs urllib3: pip install 'urllib3>=2,<3'"
        raise SettingsError(msg) from error
    return deadline


def _read_answer(answer: urllib3.BaseHTTPResponse, max_bytes: int) -> tuple[bytes, bool]:
    """Return the beginning of an answer and whether it goes on beyond that."""
    import urllib3

    try:
        content = answer.read(max_bytes + 1, decode_content=False)
    except (urllib3.exceptions.HTTPError, OSError):
        answer.close()
        # The status of a refusal says enough; a success has to be complete to be believed.
        if answer.status >= 300:
            return b"", False
        raise
    cut = len(content) > max_bytes
    if cut:
        answer.close()  # the rest is not read: the connection cannot be used again
    else:
        answer.release_conn()
    if answer.headers.get("content-encoding", "").lower() in {"gzip", "deflate"}:
        try:
            unpacker = zlib.decompressobj(47)
            content = unpacker.decompress(content, max_bytes)
        except zlib.error:
            return content, cut
        cut = cut or bool(unpacker.unconsumed_tail)
    return content[:max_bytes], cut


def _unanswered(error: Exception, timeout_s: float) -> DeliveryError:
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
