"""What decides the cost of an answer, read alone, is what a whole reading says."""

from __future__ import annotations

import gzip
import json
from typing import Any, Literal

import pytest

from gatewayz import wire

_CHAT = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
_ANSWERS: list[tuple[Literal["openai", "anthropic"], bytes]] = [
    ("openai", json.dumps({"model": "gpt-4o-mini", "usage": _CHAT, "choices": []}).encode()),
    ("openai", json.dumps({"model": "m", "service_tier": "flex", "usage": _CHAT}).encode()),
    ("openai", json.dumps({"model": "m", "usage": None, "x_groq": {"usage": _CHAT}}).encode()),
    ("openai", json.dumps({"model": "m", "usage": {**_CHAT, "cost": 0.25}}).encode()),
    (
        "openai",
        json.dumps(
            {
                "object": "response",
                "model": "m",
                "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
            }
        ).encode(),
    ),
    (
        "anthropic",
        json.dumps(
            {
                "type": "message",
                "model": "claude",
                "content": [{"type": "text", "text": "hello"}],
                "usage": {"input_tokens": 3, "output_tokens": 4, "speed": "fast"},
            }
        ).encode(),
    ),
    ("anthropic", b'{"model": 3, "usage": "many"}'),
    ("openai", b'{"model": "m", "note": "\\ud800", "usage": {"prompt_tokens": 1, "n": NaN}}'),
    ("openai", b"[1, 2]"),
    ("openai", b"no JSON"),
    ("openai", b""),
]


def _captured(api: Literal["openai", "anthropic"], body: bytes, **headers: str) -> wire.Capture:
    capture = wire.Capture(api=api, status=200)
    capture.response_headers = {"content-type": "application/json", **headers}
    middle = len(body) // 2
    for part in (body[:middle], body[middle:]):
        capture.add(part, 1)
    return capture


def _fields(said: Any) -> tuple[Any, ...]:
    return (said.response_model, said.usage, said.service_tier, said.cost_usd)


@pytest.mark.parametrize(("api", "body"), _ANSWERS)
def test_a_charge_is_what_the_whole_reading_says(
    api: Literal["openai", "anthropic"], body: bytes
) -> None:
    assert _fields(wire.charge(_captured(api, body))) == _fields(wire.read(_captured(api, body)))


def test_a_compressed_answer_is_read_as_a_whole() -> None:
    body = gzip.compress(_ANSWERS[0][1])
    capture = _captured("openai", body, **{"content-encoding": "gzip"})

    said = wire.charge(capture)

    assert said.usage is not None
    assert said.usage.total_tokens == 17
    assert capture.reading is not None
