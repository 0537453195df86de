"""JSON over HTTP to one host, each call bounded as a whole, answers mapped to the lane's errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import msgspec

from gatewayz import Misconfigured, Refused, raise_for_answer
from gatewayz.outbound.client import HttpClient

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["JsonClient", "NoJson"]

_MAX_ANSWER_BYTES = 8 * 1024 * 1024
_SHOWN_BYTES = 64 * 1024


class NoJson(Misconfigured):
    """A success that holds no JSON: another program, or another path of it."""


class JsonClient:
    """Calls a REST API. Nothing is opened before the first call; safe after a fork."""

    def __init__(self, address: str, headers: Mapping[str, str]) -> None:
        """Keep address and headers; SettingsError for a header that cannot be sent."""
        self._address = address
        self._base_path = urlsplit(address).path.rstrip("/")
        self._client = HttpClient(address, {**headers, "accept": "application/json"})

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
        self._client.close()

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | None,
        timeout_s: float,
        refusals: Collection[int],
        max_bytes: int,
    ) -> tuple[str, bytes]:
        headers = {} if body is None else {"content-type": "application/json"}
        answer = self._client.request(
            method,
            self._base_path + path,
            body,
            timeout_s,
            headers=headers,
            max_bytes=max_bytes,
        )
        shown = self._client.mask(answer.content[:_SHOWN_BYTES])
        try:
            raise_for_answer(answer.status, answer.headers, shown)
        except Misconfigured as error:
            if answer.status in refusals:
                raise Refused(str(error)) from None
            raise
        return answer.kind, answer.content

    def _decoded(self, path: str, answer: tuple[str, bytes]) -> Any:
        try:
            return msgspec.json.decode(answer[1])
        except msgspec.DecodeError:
            msg = f"{self._address}{path.partition('?')[0]} answered no JSON: is the address right?"
            raise NoJson(msg) from None
