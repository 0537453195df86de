"""Posts every ended span to a webhook, as a JSON array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import urllib3

from gatewayz import Backend, BackendSettings, as_json, hookimpl, raise_for_answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayz import Event

__all__ = ["Webhook"]


class Webhook(Backend):
    """One POST a batch."""

    class Settings(BackendSettings):
        """Read from `WEBHOOK_URL` and the variables every backend has."""

        url: str

    def __init__(self, settings: Settings) -> None:
        self.url, self.http = settings.url, urllib3.PoolManager(retries=False)

    @hookimpl
    def on_end(self, event: Event) -> Any:
        """Return the record of an ended span."""
        return as_json(event)

    @hookimpl
    def export(self, records: Sequence[Any], timeout_s: float) -> None:
        """Post one batch."""
        answer = self.http.request(
            "POST", self.url, json=records, timeout=timeout_s, redirect=False
        )
        raise_for_answer(answer.status, answer.headers, answer.data)
