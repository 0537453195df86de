"""The cases about what `export` answers when a service refuses, hangs, breaks or redirects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gatewayz.errors import Misconfigured, Refused, Retry, TooLarge
from gatewayz.testing.sink import (
    RecordingSink,
    dead_address,
    drip,
    hang,
    redirect,
    reset,
    status,
)
from gatewayz.testing.stand import Stand, told

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FailingCases"]

_ANSWERS = [
    pytest.param(400, {}, Refused, id="400"),
    pytest.param(401, {}, Misconfigured, id="401"),
    pytest.param(403, {}, Misconfigured, id="403"),
    pytest.param(413, {}, TooLarge, id="413"),
    pytest.param(429, {"Retry-After": "7"}, Retry, id="429"),
    pytest.param(500, {}, Retry, id="500"),
    pytest.param(503, {}, Retry, id="503"),
]
_MEANING = {
    Refused: "something in the batch is unacceptable, so the lane may look for it",
    Misconfigured: "key or host are wrong, so the lane holds everything and says so",
    TooLarge: "the batch is too big, so the lane halves it",
    Retry: "nothing is wrong with the records, so the lane asks again",
}


class FailingCases(Stand):
    """Rules about services that fail."""

    @pytest.mark.parametrize(("code", "headers", "expected"), _ANSWERS)
    def test_each_answer_means_what_the_contract_says(
        self, code: int, headers: Mapping[str, str], expected: type[Exception]
    ) -> None:
        """`raise_for_answer` maps them all; so does whatever an author writes instead."""
        rule = f"HTTP {code} is answered with {expected.__name__}: {_MEANING[expected]}"
        with self._sink(status(code, headers)) as sink:
            error = self._failing(rule, self._remote(sink), sink)
        if not isinstance(error, expected):
            self._broken(rule, f"export raised {told(error)}")
        if code == 429 and isinstance(error, Retry):
            after_s = error.after_s
            if after_s is None or abs(after_s - 7.0) > 0.5:
                self._broken(rule, f"the answer said Retry-After: 7, but after_s is {after_s}")

    def test_export_retries_nothing_itself(self) -> None:
        """Trying again, and when, is the lane's."""
        rule = "export retries nothing: it answers, and the lane decides when to ask again"
        with self._sink() as sink:
            bench = self._remote(sink)
            _, records = self._units(bench, 1)
            self._took(rule, bench.export(records, 5.0))
            usual = len(sink.requests)
            sink.clear()
            sink.answer_with(status(503))
            result = bench.export(records, 5.0)
            if result.stuck or len(sink.requests) > usual:
                sent = len(sink.requests)
                self._broken(rule, f"{sent} requests for an answer of 503, {usual} usually")

    @pytest.mark.parametrize("fault", ["refused", "reset"])
    def test_a_failed_connection_is_never_a_success(self, fault: str) -> None:
        """Nothing may count as delivered, or be given up, because a service is down."""
        rule = "a service that is down is neither a success nor the records' fault: raise Retry"
        with self._sink(reset()) as sink:
            bench = self._remote(sink)
            if fault == "refused":
                bench = self._bench(dead_address())
                bench.backend.startup()
            error = self._failing(rule, bench, sink, f"connection {fault}: ")
        if isinstance(error, (Refused, TooLarge)):
            self._broken(rule, f"connection {fault}: export raised {told(error)}")

    def test_export_gives_up_in_time_when_the_service_hangs(self) -> None:
        """`timeout_s` is the time of the whole export."""
        rule = "export returns within timeout_s (and one second) of a service that says nothing"
        with self._sink(hang()) as sink:
            self._in_time(rule, self._remote(sink), sink)

    def test_export_gives_up_in_time_when_the_service_drips(self) -> None:
        """Timeouts of single reads never fire here; a total deadline does."""
        rule = "export returns within timeout_s (and one second) of a service that drips its answer"
        with self._sink(drip()) as sink:
            bench = self._remote(sink)
            if self.total_deadline:
                self._in_time(rule, bench, sink)
                return
            _, records = self._units(bench, 1)
            if bench.export(records, self.timeout_s).stuck:
                pytest.xfail(
                    f"{bench.name}: {rule}. Not kept: its timeout restarts with every byte. The "
                    "lane will replace the stuck thread, but better read with a total deadline; "
                    "set total_deadline = True once it is kept."
                )

    def test_a_redirect_is_not_followed(self) -> None:
        """Records and credentials go to the configured host only."""
        rule = "a redirect is not followed: records and credentials go to the configured host only"
        with RecordingSink() as elsewhere, self._sink(redirect(elsewhere.url)) as sink:
            self._failing(rule, self._remote(sink), sink, "a redirect: ")
            if elsewhere.requests:
                self._broken(rule, f"the other host got {len(elsewhere.requests)} request(s)")
