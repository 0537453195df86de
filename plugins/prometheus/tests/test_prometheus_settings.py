"""What the backend can be told, and what it refuses to be told."""

from __future__ import annotations

import pytest

from gatewayz.errors import SettingsError
from gatewayz.settings import Config, load
from gatewayz.testing.events import an_event
from gatewayz_prometheus import Prometheus


def test_sampling_is_refused_with_the_reason():
    with pytest.raises(SettingsError) as caught:
        load(
            Prometheus.Settings,
            Config({"PROMETHEUS_SAMPLE_RATE": "0.1"}, {}),
            instance="prometheus",
        )
    told = str(caught.value)
    assert told.startswith("PROMETHEUS_SAMPLE_RATE: ")
    assert "counts every inference" in told
    assert Prometheus.counts_all is True


def test_content_is_off_even_where_it_is_on_for_all(another):
    assert another({"GATEWAYZ_CAPTURE_CONTENT": "true"}).settings.capture_content is False


@pytest.mark.parametrize(
    ("variable", "value"),
    [("PROMETHEUS_MAX_LABEL_VALUES", "0"), ("PROMETHEUS_MAX_SERIES", "many")],
)
def test_a_wrong_bound_names_its_variable(variable, value):
    with pytest.raises(SettingsError, match=variable):
        load(Prometheus.Settings, Config({variable: value}, {}), instance="prometheus")


def test_a_labelled_instance_has_its_own_settings_page_and_counters(another):
    counted = another()
    labelled = another({"PROMETHEUS__TEAM_A__MAX_LABEL_VALUES": "7"}, "prometheus/team-a")
    assert labelled.settings.max_label_values == 7
    assert [p.path for p in counted.backend.pages()] == ["/metrics"]
    assert [p.path for p in labelled.backend.pages()] == ["/metrics-team-a"]
    assert {p.access for p in (*counted.backend.pages(), *labelled.backend.pages())} == {"open"}
    labelled.translate(an_event())
    assert labelled.scrape().sum("gatewayz_requests_total") == 1
    assert counted.scrape().sum("gatewayz_requests_total") == 0


def test_check_says_where_to_scrape(counted):
    assert counted.backend.check() == "counts in this process; scrape /metrics"
