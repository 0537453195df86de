"""docs/prometheus.md says what is so: its tables, its queries, its rules."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from gatewayz_prometheus.metrics import FAMILIES

DOCS = Path(__file__).parents[3] / "docs" / "prometheus.md"

# One model at 2 requests a second, half of them failing, a dollar a minute; a backend that is
# down and loses a span a minute; a label that overflows.
RULE_TEST = """
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'gatewayz_requests_total{provider="openai",model="m",operation="chat",outcome="ok",team="a"}', values: '0+60x60'}
      - {series: 'gatewayz_requests_total{provider="openai",model="m",operation="chat",outcome="error",team="a"}', values: '0+60x60'}
      - {series: 'gatewayz_cost_usd_total{provider="openai",model="m",team="a"}', values: '0+1x60'}
      - {series: 'gatewayz_backend_up{backend="otel"}', values: '0x60'}
      - {series: 'gatewayz_backend_up{backend="loki"}', values: '1x60'}
      - {series: 'gatewayz_backend_events_total{backend="otel",result="dropped",reason="queue_full"}', values: '0+1x60'}
      - {series: 'gatewayz_backend_events_total{backend="loki",result="delivered"}', values: '0+9x60'}
      - {series: 'gatewayz_label_overflow_total{label="model"}', values: '0+1x60'}
    promql_expr_test:
      - expr: model:gatewayz_requests:rate5m
        eval_time: 30m
        exp_samples: [{labels: 'model:gatewayz_requests:rate5m{provider="openai",model="m"}', value: 2}]
      - expr: gatewayz:error_ratio:rate5m
        eval_time: 30m
        exp_samples: [{labels: 'gatewayz:error_ratio:rate5m', value: 0.5}]
      - expr: team:gatewayz_cost_usd:increase1h
        eval_time: 60m
        exp_samples: [{labels: 'team:gatewayz_cost_usd:increase1h{team="a"}', value: 60}]
    alert_rule_test:
      - alertname: GatewayzFailures
        eval_time: 30m
        exp_alerts:
          - exp_labels: {severity: page}
            exp_annotations: {summary: "50% of the inferences fail"}
      - alertname: GatewayzBackendDown
        eval_time: 30m
        exp_alerts:
          - exp_labels: {severity: ticket, backend: otel}
            exp_annotations: {summary: "Backend otel takes no traces; see its status for the reason"}
      - alertname: GatewayzTracesLost
        eval_time: 30m
        exp_alerts:
          - exp_labels: {severity: ticket, backend: otel}
            exp_annotations: {summary: "Backend otel lost 15 spans in 15 minutes"}
      - alertname: GatewayzLabelOverflow
        eval_time: 30m
        exp_alerts:
          - exp_labels: {severity: ticket, label: model}
            exp_annotations: {summary: "Label model has too many values; some are counted as 'other'"}
"""


@pytest.fixture(scope="module")
def page():
    return DOCS.read_text(encoding="utf-8")


def rows(page, heading):
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| (.*) \|$", section, re.MULTILINE)
    return [re.split(r"(?<!\\) \|(?: |$)", row) for row in found[1:]]


def rules(page):
    return next(b for b in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "groups:" in b)


def test_the_table_has_every_metric_with_its_type_and_labels(page):
    table = {
        name.strip("`"): (
            kind,
            tuple(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", labels[0] if labels else ""))),
        )
        for name, kind, *labels in rows(page, "Metrics")
    }
    assert table == {f.name: (f.type, f.labels) for f in FAMILIES}


def test_every_query_is_valid_and_names_metrics_that_exist(page, program, tmp_path):
    names = {f.name for f in FAMILIES} | {
        f"{f.name}_{suffix}" for f in FAMILIES for suffix in ("bucket", "count", "sum")
    }
    table = rows(page, "Queries") + rows(page, "Coming from LiteLLM")
    text = " ".join(row[-1] for row in table).replace(r"\|", "|")
    queries = [q for q in re.findall(r"`([^`]+)`", text) if "gatewayz_" in q or "_seconds" in q]
    assert len(queries) > 25
    for query in queries:
        used = set(re.findall(r"\b(?:gatewayz|gen_ai_client|gen_ai_server)_\w+", query))
        assert used, query
        assert used <= names, query
    checked = tmp_path / "queries.yml"
    entries = "".join(f"      - record: q{n}\n        expr: {q!r}\n" for n, q in enumerate(queries))
    checked.write_text(f"groups:\n  - name: queries\n    rules:\n{entries}")
    done = subprocess.run(
        [program("promtool"), "check", "rules", str(checked)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_do_what_they_say(page, program, tmp_path):
    (tmp_path / "rules.yml").write_text(rules(page))
    (tmp_path / "test.yml").write_text(RULE_TEST)
    for arguments in (["check", "rules", "rules.yml"], ["test", "rules", "test.yml"]):
        done = subprocess.run(
            [program("promtool"), *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
