"""Pushes to Loki and asks it, each call bounded as a whole, answers mapped to the lane's errors."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import msgspec

from gatewayz import Misconfigured, Retry, raise_for_answer
from gatewayz.otlp.headers import Mask, check_headers, user_agent
from gatewayz.otlp.sender import gzip_of
from gatewayz_loki.settings import PUSH_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping

    import urllib3

__all__ = ["LokiClient"]

_MAX_ANSWER_BYTES = 8 * 1024 * 1024
_SHOWN_BYTES = 64 * 1024


class LokiClient:
    """One Loki. Nothing is opened before the first call; safe after a fork."""

    def __init__(self, push_address: str, headers: Mapping[str, str]) -> None:
        """Keep address and headers; SettingsError for a header that cannot be sent."""
        check_headers(headers)
        parts = urlsplit(push_address)
        self._address = push_address
        self._target = parts.path + (f"?{parts.query}" if parts.query else "")
        self._base_path = parts.path.removesuffix(PUSH_PATH)
        self._headers = {
            **headers,
            "user-agent": user_agent(),
            "accept": "application/json",
            "accept-encoding": "identity",
        }
        self._mask = Mask(headers)
        self._pool: urllib3.HTTPConnectionPool | None = None
        self._pid = 0

    def push(self, body: bytes, timeout_s: float, also_fine: int | None = None) -> None:
        """Send JSON to be stored; return when Loki took it all, or answered `also_fine`.

        Raises what `raise_for_answer` raises, and Retry where no whole answer came within
        `timeout_s` seconds. No redirect is followed, and at most 64 KiB of the answer are read.
        """
        status, headers, content = self._call(
            "POST", self._target, gzip_of(body), timeout_s,
            {"content-type": "application/json", "content-encoding": "gzip"}, _SHOWN_BYTES,
        )  # fmt: skip
        if status == also_fine:
            return
        raise_for_answer(status, headers, content)
        if "html" in headers.get("content-type", ""):
            msg = f"{self._address} answered a web page, not Loki (it listens on :3100)"
            raise Misconfigured(msg)

    def ask(self, path: str, query: Mapping[str, str], timeout_s: float) -> Any:
        """Return the JSON that a path beside the push path answers; None where it refuses."""
        target = f"{self._base_path}{path}?{urlencode(query)}"
        status, headers, content = self._call("GET", target, None, timeout_s, {}, _MAX_ANSWER_BYTES)
        if status in {401, 403, 404, 405}:  # a token that may only push, another program
            return None
        raise_for_answer(status, headers, content)
        try:
            return msgspec.json.decode(content)
        except msgspec.DecodeError:
            return None

    def close(self) -> None:
        """Close the idle connections. Idempotent."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _call(
        self,
        method: str,
        target: str,
        body: bytes | None,
        timeout_s: float,
        headers: Mapping[str, str],
        max_bytes: int,
    ) -> tuple[int, Mapping[str, str], bytes]:
        import urllib3

        from gatewayz.otlp.deadline import total_deadline

        try:
            with total_deadline(timeout_s):
                answer = self._connections().urlopen(
                    method,
                    target,
                    body=body,
                    headers={**self._headers, **headers},
                    redirect=False,
                    retries=False,
                    timeout=timeout_s,
                    preload_content=False,
                    decode_content=False,
                )
                content = answer.read(max_bytes + 1, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _unanswered(error, timeout_s) from None
        if len(content) > max_bytes:
            answer.close()  # the rest is not read: the connection cannot be used again
        else:
            answer.release_conn()
        if answer.status >= 300:
            content = self._mask(content[:_SHOWN_BYTES])
        return answer.status, answer.headers, content

    def _connections(self) -> urllib3.HTTPConnectionPool:
        from gatewayz.otlp.deadline import new_pool

        # A forked child must not write into its parent's connections.
        if self._pool is None or self._pid != os.getpid():
            secure = urlsplit(self._address).scheme == "https"
            context = ssl.create_default_context() if secure else None
            self._pool, self._pid = new_pool(self._address, context), os.getpid()
        return self._pool


def _unanswered(error: Exception, timeout_s: float) -> Misconfigured | Retry:
    import urllib3

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Misconfigured(f"TLS: {cause.verify_message}")
        if isinstance(cause, urllib3.exceptions.NewConnectionError):
            return Retry(f"connection: {cause.__cause__ or 'refused'}")
        if isinstance(cause, (TimeoutError, urllib3.exceptions.TimeoutError)):
            return Retry(f"timeout: no complete answer within {timeout_s:g} s")
        reason = next((a for a in cause.args if isinstance(a, BaseException)), None)
        cause = cause.__cause__ or cause.__context__ or reason
    return Retry(f"connection: {type(error).__name__}")
