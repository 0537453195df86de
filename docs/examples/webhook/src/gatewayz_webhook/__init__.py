"""Posts every ended span to a webhook, as a JSON array."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import urllib3

from gatewayz import Backend, BackendSettings, hookimpl, raise_for_answer, to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayz import Event

__all__ = ["Webhook"]


def as_json(event: Event) -> dict[str, Any]:
    """Return an event as values that JSON can hold, its content decoded."""
    record: dict[str, Any] = json.loads(to_json(event))
    for field in ("input", "output", "tools"):
        del record[f"{field}_json"]
        record[field] = getattr(event, field)
    return record


class Webhook(Backend):
    """One POST a batch."""

    class Settings(BackendSettings):
        """Read from `WEBHOOK_URL` and the variables every backend has."""

        url: str

    def __init__(self, settings: Settings) -> None:
        self.url, self.http = settings.url, urllib3.PoolManager(retries=False)

    @hookimpl
    def on_end(self, event: Event) -> dict[str, Any]:
        """Return the record of an ended span."""
        return as_json(event)

    @hookimpl
    def export(self, records: Sequence[Any], timeout_s: float) -> None:
        """Post one batch."""
        answer = self.http.request(
            "POST", self.url, json=records, timeout=timeout_s, redirect=False
        )
        raise_for_answer(answer.status, answer.headers, answer.data)
