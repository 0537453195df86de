"""Scraping while counting: nothing is lost, nothing is torn."""

from __future__ import annotations

import sys
import threading

import pytest

from gatewayz.events import Usage
from gatewayz.testing.events import a_beginning, an_event


@pytest.fixture
def switching_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("switching_often")
def test_nothing_is_lost_or_torn_while_it_is_scraped(counted):
    def count(worker: int) -> None:
        for number in range(300):
            usage = Usage(input_tokens=10, output_tokens=number)
            event = an_event(request_model=f"model-{worker}-{number % 50}", usage=usage)
            counted.translate_beginning(a_beginning(span_id=event.span_id))
            counted.translate(event)

    counting = [threading.Thread(target=count, args=(n,)) for n in range(3)]
    errors: list[BaseException] = []
    scrapes = []

    def scrape() -> None:
        try:
            while any(t.is_alive() for t in counting):
                scrapes.append(counted.scrape())
        except BaseException as error:
            errors.append(error)

    scraping = [threading.Thread(target=scrape) for _ in range(2)]
    for thread in (*counting, *scraping):
        thread.start()
    for thread in (*counting, *scraping):
        thread.join(60)
        assert not thread.is_alive()
    assert errors == []
    final = counted.scrape()
    assert final.sum("gatewayz_requests_total") == 900
    assert final.sum("gatewayz_tokens_total", kind="input") == 9000
    assert final.value("gatewayz_requests_in_flight") == 0
    assert scrapes
    for scrape in scrapes:
        # Request and duration of one inference are counted together, and are always seen together.
        requests = scrape.sum("gatewayz_requests_total")
        name = "gen_ai_client_operation_duration_seconds"
        assert scrape.sum(f"{name}_count") == requests
        assert scrape.sum(f"{name}_bucket", le="+Inf") == requests
