"""JSON over HTTP to one host, each call bounded as a whole, answers mapped to the lane's errors."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import msgspec

from gatewayz import Misconfigured, Refused, Retry, raise_for_answer
from gatewayz.otlp.headers import Mask, check_headers, user_agent

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import urllib3

__all__ = ["JsonClient", "NoJson"]

_MAX_ANSWER_BYTES = 8 * 1024 * 1024
_SHOWN_BYTES = 64 * 1024


class NoJson(Misconfigured):
    """A success that holds no JSON: another program, or another path of it."""


class JsonClient:
    """Calls a REST API. Nothing is opened before the first call; safe after a fork."""

    def __init__(self, address: str, headers: Mapping[str, str]) -> None:
        """Keep address and headers; SettingsError for a header that cannot be sent."""
        check_headers(headers)
        self._address = address
        self._base_path = urlsplit(address).path.rstrip("/")
        self._headers = {
            **headers,
            "user-agent": user_agent(),
            "accept": "application/json",
            "accept-encoding": "identity",
        }
        self._mask = Mask(headers)
        self._pool: urllib3.HTTPConnectionPool | None = None
        self._pid = 0

    def send(self, path: str, value: Any, timeout_s: float, refusals: Collection[int] = ()) -> None:
        """Post a JSON value; return when it was taken.

        Raises what `raise_for_answer` raises, but Refused for the statuses in `refusals` and for a
        web page, and Retry where no whole answer came within `timeout_s` seconds. No redirect is
        followed, and at most 64 KiB of the answer are read.
        """
        body = msgspec.json.encode(value)
        kind, _ = self._call("POST", path, body, timeout_s, refusals, _SHOWN_BYTES)
        if "html" in kind:
            msg = f"{self._address}{path.partition('?')[0]} answered a web page, not JSON"
            raise Refused(msg)

    def get(
        self,
        path: str,
        query: Mapping[str, str],
        timeout_s: float,
        refusals: Collection[int] = (),
    ) -> Any:
        """Return the JSON that a path answers; raises as `send` does, and NoJson."""
        target = f"{path}?{urlencode(query)}"
        return self._decoded(
            path, self._call("GET", target, None, timeout_s, refusals, _MAX_ANSWER_BYTES)
        )

    def search(
        self, path: str, value: Any, timeout_s: float, refusals: Collection[int] = ()
    ) -> Any:
        """Post a question as JSON and return the JSON answered; raises as `get` does."""
        body = msgspec.json.encode(value)
        return self._decoded(
            path, self._call("POST", path, body, timeout_s, refusals, _MAX_ANSWER_BYTES)
        )

    def close(self) -> None:
        """Close the idle connections. Idempotent."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | None,
        timeout_s: float,
        refusals: Collection[int],
        max_bytes: int,
    ) -> tuple[str, bytes]:
        import urllib3

        from gatewayz.otlp.deadline import total_deadline

        if timeout_s <= 0:
            msg = "timeout: no time was left for this call"
            raise Retry(msg)
        headers = self._headers
        if body is not None:
            headers = {**headers, "content-type": "application/json"}
        try:
            with total_deadline(timeout_s):
                answer = self._connections().urlopen(
                    method,
                    self._base_path + path,
                    body=body,
                    headers=headers,
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
        shown = self._mask(content[:_SHOWN_BYTES])
        try:
            raise_for_answer(answer.status, answer.headers, shown)
        except Misconfigured as error:
            if answer.status in refusals:
                raise Refused(str(error)) from None
            raise
        return answer.headers.get("content-type", "").lower(), content

    def _decoded(self, path: str, answer: tuple[str, bytes]) -> Any:
        try:
            return msgspec.json.decode(answer[1])
        except msgspec.DecodeError:
            msg = f"{self._address}{path.partition('?')[0]} answered no JSON: is the address right?"
            raise NoJson(msg) from None

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
