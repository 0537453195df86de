"""The conformance kit: proves that a backend keeps the contract, and says which rule it breaks.

    from gatewayz.testing import BackendConformance

    class TestWebhook(BackendConformance):
        backend = "webhook"

Each case runs the backend as a lane does, against a recording server on loopback that can hang,
refuse, redirect and break. A failure's message begins with the rule in words.
"""

from __future__ import annotations

from gatewayz.testing.cases_delivering import DeliveringCases
from gatewayz.testing.cases_failing import FailingCases
from gatewayz.testing.cases_lane import LaneCases
from gatewayz.testing.cases_living import LivingCases
from gatewayz.testing.cases_settings import SettingsCases
from gatewayz.testing.cases_translating import TranslatingCases

__all__ = ["BackendConformance"]


class BackendConformance(
    SettingsCases, TranslatingCases, DeliveringCases, FailingCases, LaneCases, LivingCases
):
    """Subclass it in a test module, set `backend`, done. Every `test_` method is one rule.

    What the kit cannot know of a service, the subclass says: the attributes `env`, `local`,
    `total_deadline`, `timeout_s`, `batch` and the methods `answer` and `count`, all of them
    described in `gatewayz.testing.stand.Stand`. A rule that does not apply is skipped with the
    reason.
    """
