"""One made-up inference sent to every backend, to see whether each takes it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gatewayz.registry import Instance
    from gatewayz.tracer import Tracer

__all__ = ["Canary", "send_canary"]


class Canary(NamedTuple):
    """What became of a canary: by enabled backend, None where it was delivered, else why not.

    `destinations` tells of the same backends where records go: there the canary can be looked at.
    """

    trace_id: str
    span_id: str
    backends: dict[str, str | None]
    destinations: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return it as the admin endpoint `test-trace` answers it."""
        return {
            "trace_id": self.trace_id,
            "backends": {
                name: {
                    "delivered": reason is None,
                    "reason": reason,
                    "destination": self.destinations.get(name, ""),
                }
                for name, reason in self.backends.items()
            },
        }


def send_canary(
    tracer: Tracer, timeout_s: float, waited_for: Collection[str] | None = None
) -> Canary:
    """Trace one inference of the model `canary`, flush, and tell what each backend did with it.

    Blocks for up to `timeout_s`, or until the backends `waited_for` (default: all) have settled
    it. Has no cost, as nobody was asked. Told from the ledgers before and after: a loss of other
    traffic in the same moment is reported as the canary's.
    """
    before = tracer.status()["backends"]
    ctx = tracer.start_inference(provider="gatewayz", model="canary", operation="chat")
    ctx.set_input([{"role": "user", "content": "Is anybody listening?"}])
    ctx.set_output({"role": "assistant", "content": "This is a test trace of Gatewayz."})
    ctx.set_token_usage(4, 9)
    ctx.add_tags("canary")
    ctx.end()
    started = time.monotonic()
    for name in [None] if waited_for is None else waited_for:
        tracer.flush(max(0.0, timeout_s - (time.monotonic() - started)), name)
    waited_s = time.monotonic() - started
    after = tracer.status()["backends"]
    return Canary(
        ctx.trace_id,
        ctx.span_id,
        {
            name: _why_not(name, before.get(name, {}), status, waited_s)
            for name, status in after.items()
            if status["state"] != "disabled"
        },
        {i.name: _destination(i) for i in tracer.instances() if i.enabled},
    )


def _destination(instance: Instance) -> str:
    if instance.backend is None:
        return ""
    try:
        return instance.backend.destination()
    except Exception:  # noqa: BLE001 - a plugin may raise anything: the canary's fate is told all the same
        return ""


def _why_not(
    name: str, before: Mapping[str, Any], after: Mapping[str, Any], waited_s: float
) -> str | None:
    if after["state"] == "failed":
        return str(after["reason"])
    for reason, count in after["dropped"].items():
        if count > before.get("dropped", {}).get(reason, 0):
            return f"dropped: {reason}"
    if after["dead_lettered"] > before.get("dead_lettered", 0):
        return f"refused: {after['last_error']}"
    if after["pending"]:
        why = f": {after['last_error']}" if after["last_error"] else ""
        return f"still waiting after {waited_s:.1f} s{why}"
    if after["delivered"] > before.get("delivered", 0):
        return None
    prefix = name.partition("/")[0].upper().replace("-", "_")
    return f"filtered: {prefix}_ONLY, {prefix}_SAMPLE_RATE or the backend itself leaves it out"
