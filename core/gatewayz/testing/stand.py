"""What every case of the conformance kit works with: the backend, the sink, and clear words."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import pytest

from gatewayz.answers import Rejected
from gatewayz.errors import Refused, TooLarge
from gatewayz.events import Error
from gatewayz.testing.bench import Bench, environ_for, find_class
from gatewayz.testing.events import a_score, an_event
from gatewayz.testing.sink import Answer, Behaviour, RecordingSink, Request, dead_address

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewayz.events import Event, ScoreEvent
    from gatewayz.hookspecs import Backend
    from gatewayz.testing.bench import Result

__all__ = ["Stand", "told", "traced"]


class Stand:
    """Subclass it in a test module, set `backend`, done. Every `test_` method is one rule.

    `env`: variables that build the backend, where the kit cannot guess them; `{sink}`,
    `{sink_host}` and `{sink_port}` stand for the recording server. Without them, settings named
    like an address (`url`, `host`, `…_endpoint`) get the server's, and secrets get canaries.
    """

    backend: ClassVar[str | type[Backend]]
    """The entry point's name, or the class itself."""
    env: ClassVar[Mapping[str, str]] = {}
    local: ClassVar[bool] = False
    """True for a backend that delivers to no HTTP service: a file, a terminal, a database."""
    total_deadline: ClassVar[bool] = False
    """True makes it a failure when a service that drips its answer holds an export up."""
    timeout_s: ClassVar[float] = 0.5
    """The `timeout_s` that exports are given where a service hangs."""
    batch: ClassVar[int] = 20

    def answer(self, request: Request) -> Answer:
        """Answer a request as the healthy service does. Default: 200 and `{}`."""
        del request
        return Answer()

    def count(self, trace_id: str, span_id: str, requests: Sequence[Request]) -> int:
        """Return how often the service was told of one span.

        Default: how often its span id stands in the decompressed bodies, as hex or as bytes; the
        trace id where the span id does not stand there at all (each span of the kit has a trace
        of its own). Override it where the ids travel in another form, or nowhere near HTTP.
        """
        for identity in (span_id, trace_id):
            forms = (identity.encode(), bytes.fromhex(identity))
            found = sum(r.body.count(form) for r in requests for form in forms)
            if found:
                return found
        return 0

    def _broken(self, rule: str, detail: str) -> NoReturn:
        """Fail, the violated rule first."""
        __tracebackhide__ = True
        name, _ = find_class(self.backend)
        msg = f"backend '{name}' breaks a rule: {rule}\n  {detail}"
        raise AssertionError(msg)

    def _environ(self, address: str) -> tuple[dict[str, str], bool]:
        name, cls = find_class(self.backend)
        return environ_for(cls, name, address, self.env, timeout_s=2.0)

    def _bench(self, address: str) -> Bench:
        name, cls = find_class(self.backend)
        return Bench(name, cls, self._environ(address)[0])

    def _started(self, address: str | None = None) -> Bench:
        bench = self._bench(dead_address() if address is None else address)
        bench.backend.startup()
        return bench

    def _sink(self, behaviour: Behaviour | None = None) -> RecordingSink:
        return RecordingSink(behaviour or self.answer)

    def _exporting(self, sink: RecordingSink) -> Bench:
        """Return a started backend that has an export and knows where the sink is."""
        bench = self._started(sink.url)
        if not bench.exports:
            pytest.skip("it has no export: returning from the translation is its delivery")
        _, placed = self._environ(sink.url)
        if not placed and not self.local:
            self._broken(
                "the kit has to stand in for the service",
                f"no setting of {type(bench.settings).__qualname__} looks like an address: name it, "
                'env = {"THE_VARIABLE": "{sink}"}, or set local = True where there is no service',
            )
        return bench

    def _remote(self, sink: RecordingSink) -> Bench:
        bench = self._exporting(sink)
        if self.local:
            pytest.skip("it is local: no HTTP service answers it")
        return bench

    def _counts_itself(self) -> bool:
        """Tell whether arrivals cannot be counted: no export, or local without a `count`."""
        bench = self._bench(dead_address())
        mine = type(self).count is Stand.count
        return not bench.exports or (self.local and mine)

    def _units(self, bench: Bench, number: int) -> tuple[list[tuple[str, str]], list[Any]]:
        """Return the span ids and records of `number` spans, or scores where it takes only those."""
        spans = [an_event() for _ in range(number)]
        failure = Error(type="RateLimitError", message="Slow down.", status=429)
        failed = [an_event(outcome="error", error=failure) for _ in range(number)]
        scores = [a_score() for _ in range(number)]
        for events in (spans, failed, scores):
            records = [r for e in events for r in bench.translate(e)]
            if records:
                return [(e.trace_id, str(e.span_id)) for e in events], records
        rule = "an ended span or a score becomes a record"
        return self._broken(
            rule, "neither on_end, on_usage, on_cost nor on_score returned anything"
        )

    def _translated(
        self, bench: Bench, rule: str, words: str, event: Event | ScoreEvent
    ) -> list[Any]:
        try:
            return bench.translate(event)
        except Exception as error:  # noqa: BLE001 - an author's code may raise anything
            self._broken(rule, f"{words}: {told(error)}")

    def _expected(self, rule: str, span_id: tuple[str, str], sink: RecordingSink) -> int:
        """Return how often one span's id stands in what a single delivery sends."""
        if self._counts_itself():
            pytest.skip("it is local and its test class has no count(): arrivals cannot be seen")
        once = self.count(*span_id, sink.requests)
        if once == 0:
            arrived = f"{len(sink.requests)} request(s) arrived"
            detail = f"{arrived}, but none holds the span's id; override count() if it sends none"
            self._broken(rule, detail)
        sent = [(r.method, r.path, r.body) for r in sink.requests if self.count(*span_id, [r])]
        if len(set(sent)) != len(sent):
            self._broken(rule, f"one span, but the same request arrived {len(sent)} times")
        return once

    def _took(
        self, rule: str, result: Result, before: str = "", *, may_reject: bool = False
    ) -> None:
        """Demand that a healthy service's export returned None or a sound list of Rejected."""
        if result.stuck:
            self._broken(rule, f"{before}export was still running after {result.took_s:.1f} s")
        if result.error is not None:
            self._broken(rule, f"{before}export raised {told(result.error)}")
        for item in result.value or ():
            if not isinstance(item, Rejected):
                self._broken(rule, f"{before}export returned {item!r}, not None or Rejected(…)")
        if result.value and not may_reject:
            self._broken(
                rule, f"{before}a healthy service took everything, export says {result.value}"
            )

    def _failing(
        self, rule: str, bench: Bench, sink: RecordingSink, before: str = ""
    ) -> BaseException:
        """Return the exception of an export that cannot have succeeded."""
        _, records = self._units(bench, 2)
        result = bench.export(records, 5.0)
        if result.error is None:
            told = "was still running" if result.stuck else "returned as if all had been taken"
            self._broken(rule, f"{before}export {told} ({len(sink.requests)} requests)")
        return result.error

    def _in_time(self, rule: str, bench: Bench, sink: RecordingSink) -> None:
        _, records = self._units(bench, 1)
        result = bench.export(records, self.timeout_s)
        if result.stuck:
            self._broken(
                rule, f"export({self.timeout_s} s) was still running after {result.took_s:.1f} s"
            )
        if not sink.requests:
            self._broken(rule, "the service was never asked")
        if result.error is None:
            self._broken(rule, "export returned as if the service had taken the records")
        if isinstance(result.error, (Refused, TooLarge)):
            self._broken(rule, f"export raised {told(result.error)}, which blames the records")

    def _export_one(self, sink: RecordingSink) -> str:
        bench = self._started(sink.url)
        result = bench.export(self._units(bench, 1)[1], 5.0)
        if result.stuck:
            return "export was still running after 6 s in the forked process"
        return "" if result.error is None else f"export raised {told(result.error)}"


def told(error: BaseException | None) -> str:
    """Return an exception in one line: type, message and where it was raised."""
    if error is None:
        return "still running"
    where = traceback.extract_tb(error.__traceback__)
    place = f" ({where[-1].filename}:{where[-1].lineno})" if where else ""
    return f"{type(error).__name__}: {error}{place}"[:1000]


def traced(error: BaseException | None) -> str:
    """Return everything a log would show of an exception, its causes included."""
    return "" if error is None else "".join(traceback.format_exception(error)) + repr(error)
