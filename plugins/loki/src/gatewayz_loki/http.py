"""Pushes to Loki and asks it, each call bounded as a whole, answers mapped to the lane's errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import msgspec

from gatewayz import Misconfigured, raise_for_answer
from gatewayz.outbound.client import HttpClient, gzip_of
from gatewayz_loki.settings import PUSH_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LokiClient"]

_MAX_ANSWER_BYTES = 8 * 1024 * 1024


class LokiClient:
    """One Loki. Nothing is opened before the first call; safe after a fork."""

    def __init__(self, push_address: str, headers: Mapping[str, str]) -> None:
        """Keep address and headers; SettingsError for a header that cannot be sent."""
        parts = urlsplit(push_address)
        self._address = push_address
        self._target = parts.path + (f"?{parts.query}" if parts.query else "")
        self._base_path = parts.path.removesuffix(PUSH_PATH)
        self._client = HttpClient(push_address, {**headers, "accept": "application/json"})

    def push(self, body: bytes, timeout_s: float, also_fine: int | None = None) -> None:
        """Send JSON to be stored; return when Loki took it all, or answered `also_fine`.

        Raises what `raise_for_answer` raises, and Retry where no whole answer came within
        `timeout_s` seconds. No redirect is followed, and at most 64 KiB of the answer are read.
        """
        answer = self._client.request(
            "POST",
            self._target,
            gzip_of([body]),
            timeout_s,
            headers={"content-type": "application/json", "content-encoding": "gzip"},
        )
        if answer.status == also_fine:
            return
        raise_for_answer(answer.status, answer.headers, self._client.mask(answer.content))
        if "html" in answer.kind:
            msg = f"{self._address} answered a web page, not Loki (it listens on :3100)"
            raise Misconfigured(msg)

    def ask(self, path: str, query: Mapping[str, str], timeout_s: float) -> Any:
        """Return the JSON that a path beside the push path answers; None where it refuses."""
        target = f"{self._base_path}{path}?{urlencode(query)}"
        answer = self._client.request("GET", target, None, timeout_s, max_bytes=_MAX_ANSWER_BYTES)
        if answer.status in {401, 403, 404, 405}:  # a token that may only push, another program
            return None
        raise_for_answer(answer.status, answer.headers, self._client.mask(answer.content))
        try:
            return msgspec.json.decode(answer.content)
        except msgspec.DecodeError:
            return None

    def close(self) -> None:
        """Close the idle connections. Idempotent."""
        self._client.close()
