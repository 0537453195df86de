"""The cases about what `export` delivers: each record, once, and nothing it kept."""

from __future__ import annotations

from gatewayz.testing.bench import same
from gatewayz.testing.events import an_event
from gatewayz.testing.stand import Stand

__all__ = ["DeliveringCases"]


class DeliveringCases(Stand):
    """Rules about delivering to a healthy service."""

    def test_export_delivers_every_record_once(self) -> None:
        """A batch arrives whole, and nothing arrives twice."""
        rule = "export delivers each record it is given, once"
        with self._sink() as sink:
            bench = self._exporting(sink)
            alone, records = self._units(bench, 1)
            self._took(rule, bench.export(records, 5.0))
            once = self._expected(rule, alone[0], sink)
            sink.clear()
            ids, records = self._units(bench, self.batch)
            self._took(rule, bench.export(records, 5.0))
            counts = {i: self.count(*i, sink.requests) for i in ids}
            missing = [i for i, n in counts.items() if n < once]
            if missing:
                self._broken(rule, f"{len(missing)} of {len(ids)} spans did not arrive")
            twice = [i for i, n in counts.items() if n > once]
            if twice:
                self._broken(rule, f"{len(twice)} of {len(ids)} spans arrived more than once")

    def test_export_keeps_nothing(self) -> None:
        """The same records again are sent again, exactly; and they are left as they were."""
        rule = "export is stateless: the same records given again are sent again, and no others"
        with self._sink() as sink:
            bench = self._exporting(sink)
            ids, records = self._units(bench, 5)
            seen: list[tuple[int, list[int]]] = []
            for _ in range(2):
                sink.clear()
                self._took(rule, bench.export([*records], 5.0))
                seen.append((len(sink.requests), [self.count(*i, sink.requests) for i in ids]))
            if seen[0] != seen[1] and not self.local:
                self._broken(rule, f"requests and ids differ: first {seen[0]}, then {seen[1]}")
            other, more = self._units(bench, 1)
            sink.clear()
            self._took(rule, bench.export(more, 5.0))
            left_over = [i for i in ids if self.count(*i, sink.requests)]
            if left_over and not self.local:
                detail = f"a later export sent {len(left_over)} earlier spans along with {other[0]}"
                self._broken(rule, detail)

    def test_export_leaves_its_records_unchanged(self) -> None:
        """The lane keeps the records and may send them again."""
        rule = "export leaves its records unchanged: the lane may have to send them again"
        with self._sink() as sink:
            bench = self._exporting(sink)
            events = [an_event() for _ in range(3)]
            records = [r for e in events for r in bench.translate(e)]
            untouched = [r for e in events for r in bench.translate(e)]
            given = [*records]
            self._took(rule, bench.export(given, 5.0))
            if len(given) != len(records) or not same(given, untouched):
                self._broken(rule, "the records were not the same after the export")
