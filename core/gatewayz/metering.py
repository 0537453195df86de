"""Tokens and money of one inference: checked, from the best source there is, never made up."""

from __future__ import annotations

import time
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from gatewayz import wire
from gatewayz.content import clean_text
from gatewayz.events import Cost, Usage
from gatewayz.pricing import PriceBook

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayz.complaints import Complaints
    from gatewayz.settings import CoreSettings
    from gatewayz.span import InferenceContext
    from gatewayz.wire import Reading

__all__ = ["Meter"]

_USAGE_FIELDS = frozenset(Usage.__struct_fields__)
_MAX_TOKENS = 2**53


class Meter:
    """Finds out usage and cost. Used by one thread; `price` may be called from any."""

    def __init__(self, settings: CoreSettings, complaints: Complaints) -> None:
        self._complaints = complaints
        self._prices = PriceBook(settings.prices)

    def usage(self, ctx: InferenceContext, read: Reading | None) -> Usage | None:
        """Return the tokens: the caller's own count first, else the provider's; None if neither."""
        given = ctx._usage
        if given is None:
            return None if read is None else read.usage
        if type(given) is tuple and len(given) == 4:
            return self._counted(*given)
        try:
            usage = wire.usage_from(given)
        except Exception:  # noqa: BLE001 - reads attributes of somebody's object
            usage = None
        if usage is None:
            self._complaints.add(f"set_usage() got no usage it knows, but {type(given).__name__}")
        return usage

    def _counted(
        self, given_in: Any, given_out: Any, given_total: Any, details: Any
    ) -> Usage | None:
        if (
            not details
            and given_total is None
            and type(given_in) is type(given_out) is int
            and 0 <= given_in < _MAX_TOKENS
            and 0 <= given_out < _MAX_TOKENS
        ):
            total = given_in + given_out
            return Usage(input_tokens=given_in, output_tokens=given_out, total_tokens=total)
        counts = {"input_tokens": given_in, "output_tokens": given_out, "total_tokens": given_total}
        checked: dict[str, int] = {}
        for name, count in {**counts, **details}.items():
            if count is None:
                continue
            if name not in _USAGE_FIELDS:
                self._complaints.add(f"set_token_usage() does not know {clean_text(name, 60)!r}")
                continue
            whole = _whole(count)
            if whole is None:
                self._complaints.add(f"set_token_usage(): {name} must be a whole number from 0 up")
                continue
            checked[name] = whole
        if not checked:
            return None
        if "total_tokens" not in checked and {"input_tokens", "output_tokens"} <= checked.keys():
            checked["total_tokens"] = checked["input_tokens"] + checked["output_tokens"]
        return Usage(**checked)

    def cost(
        self,
        ctx: InferenceContext,
        read: Reading | None,
        usage: Usage | None,
        fields: Mapping[str, Any],
    ) -> Cost | None:
        """Return the cost: the caller's, else the provider's, else by price; None if unknown."""
        if ctx._cost is not None:
            amounts = [None if a is None else _money(a) for a in ctx._cost]
            if amounts[0] is not None and amounts[0] >= 0:
                return Cost(
                    amount_usd=amounts[0],
                    source="caller",
                    input_usd=amounts[1],
                    output_usd=amounts[2],
                )
            self._complaints.add("set_cost() takes an amount in US dollars from 0 up")
        if read is not None and read.cost_usd is not None:
            return Cost(amount_usd=read.cost_usd, source="provider")
        if usage is None:
            return None
        models = (fields.get("response_model"), fields["request_model"])
        tier = None if read is None else read.service_tier
        asked = (fields["provider"], models, usage, fields["start_time_ns"], tier)
        known = None if ctx.capture is None else ctx.capture.priced
        # The header of the answer has told the cost already, of the same figures as a rule.
        return known.cost if known is not None and known[:-1] == asked else self.price(*asked)

    def price(
        self,
        provider: str,
        models: tuple[str | None, ...],
        usage: Usage,
        at_ns: int | None = None,
        service_tier: str | None = None,
    ) -> Cost | None:
        """Return the cost by the first of `models` that has a price, or None; any thread."""
        at_ns = time.time_ns() if at_ns is None else at_ns
        for model in dict.fromkeys(models):
            if model:
                cost = self._prices.cost(
                    provider, model, usage, at_ns=at_ns, service_tier=service_tier
                )
                if cost is not None:
                    return cost
        return None


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or not 0 <= value < _MAX_TOKENS:
        return None
    return value


def _money(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        # A float means what it prints: 0.0023 is 0.0023 dollars.
        amount = Decimal(str(value))
    except (InvalidOperation, ValueError):
        return None
    return amount if amount.is_finite() else None
