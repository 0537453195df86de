"""Adds the status of several worker processes up to one: pure functions over their records.

A record is what a worker publishes: `status` (the shape of `Tracer.status()`), `snapshots` (by
backend) and `instances` (name, state, reason, destination). What a dead worker still held is
counted as dropped for `worker_died`, so accepted = delivered + dropped + dead_lettered + pending
holds over the whole fleet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["DIED", "add_departed", "add_up", "buried"]

DIED = "worker_died"
_BREAKERS = ("closed", "half_open", "open", "misconfigured")
_STATES = ("disabled", "active", "failed")
_KEPT_SNAPSHOTS = 64

Status = dict[str, Any]


def add_up(live: Sequence[Mapping[str, Any]], dead: Sequence[Mapping[str, Any]] = ()) -> Status:
    """Return one status for the backends of the live workers, what the dead counted included.

    Counters and live pending are added; state, breaker and their reasons are the worst one's;
    `last_success` is the latest.
    """
    total: dict[str, Status] = {}
    for status in live:
        for name, one in status.get("backends", {}).items():
            _add(total.setdefault(name, {}), one)
    for status in dead:
        for name, one in buried(status).get("backends", {}).items():
            if name in total:
                # The dead have counts, but neither a state nor a breaker any more.
                _add(total[name], {k: v for k, v in one.items() if _is_count(k, v)})
    whole: Status = {"backends": total}
    forwarded = _forwarded([*live, *dead])
    if forwarded:
        whole["forwarded"] = forwarded
    errors = [status["error"] for status in live if status.get("error")]
    if errors:
        whole["error"] = errors[0]
    return whole


def _forwarded(records: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Add up what passed without a trace, by upstream and HTTP status."""
    total: dict[str, dict[str, int]] = {}
    for status in records:
        for upstream, answers in status.get("forwarded", {}).items():
            counts = total.setdefault(upstream, {})
            for answered, count in answers.items():
                counts[answered] = counts.get(answered, 0) + count
    return total


def buried(status: Mapping[str, Any]) -> Status:
    """Return a dead worker's status: nothing is pending, what was is dropped (`worker_died`)."""
    backends = {}
    for name, one in status.get("backends", {}).items():
        lost = one.get("pending", 0)
        dropped = dict(one.get("dropped", {}))
        if lost:
            dropped[DIED] = dropped.get(DIED, 0) + lost
        backends[name] = {**one, "pending": 0, "dropped": dropped}
    return {"backends": backends, "forwarded": status.get("forwarded", {})}


def add_departed(
    departed: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    merge: Callable[[str, list[Any]], Any] = lambda _name, _values: None,
) -> dict[str, Any]:
    """Return what the dead left, with the newly dead added.

    `merge(backend, values)` makes one snapshot value of several, or returns None to keep each;
    then the oldest beyond 64 go.
    """
    backends: dict[str, Status] = {}
    snapshots: dict[str, list[Any]] = {k: list(v) for k, v in departed.get("snapshots", {}).items()}
    for status in (departed.get("status", {}), *(r.get("status", {}) for r in records)):
        for name, one in buried(status)["backends"].items():
            _add(backends.setdefault(name, {}), one)
    for record in records:
        for name, value in record.get("snapshots", {}).items():
            snapshots.setdefault(name, []).append(value)
    for name, values in snapshots.items():
        merged = merge(name, values) if len(values) > 1 else None
        snapshots[name] = values[-_KEPT_SNAPSHOTS:] if merged is None else [merged]
    left = (departed.get("status", {}), *(r.get("status", {}) for r in records))
    status = {"backends": backends, "forwarded": _forwarded(left)}
    return {"status": status, "snapshots": snapshots}


def _is_count(key: str, value: Any) -> bool:
    return key == "dropped" or (isinstance(value, int) and not isinstance(value, bool))


def _add(total: Status, one: Mapping[str, Any]) -> None:
    """Add one backend's status of one worker to `total`, in place."""
    worse = "state" in one and ("state" not in total or _badness(one) > _badness(total))
    for key, value in one.items():
        if key == "dropped":
            reasons = dict(total.get(key, {}))
            for reason, count in value.items():
                reasons[reason] = reasons.get(reason, 0) + count
            total[key] = reasons
        elif _is_count(key, value):
            total[key] = total.get(key, 0) + value
        elif key == "last_success":
            # ISO-8601 in UTC from one program: the later one sorts last.
            total[key] = max(filter(None, (total.get(key), value)), default=None)
        elif key == "last_error":
            total[key] = (value or total.get(key)) if worse else (total.get(key) or value)
        elif worse or key not in total:
            total[key] = value


def _badness(one: Mapping[str, Any]) -> tuple[int, int]:
    state, breaker = one.get("state"), one.get("breaker")
    return (
        _STATES.index(state) if state in _STATES else 0,
        _BREAKERS.index(breaker) if breaker in _BREAKERS else 0,
    )
