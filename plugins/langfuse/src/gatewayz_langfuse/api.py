"""Langfuse's public REST API: one request, one answer, within one deadline.

Follows no redirect, reads at most 1 MiB of an answer, retries nothing. Safe to use from several
threads, and after a fork.
"""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from gatewayz.errors import Misconfigured, Retry
from gatewayz.otlp.headers import Mask

if TYPE_CHECKING:
    from collections.abc import Mapping

    import urllib3

__all__ = ["Answer", "LangfuseApi"]

_MAX_ANSWER_BYTES = 1024 * 1024


class Answer(NamedTuple):
    """What the server answered; should it echo the credentials, they are masked."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class LangfuseApi:
    """Connections to one server. Opens nothing before the first request."""

    def __init__(self, host: str, headers: Mapping[str, str]) -> None:
        """`host` is the address of Langfuse, without `/api/public`; `headers` go with each request."""
        parts = urlsplit(host)
        self._host = host
        self._prefix = parts.path
        self._context = ssl.create_default_context() if parts.scheme == "https" else None
        self._headers = {**headers, "accept": "application/json"}
        self._mask = Mask(headers)
        self._pool: urllib3.HTTPConnectionPool | None = None
        self._pid = 0

    def request(
        self, method: str, path: str, timeout_s: float, body: bytes | None = None
    ) -> Answer:
        """Ask `/api/public` + `path`. Raises Retry or Misconfigured where no answer came."""
        import urllib3

        from gatewayz.otlp.deadline import total_deadline

        headers = dict(self._headers)
        if body is not None:
            headers["content-type"] = "application/json"
        try:
            with total_deadline(timeout_s):
                answer = self._connections().urlopen(
                    method,
                    f"{self._prefix}/api/public{path}",
                    body=body,
                    headers=headers,
                    redirect=False,
                    retries=False,
                    timeout=timeout_s,
                    preload_content=False,
                )
                content = answer.read(_MAX_ANSWER_BYTES)
                answer.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _no_answer(error, timeout_s) from None
        return Answer(answer.status, answer.headers, self._mask(content))

    def close(self) -> None:
        """Close the idle connections. Idempotent; `request` opens new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _connections(self) -> urllib3.HTTPConnectionPool:
        from gatewayz.otlp.deadline import new_pool

        # A forked child must not write into its parent's connections.
        pid = os.getpid()
        if self._pool is None or self._pid != pid:
            self._pool, self._pid = new_pool(self._host, self._context), pid
        return self._pool


def _no_answer(error: Exception, timeout_s: float) -> Retry | Misconfigured:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Misconfigured(f"TLS: {cause.verify_message}")
        if isinstance(cause, TimeoutError):
            return Retry(f"timeout: no complete answer within {timeout_s:g} s")
        cause = cause.__cause__ or cause.__context__
    return Retry(f"connection: {type(error).__name__}: {error}")
