"""Langfuse's public REST API: one request, one answer, within one deadline.

Follows no redirect, reads at most 1 MiB of an answer, retries nothing. Safe to use from several
threads, and after a fork.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from gatewayz.outbound.client import HttpClient

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        self._prefix = urlsplit(host).path
        self._client = HttpClient(host, {**headers, "accept": "application/json"})

    def request(
        self, method: str, path: str, timeout_s: float, body: bytes | None = None
    ) -> Answer:
        """Ask `/api/public` + `path`. Raises Retry or Misconfigured where no answer came."""
        answer = self._client.request(
            method,
            f"{self._prefix}/api/public{path}",
            body,
            timeout_s,
            headers=None if body is None else {"content-type": "application/json"},
            max_bytes=_MAX_ANSWER_BYTES,
        )
        return Answer(answer.status, answer.headers, self._client.mask(answer.content))

    def close(self) -> None:
        """Close the idle connections. Idempotent; `request` opens new ones."""
        self._client.close()
