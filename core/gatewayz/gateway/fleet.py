"""All workers of one gateway seen as one: status, snapshots and flush over a shared directory.

Each worker process publishes what it counted every quarter of a second into the directory named
by `GATEWAYZ_WORKERS_DIR`; any of them answers for all. `gatewayz serve --workers N` makes the
directory; under gunicorn or several uvicorn workers, set the variable to a directory that does
not exist yet, a new one for each start. Without the variable a fleet is this process alone.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import msgspec

from gatewayz.gateway.fleet_status import add_departed, add_up
from gatewayz.gateway.worker_files import WORKERS_DIR, WorkerFiles
from gatewayz.hookspecs import PageRequest, Snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayz.tracer import Tracer

__all__ = ["WORKERS_DIR", "Fleet", "page_request"]

logger = logging.getLogger(__name__)

_PUBLISH_EVERY_S = 0.25
_FOLD_EVERY_S = 1.0
_POLL_S = 0.02
_ANSWER_GRACE_S = 1.0
# How long the other workers may take to say whether they know an id.
_FIND_S = 2.0
_FLUSHES = 4
_STALE_REQUEST_S = 60.0
_LOG_EVERY_S = 60.0


class Fleet:
    """What one worker knows of all. Every method blocks for file access; call them in a thread.

    Nothing touches the disk before `start`; `start` and `stop` are idempotent. After a fork the
    child's fleet is its own process alone until `start` is called there.
    """

    def __init__(self, tracer: Tracer, environ: Mapping[str, str] | None = None) -> None:
        """Stand for `tracer` and the workers that share the directory named in `environ`."""
        environ = os.environ if environ is None else environ
        directory = environ.get(WORKERS_DIR, "").strip()
        self.tracer = tracer
        self._files = WorkerFiles(directory) if directory else None
        self._lock = threading.Lock()
        self._published = b""
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._answered: set[str] = set()
        self._flushing: list[threading.Thread] = []
        self.forwarded: Mapping[tuple[str, int], int] = {}
        self._logged_at = -_LOG_EVERY_S
        _fleets.add(self)

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Join the fleet and publish from a daemon thread; SettingsError for a bad directory."""
        if self._files is None or self._thread is not None:
            return
        self._files.join()
        self._publish()
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="gatewayz-fleet", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Publish a last time and leave. Call it after the tracer has shut down."""
        thread, self._thread = self._thread, None
        if self._files is None or thread is None:
            return
        self._stop.set()
        thread.join(_ANSWER_GRACE_S)
        self._publish()
        self._files.leave()

    def _forked(self) -> None:
        self._lock, self._stop, self._thread = threading.Lock(), threading.Event(), None
        self._published = b""
        if self._files is not None:
            self._files.forget()

    def _run(self) -> None:
        folded_at = 0.0
        while not self._stop.wait(_PUBLISH_EVERY_S):
            self._publish()
            self._answer_requests()
            if time.monotonic() - folded_at >= _FOLD_EVERY_S:
                folded_at = time.monotonic()
                self._fold()

    # -- what all know -------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return the status of every backend over all workers, in the shape of `Tracer.status()`.

        This process is counted as of now, the others as of at most a second ago.
        """
        live, dead = self._records()
        return add_up([r["status"] for r in live], [r["status"] for r in dead])

    def snapshots(self, backend: str) -> list[Snapshot]:
        """Return what `Backend.snapshot` gave in every worker, as JSON values, dead ones included."""
        live, dead = self._records()
        found = [Snapshot(True, r["snapshots"][backend]) for r in live if backend in r["snapshots"]]
        for record in dead:
            values = record["snapshots"].get(backend, [])
            found += [Snapshot(False, value) for value in values]
        return found

    def workers(self) -> int:
        """Return how many workers live, this one included."""
        return len(self._records()[0])

    def _records(self) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
        """Return the live workers' records, and the dead ones' with a list of values a backend."""
        # What others will see of us is written before it is shown here, so that totals never go
        # backwards from one worker's answer to the next one's.
        own = self._publish()
        if self._files is None or self._files.worker is None:
            return [own], []
        try:
            departed, members = self._files.read()
        except OSError as error:
            self._note("cannot read the other workers: %s", error)
            return [own], []
        live = [own if m.worker == self._files.worker else m.record for m in members if m.alive]
        dead = [_as_departed(m.record) for m in members if not m.alive]
        if departed:
            dead.append(departed)
        return (live or [own]), dead

    # -- publishing ----------------------------------------------------------------------------

    def _publish(self) -> Mapping[str, Any]:
        """Collect what this process counted, show it to the others, and return it decoded."""
        with self._lock:
            encoded = msgspec.json.encode(self._collect())
            if self._files is not None and self._files.worker and encoded != self._published:
                try:
                    self._files.publish(encoded)
                    self._published = encoded
                except OSError as error:
                    self._note("cannot publish to the other workers: %s", error)
        record: dict[str, Any] = msgspec.json.decode(encoded)
        return record

    def _collect(self) -> dict[str, Any]:
        snapshots: dict[str, msgspec.Raw] = {}
        for instance in self.tracer.instances():
            if instance.backend is None or instance.state != "active":
                continue
            try:
                value = instance.backend.snapshot()
                if value is not None:
                    snapshots[instance.name] = msgspec.Raw(msgspec.json.encode(value))
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything; the others publish
                self._note("backend '%s': snapshot() failed: %s", instance.name, error)
        status = self.tracer.status()
        forwarded: dict[str, dict[str, int]] = {}
        for (upstream, answered), count in list(self.forwarded.items()):
            forwarded.setdefault(upstream, {})[str(answered)] = count
        if forwarded:
            status["forwarded"] = forwarded
        return {"status": status, "snapshots": snapshots, "instances": self._places()}

    def _places(self) -> list[dict[str, Any]]:
        places = []
        for instance in self.tracer.instances():
            where = ""
            if instance.backend is not None:
                try:
                    where = instance.backend.destination()
                except Exception as error:  # noqa: BLE001 - as above
                    self._note("backend '%s': destination() failed: %s", instance.name, error)
            places.append(
                {
                    "name": instance.name,
                    "state": instance.state,
                    "reason": instance.reason,
                    "destination": where,
                }
            )
        return places

    def _fold(self) -> None:
        if self._files is None:
            return
        try:
            self._files.fold(lambda left, dead: add_departed(left, dead, self._merge))
        except OSError as error:
            self._note("cannot fold dead workers: %s", error)

    def _merge(self, name: str, values: list[Any]) -> Any:
        for instance in self.tracer.instances():
            if instance.name == name and instance.backend is not None:
                try:
                    return instance.backend.merge_snapshots(values)
                except Exception as error:  # noqa: BLE001 - as above: then each value is kept
                    self._note("backend '%s': merge_snapshots() failed: %s", name, error)
        return None

    # -- what another worker may know ----------------------------------------------------------

    def target(
        self, completion_id: str | None, trace_id: str | None
    ) -> tuple[str, str | None] | None:
        """Return the trace and span ids of a completion, or a trace, that any worker served."""
        found = self.tracer.target(completion_id, trace_id=trace_id)
        if found is not None:
            return found
        deadline = time.monotonic() + _FIND_S
        request = {"completion_id": completion_id, "trace_id": trace_id}
        token, others = self._ask_others(deadline, request)
        if token is None:
            return None
        for answer in self._await_answers(token, others, deadline).values():
            if answer.get("target"):
                trace, span = answer["target"]
                return str(trace), None if span is None else str(span)
        return None

    # -- flush ---------------------------------------------------------------------------------

    def flush(self, timeout_s: float, backend: str | None = None) -> dict[str, Any]:
        """Deliver now what waits in every live worker, within `timeout_s` seconds.

        Returns `complete` (in all of them), the status of the `backends` that were asked for, over
        all workers, and how many `workers` were asked and answered. `backend` limits it to one.
        """
        deadline = time.monotonic() + timeout_s
        token, others = self._ask_others(deadline, {"timeout_s": timeout_s, "backend": backend})
        complete: bool = self.tracer.flush(timeout_s, backend)["complete"]
        answers: dict[str, Mapping[str, Any]] = {}
        if token is not None and self._files is not None:
            answers = self._await_answers(token, others, deadline + _ANSWER_GRACE_S)
            complete = complete and all(
                worker in answers and answers[worker]["complete"] for worker in others
            )
        rows = self.status()["backends"]
        return {
            "complete": complete,
            "backends": {n: r for n, r in rows.items() if backend is None or n == backend},
            "workers": {"asked": 1 + len(others), "answered": 1 + len(answers)},
        }

    def _ask_others(
        self, deadline: float, request: Mapping[str, Any]
    ) -> tuple[str | None, set[str]]:
        if self._files is None or self._files.worker is None:
            return None, set()
        try:
            _, members = self._files.read()
            others = {m.worker for m in members if m.alive} - {self._files.worker}
            if not others:
                return None, others
            token = secrets.token_hex(8)
            self._answered.add(token)
            # The monotonic clock is one for all processes of a machine.
            self._files.ask(token, {"deadline": deadline, **request})
        except OSError as error:
            self._note("cannot ask the other workers: %s", error)
            return None, set()
        return token, others

    def _await_answers(
        self, token: str, others: set[str], deadline: float
    ) -> dict[str, Mapping[str, Any]]:
        files = self._files
        if files is None:
            return {}
        answers: dict[str, Mapping[str, Any]] = {}
        try:
            while True:
                answers = files.answers(token)
                waiting = [w for w in others - set(answers) if files.lives(w)]
                if not waiting or time.monotonic() >= deadline:
                    return answers
                time.sleep(_POLL_S)
        except OSError as error:
            self._note("cannot read the other workers' answers: %s", error)
            return answers
        finally:
            files.withdraw(token)

    def _answer_requests(self) -> None:
        """Start on every request that stands and is not ours or under way. Never waits."""
        if self._files is None:
            return
        try:
            asked = self._files.asked()
        except OSError as error:
            self._note("cannot read requests of the other workers: %s", error)
            return
        self._answered &= set(asked)
        self._flushing = [t for t in self._flushing if t.is_alive()]
        for token, request in asked.items():
            left_s = float(request.get("deadline", 0.0)) - time.monotonic()
            if left_s < -_STALE_REQUEST_S:
                self._files.withdraw(token)  # whoever asked has died
            elif token not in self._answered and left_s > 0 and len(self._flushing) < _FLUSHES:
                self._answered.add(token)
                # A thread of its own: publishing goes on while a backend takes its time.
                flushing = threading.Thread(
                    target=self._answer,
                    args=(token, request, left_s),
                    name="gatewayz-flush",
                    daemon=True,
                )
                self._flushing.append(flushing)
                flushing.start()

    def _answer(self, token: str, request: Mapping[str, Any], left_s: float) -> None:
        answer: dict[str, Any]
        if "timeout_s" in request:
            timeout_s = min(left_s, float(request["timeout_s"]))
            flushed = self.tracer.flush(timeout_s, request.get("backend"))
            answer = {"complete": flushed["complete"]}
            self._publish()
        else:
            found = self.tracer.target(
                request.get("completion_id"), trace_id=request.get("trace_id")
            )
            answer = {"target": found}
        try:
            if self._files is not None:
                self._files.answer(token, answer)
        except OSError as error:
            self._note("cannot answer another worker: %s", error)

    def _note(self, words: str, *values: object) -> None:
        now = time.monotonic()
        if now - self._logged_at >= _LOG_EVERY_S:
            self._logged_at = now
            logger.warning(words, *values)


def _as_departed(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**record, "snapshots": {name: [v] for name, v in record["snapshots"].items()}}


def page_request(
    fleet: Fleet,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    backend: str | None = None,
) -> PageRequest:
    """Return what a backend's page is asked when `path` is requested; it sees the whole fleet.

    Snapshots are those of `backend`, by default the first one whose page covers `path`.
    """
    owner = backend or _owner(fleet, path)
    lowered = {name.lower(): value for name, value in headers.items()}
    return PageRequest(path, query, lowered, fleet.status, lambda: fleet.snapshots(owner))


def _owner(fleet: Fleet, path: str) -> str:
    for instance in fleet.tracer.instances():
        pages = () if instance.backend is None else instance.backend.pages()
        if any(path == p.path or path.startswith(p.path.rstrip("/") + "/") for p in pages):
            return instance.name
    return ""


_fleets: weakref.WeakSet[Fleet] = weakref.WeakSet()


def _after_fork() -> None:
    for fleet in list(_fleets):
        fleet._forked()  # noqa: SLF001 - the same room


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
