"""What the tests of this plugin share: a backend on the bench, and its page as a scraper reads it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.samples import Exemplar

from gatewayz.hookspecs import PageAnswer, PageRequest, Snapshot
from gatewayz.testing.bench import Bench
from gatewayz_prometheus import Prometheus

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


class Scrape:
    """A page, parsed by prometheus_client's own parsers."""

    def __init__(self, answer: PageAnswer) -> None:
        self.answer = answer
        self.text = answer.body.decode()
        parse = parse_openmetrics if "openmetrics" in answer.content_type else parse_text
        self.families: dict[str, Metric] = {m.name: m for m in parse(self.text)}
        self.samples = [s for m in self.families.values() for s in m.samples]

    def rows(self, name: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Return every sample of one name: its labels that are not empty, sorted, and its value."""
        return {
            tuple(sorted((k, v) for k, v in s.labels.items() if v)): s.value
            for s in self.samples
            if s.name == name
        }

    def value(self, name: str, /, **labels: str) -> float | None:
        """Return the one sample that has exactly these labels (empty ones aside), or None."""
        return self.rows(name).get(tuple(sorted(labels.items())))

    def sum(self, name: str, /, **labels: str) -> float:
        """Return the sum over all samples that have these labels among theirs."""
        return sum(
            v for row, v in self.rows(name).items() if all((k, w) in row for k, w in labels.items())
        )

    def exemplars(self, name: str) -> list[Exemplar]:
        return [s.exemplar for s in self.samples if s.name == name and s.exemplar]


class Counted(Bench):
    """A backend that is told of events as a lane tells it, and scraped."""

    backend: Prometheus

    def __init__(self, environ: dict[str, str] | None = None, name: str = "prometheus") -> None:
        super().__init__(name, Prometheus, environ or {})

    def scrape(
        self,
        accept: str = OPENMETRICS,
        *,
        status: Any = None,
        snapshots: Sequence[Snapshot] | None = None,
        path: str | None = None,
    ) -> Scrape:
        return Scrape(self.ask(accept, status=status, snapshots=snapshots, path=path))

    def ask(
        self,
        accept: str = OPENMETRICS,
        *,
        status: Any = None,
        snapshots: Sequence[Snapshot] | None = None,
        path: str | None = None,
    ) -> PageAnswer:
        (page,) = self.backend.pages()
        found = [Snapshot(True, self.backend.snapshot())] if snapshots is None else snapshots
        request = PageRequest(
            path or page.path,
            {},
            {"accept": accept} if accept else {},
            lambda: {"backends": status or {}},
            lambda: found,
        )
        return page.answer(request)


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def another() -> Callable[..., Counted]:
    """Return a maker of further backends: `another({"PROMETHEUS_…": "…"}, "prometheus/label")`."""
    return Counted


@pytest.fixture
def program() -> Callable[[str], str]:
    """Return a finder of programs of the `prometheus` package: missing, they fail CI and skip elsewhere."""

    def find(name: str) -> str:
        found = shutil.which(name)
        if found is None:
            why = f"{name} is not installed: apt-get install prometheus"
            if os.environ.get("CI", "").lower() == "true":
                pytest.fail(why)
            pytest.skip(why)
        return str(Path(found))

    return find
