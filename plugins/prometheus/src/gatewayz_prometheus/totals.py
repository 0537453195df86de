"""Numbers that only grow, by label values: counted here, dumped as JSON, merged, folded.

Nothing in this room takes a lock: whoever counts and whoever reads must hold the same one.
"""

from __future__ import annotations

import bisect
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

from gatewayz_prometheus.metrics import COUNTERS, HISTOGRAMS, VOCABULARIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatewayz_prometheus.metrics import Family

__all__ = ["DUMP_VERSION", "OTHER", "Counter", "Exemplar", "Histogram", "Totals"]

DUMP_VERSION = 1
"""Of the shape of `Totals.dump`; a dump of another version is not merged."""
OTHER = "other"
"""What a label reads once it has too many values."""


Exemplar: TypeAlias = "tuple[int, str, int | Decimal]"
"""A trace behind a number: when (ns), its id, and the value. `max` keeps the newest of two.

A plain tuple: ten are made for each inference, and a class would cost more than all the counting.
"""


class Counter:
    """A number that only grows. `seen` tells a counted zero from one that was never counted."""

    __slots__ = ("exemplar", "seen", "value")

    def __init__(self) -> None:
        self.value: int | Decimal = 0
        self.exemplar: Exemplar | None = None
        self.seen = False

    def add(self, amount: int | Decimal, time_ns: int, trace_id: str) -> None:
        """Count `amount`, which is not negative, on behalf of a trace."""
        self.seen = True
        if amount:
            self.value += amount
            newest = self.exemplar
            if newest is None or time_ns >= newest[0]:
                self.exemplar = (time_ns, trace_id, amount)


class Histogram:
    """How many values fell into each bucket, and their sum. The last bucket is +Inf."""

    __slots__ = ("bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self.bounds = bounds
        self.total = 0
        self.counts = [0] * (len(bounds) + 1)
        self.exemplars: list[Exemplar | None] = [None] * (len(bounds) + 1)

    def observe(self, value: int, time_ns: int, trace_id: str) -> None:
        """Count one value, which is not negative, on behalf of a trace."""
        bucket = bisect.bisect_left(self.bounds, value)
        self.counts[bucket] += 1
        self.total += value
        newest = self.exemplars[bucket]
        if newest is None or time_ns >= newest[0]:
            self.exemplars[bucket] = (time_ns, trace_id, value)


class Totals:
    """All counters and histograms of one process, or of several merged."""

    def __init__(self) -> None:
        self.counters: dict[str, dict[tuple[str, ...], Counter]] = {f.name: {} for f in COUNTERS}
        self.histograms: dict[str, dict[tuple[str, ...], Histogram]] = {
            f.name: {} for f in HISTOGRAMS
        }
        self.first_seen: dict[str, dict[str, int]] = {v: {} for v in VOCABULARIES.values()}
        self.in_flight = 0

    def counter(self, family: Family, labels: tuple[str, ...]) -> Counter:
        """Return the counter of these label values, a new one where there was none."""
        series = self.counters[family.name]
        found = series.get(labels)
        if found is None:
            found = series[labels] = Counter()
        return found

    def histogram(self, family: Family, labels: tuple[str, ...]) -> Histogram:
        """Return the histogram of these label values, a new one where there was none."""
        series = self.histograms[family.name]
        found = series.get(labels)
        if found is None:
            found = series[labels] = Histogram(family.bounds)
        return found

    def dump(self) -> dict[str, Any]:
        """Return a copy as JSON values. Exact: integers stay integers, money is text."""
        return {
            "version": DUMP_VERSION,
            "in_flight": self.in_flight,
            "first_seen": {name: dict(seen) for name, seen in self.first_seen.items()},
            "counters": {
                name: [
                    [labels, _plain(one.value), _plain_exemplar(one.exemplar)]
                    for labels, one in series.items()
                    if one.seen
                ]
                for name, series in self.counters.items()
            },
            "histograms": {
                name: [
                    [labels, one.total, one.counts[:], [_plain_exemplar(e) for e in one.exemplars]]
                    for labels, one in series.items()
                    if any(one.counts)
                ]
                for name, series in self.histograms.items()
            },
        }

    def add(self, dump: Any, *, alive: bool = True) -> bool:
        """Add what another process dumped; return False for a dump that cannot be read.

        Associative and commutative. What a dead process (`alive` False) had in flight ended with
        it; everything it counted stays.
        """
        if not isinstance(dump, dict) or dump.get("version") != DUMP_VERSION:
            return False
        if alive:
            self.in_flight += dump["in_flight"]
        for vocabulary, seen in dump["first_seen"].items():
            mine = self.first_seen[vocabulary]
            for value, time_ns in seen.items():
                mine[value] = min(time_ns, mine.get(value, time_ns))
        for family in COUNTERS:
            for labels, value, exemplar in dump["counters"].get(family.name, ()):
                _add_counter(
                    self.counter(family, tuple(labels)), _exact(value), _exemplar(exemplar)
                )
        for family in HISTOGRAMS:
            for labels, total, counts, exemplars in dump["histograms"].get(family.name, ()):
                _add_histogram(
                    self.histogram(family, tuple(labels)), total, counts, map(_exemplar, exemplars)
                )
        return True

    def folded(self, max_label_values: int) -> Totals:
        """Return these totals with at most so many values per label, the others as `other`.

        Every process bounds its own labels; merged, they may have more. The values that were
        first seen first are kept, so a series once shown stays.
        """
        late = {
            vocabulary: set(sorted(seen, key=lambda v: (seen[v], v))[max_label_values:])
            for vocabulary, seen in self.first_seen.items()
            if len(seen) > max_label_values
        }
        if not late:
            return self
        folded = Totals()
        folded.in_flight = self.in_flight
        for vocabulary, seen in self.first_seen.items():
            folded.first_seen[vocabulary] = {
                v: t for v, t in seen.items() if v not in late.get(vocabulary, ())
            }
        for family in COUNTERS:
            for labels, counter in self.counters[family.name].items():
                if counter.seen:
                    _add_counter(
                        folded.counter(family, _fold(family, labels, late)),
                        counter.value,
                        counter.exemplar,
                    )
        for family in HISTOGRAMS:
            for labels, one in self.histograms[family.name].items():
                _add_histogram(
                    folded.histogram(family, _fold(family, labels, late)),
                    one.total,
                    one.counts,
                    one.exemplars,
                )
        return folded


def _fold(family: Family, labels: tuple[str, ...], late: Mapping[str, set[str]]) -> tuple[str, ...]:
    return tuple(
        OTHER if value in late.get(VOCABULARIES.get(label, ""), ()) else value
        for label, value in zip(family.labels, labels, strict=True)
    )


def _newest(one: Exemplar | None, two: Exemplar | None) -> Exemplar | None:
    if one is None or two is None:
        return one or two
    return max(one, two)


def _add_counter(into: Counter, value: int | Decimal, exemplar: Exemplar | None) -> None:
    into.seen = True
    into.value += value
    into.exemplar = _newest(into.exemplar, exemplar)


def _add_histogram(
    into: Histogram, total: int, counts: Iterable[int], exemplars: Iterable[Exemplar | None]
) -> None:
    into.total += total
    into.counts = [a + b for a, b in zip(into.counts, counts, strict=True)]
    into.exemplars = [_newest(a, b) for a, b in zip(into.exemplars, exemplars, strict=True)]


def _plain(value: int | Decimal) -> int | str:
    return value if isinstance(value, int) else str(value)


def _exact(value: int | str) -> int | Decimal:
    return value if isinstance(value, int) else Decimal(value)


def _plain_exemplar(exemplar: Exemplar | None) -> list[Any] | None:
    if exemplar is None:
        return None
    time_ns, trace_id, value = exemplar
    return [time_ns, trace_id, _plain(value)]


def _exemplar(plain: list[Any] | None) -> Exemplar | None:
    return None if plain is None else (plain[0], plain[1], _exact(plain[2]))
