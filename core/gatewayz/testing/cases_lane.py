"""The cases about the whole way: a real tracer, a real lane, and a ledger that has to add up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gatewayz.lane import LanePolicy
from gatewayz.settings import instance_prefix
from gatewayz.testing.bench import find_class
from gatewayz.testing.sink import in_turn, status
from gatewayz.testing.stand import Stand
from gatewayz.tracer import Tracer

if TYPE_CHECKING:
    from gatewayz.testing.sink import Answer, RecordingSink, Request

__all__ = ["LaneCases"]

# The pauses of a running process are seconds; what happens in them is the lane's business.
_HASTY = LanePolicy(tries=8, first_backoff_s=0.01, longest_backoff_s=0.05, probe_s=0.05)
_Ids = list[tuple[str, str]]


class LaneCases(Stand):
    """Rules about what reaches the service, and what the ledger says of it."""

    def test_seventy_inferences_arrive_and_the_ledger_adds_up(self) -> None:
        """Through a real lane: accepted = delivered + dropped + dead_lettered + pending."""
        rule = "every accepted span is delivered once and counted once"
        with self._sink() as sink:
            ids, ledger = self._traced(rule, sink, 70)
            if ledger["delivered"] != ledger["accepted"]:
                self._broken(rule, f"not all were delivered: {ledger}")
            if self._counts_itself():
                return
            self._all_arrived(rule, ids, sink.requests, ledger["filtered"])

    def test_an_outage_loses_nothing(self) -> None:
        """A service that is back after two failures gets everything, once."""
        rule = "what a service could not take is sent again and lost nowhere"
        taken: list[Request] = []

        def well_again(request: Request) -> Answer:
            taken.append(request)
            return self.answer(request)

        with self._sink(in_turn(status(503), status(500), well_again)) as sink:
            self._remote(sink)
            ids, ledger = self._traced(rule, sink, 5)
            if ledger["delivered"] != ledger["accepted"]:
                self._broken(rule, f"not all were delivered after the outage: {ledger}")
            self._all_arrived(rule, ids, taken, ledger["filtered"])

    def test_a_batch_that_is_too_large_is_halved(self) -> None:
        """413 for more than three spans: the lane halves until they fit."""
        rule = "a batch answered 413 arrives in smaller ones: raise TooLarge"
        taken: list[Request] = []
        ids: _Ids = []

        def small_ones(request: Request) -> Answer:
            if sum(bool(self.count(*i, [request])) for i in ids) > 3:
                return status(413)(request)
            taken.append(request)
            return self.answer(request)

        with self._sink() as sink:
            self._remote(sink)
            sink.answer_with(small_ones)
            _, ledger = self._traced(rule, sink, 20, ids)
            if ledger["delivered"] != ledger["accepted"]:
                self._broken(rule, f"not all were delivered: {ledger}")
            self._all_arrived(rule, ids, taken, ledger["filtered"])

    def test_a_span_the_service_refuses_is_given_up_alone(self) -> None:
        """400 for any batch that holds one span: that one is dead-lettered, the rest arrive."""
        rule = "one refused span costs nobody else: raise Refused, or return Rejected for its index"
        taken: list[Request] = []
        ids: _Ids = []

        def not_the_third(request: Request) -> Answer:
            if len(ids) > 2 and self.count(*ids[2], [request]):
                return status(400)(request)
            taken.append(request)
            return self.answer(request)

        with self._sink() as sink:
            self._remote(sink)
            sink.answer_with(not_the_third)
            _, ledger = self._traced(rule, sink, 20, ids)
            if ledger["filtered"]:
                return
            if (ledger["delivered"], ledger["dead_lettered"]) != (19, 1):
                self._broken(rule, f"one of twenty was refused; the ledger says {ledger}")
            self._all_arrived(rule, [*ids[:2], *ids[3:]], taken, 0)

    def _traced(
        self, rule: str, sink: RecordingSink, number: int, ids: _Ids | None = None
    ) -> tuple[_Ids, dict[str, Any]]:
        """Trace `number` inferences through a tracer of its own; return their ids and the ledger."""
        name, _ = find_class(self.backend)
        ids = [] if ids is None else ids
        environ, _ = self._environ(sink.url)
        hooks = self._bench(sink.url).hooks.keys()
        if isinstance(self.backend, str):
            tracer = Tracer({**environ, f"{instance_prefix(name)}ENABLED": "true"}, policy=_HASTY)
        else:
            tracer = Tracer({}, backends={name: self._bench(sink.url).backend}, policy=_HASTY)
        try:
            tracer.start()
            row = tracer.status()["backends"][name]
            if row["state"] != "active":
                self._broken(rule, f"it did not start: {row['reason']}")
            contexts = [tracer.start_inference("openai", "gpt-4o-mini") for _ in range(number)]
            ids += [(ctx.trace_id, ctx.span_id) for ctx in contexts]
            for ctx in contexts:
                ctx.set_input([{"role": "user", "content": "Hello"}])
                ctx.set_output({"role": "assistant", "content": "Hi"})
                ctx.set_token_usage(10, 2)
                ctx.end()
            tracer.flush(10.0)
            ledger: dict[str, Any] = tracer.status()["backends"][name]
        finally:
            tracer.shutdown(2.0)
        if not ledger["accepted"] and not {"on_usage", "on_cost", "on_end"} & hooks:
            pytest.skip("it translates no ended span")
        settled = sum(ledger["dropped"].values()) + ledger["dead_lettered"] + ledger["pending"]
        adds_up = ledger["accepted"] == ledger["delivered"] + settled
        if not adds_up or ledger["accepted"] + ledger["filtered"] != number:
            self._broken(rule, f"{number} spans were traced; the ledger says {ledger}")
        if ledger["filtered"] == number:
            pytest.skip("it translates no ordinary inference")
        return ids, ledger

    def _all_arrived(self, rule: str, ids: _Ids, requests: list[Request], skipped: int) -> None:
        """Demand that each span but the skipped ones arrived, and equally often."""
        counts = [self.count(*i, requests) for i in ids]
        if counts.count(0) > skipped:
            self._broken(rule, f"{counts.count(0)} of {len(ids)} spans did not arrive")
        often = sorted({n for n in counts if n})
        if len(often) > 1:
            self._broken(rule, f"spans arrived unequally often: {often} times")
