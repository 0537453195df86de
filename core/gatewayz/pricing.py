"""What an inference cost: the operator's price file first, then the genai-prices library.

Money is exact: prices are Decimals, tokens whole numbers, and nothing is rounded. Where a model's
prices are flat for a given size of input they are kept and multiplied here, which gives what the
library gives at a tenth of its time; audio and fees per request are left to the library.

What is not known has no cost, never 0: an unknown provider or model, a model that the library lists
without a price or sells by the second, the character or the page, and token counts that contradict
each other. Fees for tools (web searches) are not in token counts and so not in the cost.

The price file (`GATEWAYZ_PRICES`), in US dollars per million tokens:

    [models."openai/ft:gpt-4o-mini:acme"]     # provider/model; or a model alone, for any provider
    input_usd_per_mtok = 0.30
    output_usd_per_mtok = 1.20
    cache_read_usd_per_mtok = 0.15            # default: the input price
    cache_write_usd_per_mtok = 0.30           # default: the input price
    cache_write_1h_usd_per_mtok = 0.30        # default: the cache write price
"""

from __future__ import annotations

import bisect
import decimal
import difflib
import logging
import tomllib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from gatewayz.errors import SettingsError
from gatewayz.events import Cost

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice, Provider

    from gatewayz.events import Usage

__all__ = ["PriceBook"]

logger = logging.getLogger(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Wide enough that no sum or product of prices and counts is ever rounded, whatever a thread's own
# context says.
_EXACT = decimal.Context(prec=80)
_MILLION = 6
_MAX_PRICE = 1_000_000
_MAX_NAME_CHARS = 256
_CACHED_MODELS = 2048

# What others call a provider -> what genai-prices calls it, where its own matching would find
# nothing, or somebody else (`azure.ai.openai` holds "openai").
_PROVIDERS = {
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "azure-ai": "azure",
    "azure-openai": "azure",
    "az.ai.inference": "azure",
    "az.ai.openai": "azure",
    "fireworks-ai": "fireworks",
    "gcp.gen-ai": "google",
    "together.ai": "together",
    "x.ai": "x-ai",
    "z-ai": "zai",
    "z.ai": "zai",
    "zhipu": "zhipuai",
    "moonshot": "moonshotai",
}

_FLAT_KEYS = frozenset(
    {"input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok"}
)
# Prices that never apply, as usage has no such counts, and that leave the others right.
_FEE_SUFFIXES = ("_searches_kcount", "code_executions_kcount")
_REQUESTS_KEY = "requests_kcount"

_FILE_KEYS = {
    "input_usd_per_mtok": "input_usd",
    "output_usd_per_mtok": "output_usd",
    "cache_read_usd_per_mtok": "cache_read_usd",
    "cache_write_usd_per_mtok": "cache_write_usd",
    "cache_write_1h_usd_per_mtok": "cache_write_1h_usd",
}


class _Flat(NamedTuple):
    """Prices of one token in US dollars. None: those tokens are charged like the kind around them.

    Cache reads and writes are input tokens, one-hour writes are cache writes.
    """

    input_usd: Decimal | None = None
    output_usd: Decimal | None = None
    cache_read_usd: Decimal | None = None
    cache_write_usd: Decimal | None = None
    cache_write_1h_usd: Decimal | None = None


class _Steps(NamedTuple):
    """A model's prices: `flat[n]` where the input exceeds n of the `thresholds`, in tokens.

    Crossing a threshold changes the price of every token. A None: the library has to calculate.
    """

    thresholds: tuple[int, ...]
    flat: tuple[_Flat | None, ...]

    def at(self, input_tokens: int) -> _Flat | None:
        return self.flat[bisect.bisect_left(self.thresholds, input_tokens)]


class _Listed(NamedTuple):
    """A model of the library, with the provider that lists it; `own` where that one sells it."""

    provider: Provider
    model: ModelInfo
    own: bool


class _Library(NamedTuple):
    """One state of the library's prices, and what was found in it so far."""

    snapshot: DataSnapshot
    listed: dict[tuple[str, str], _Listed | None]
    steps: dict[int, tuple[ModelPrice, _Steps]]


class PriceBook:
    """Prices inferences. Every method may be called from any thread."""

    def __init__(self, overrides: Path | None = None) -> None:
        """Read the price file, if one is given; SettingsError names what is wrong with it."""
        self._overrides = {} if overrides is None else _read_file(overrides)
        self._library: _Library | None = None
        self._snapshot: Callable[[], DataSnapshot] | None = None
        self._missing = False

    def warm(self) -> None:
        """Import the pricing library (about 0.3 s, 30 MB), so that no first `cost` has to."""
        self._current()

    def cost(
        self,
        provider: str,
        model: str,
        usage: Usage,
        *,
        at_ns: int,
        service_tier: str | None = None,
    ) -> Cost | None:
        """Return what `usage` cost at the time `at_ns` (ns since the epoch), or None: not known.

        `usage` holds whole numbers. `service_tier` is the tier or speed that the answer names (`priority`, `flex`, `batch`,
        `fast`). Where only one of input and output was counted, the cost is what that part cost and
        the other part's is None: all of it for embeddings, the known part of a cut stream. Never
        raises.
        """
        if usage.input_tokens is None and usage.output_tokens is None:
            return None
        provider, model = provider.strip().lower(), model.strip().lower()
        if not model or len(model) > _MAX_NAME_CHARS or len(provider) > _MAX_NAME_CHARS:
            return None
        # As `decimal.localcontext` does, without its copy of the context, which takes most of the time.
        before = decimal.getcontext()
        decimal.setcontext(_EXACT)
        try:
            override = self._override(provider, model)
            if override is not None:
                return _multiplied(override, usage, "prices")
            return self._library_cost(provider, model, usage, at_ns, service_tier)
        finally:
            decimal.setcontext(before)

    def _override(self, provider: str, model: str) -> _Flat | None:
        if not self._overrides:
            return None
        named = self._overrides.get(_normal(f"{provider}/{model}")) if provider else None
        return named or self._overrides.get(_normal(model))

    def _library_cost(
        self, provider: str, model: str, usage: Usage, at_ns: int, service_tier: str | None
    ) -> Cost | None:
        library = self._current()
        listed = None if library is None else _look_up(library, provider, model)
        if library is None or listed is None:
            return None
        at = _EPOCH + timedelta(microseconds=at_ns // 1000)
        context = _context(service_tier) if listed.own and listed.model.price_variants else None
        price = listed.model.get_prices(at, context)
        if context is None:
            known = library.steps.get(id(price))
            if known is None:
                # The price is kept beside what was made of it: its id stays its own.
                known = library.steps[id(price)] = (price, _steps(price))
            steps = known[1]
        else:
            steps = _steps(price)
        flat = steps.at(usage.input_tokens or 0)
        if flat is not None:
            return _multiplied(flat, usage, "genai-prices")
        if not _is_sold_by_tokens(price):
            # OpenRouter's `…:free` models are listed without a price, and free.
            free = listed.own and model.endswith(":free") and not _priced_keys(price)
            return _multiplied(_Flat(), usage, "genai-prices") if free else None
        return _calculated(listed, usage, at, context)

    def _current(self) -> _Library | None:
        """Return the library's prices, importing it at first; new ones where it updated them."""
        if self._missing:
            return None
        if self._snapshot is None:
            try:
                from genai_prices.data_snapshot import get_snapshot
            except ImportError as error:
                self._missing = True
                logger.warning(
                    "no costs but those of GATEWAYZ_PRICES: genai-prices cannot be imported: %s",
                    error,
                )
                return None
            self._snapshot = get_snapshot
        snapshot, library = self._snapshot(), self._library
        if library is None or library.snapshot is not snapshot:
            library = self._library = _Library(snapshot, {}, {})
        return library


def _look_up(library: _Library, provider: str, model: str) -> _Listed | None:
    """Return the library's model; the answers are kept, as looking through it takes 0.1 ms."""
    key = (provider, model)
    try:
        return library.listed[key]
    except KeyError:
        pass
    if len(library.listed) >= _CACHED_MODELS:
        # Clients choose model names: what they can fill is emptied now and then.
        library.listed.clear()
    found = library.listed[key] = _find(library.snapshot, provider, model)
    return found


def _find(snapshot: DataSnapshot, provider: str, model: str) -> _Listed | None:
    vendor, slash, name = model.partition("/")
    if provider == "litellm" and slash:
        return _find(snapshot, vendor, name)
    seller = _provider(snapshot, provider) if provider else _provider_of(snapshot, model)
    if seller is None:
        return None
    found = seller.find_model(model, all_providers=snapshot.providers)
    if found is not None:
        return _Listed(seller, found, any(found is own for own in seller.models))
    if seller.id != "openrouter" or ":" in model:
        return None
    # OpenRouter passes the makers' prices on; `:free` and `:nitro` models have their own.
    maker = _provider(snapshot, vendor) if slash else _provider_of(snapshot, model)
    found = maker.find_model(name if slash else model) if maker is not None else None
    return None if found is None or maker is None else _Listed(maker, found, own=False)


def _provider(snapshot: DataSnapshot, name: str) -> Provider | None:
    # Not `snapshot.find_provider`: it keeps every name it ever missed, and clients choose some.
    from genai_prices.data_snapshot import find_provider_by_id

    dashed = name.replace("_", "-")
    known = _PROVIDERS.get(dashed, name)
    return find_provider_by_id(snapshot.providers, known) or find_provider_by_id(
        snapshot.providers, dashed
    )


def _provider_of(snapshot: DataSnapshot, model: str) -> Provider | None:
    """Return the provider whose models are named like this one."""
    for provider in snapshot.providers:
        if provider.model_match is not None and provider.model_match.is_match(model):
            return provider
    return None


# -- calculating -----------------------------------------------------------------------------------


def _context(service_tier: str | None) -> dict[str, str] | None:
    """Return what selects a price variant: OpenAI names tiers, Anthropic speeds and batches."""
    if not service_tier:
        return None
    tier = service_tier.lower()
    context = {"service_tier": tier, "speed": tier}
    return {**context, "processing": tier} if tier == "batch" else context


def _priced_keys(price: ModelPrice) -> list[str]:
    return [key for key, value in vars(price).items() if value is not None]


def _is_sold_by_tokens(price: ModelPrice) -> bool:
    """Return whether token counts tell the cost: tokens are priced, and nothing unknown is."""
    keys = _priced_keys(price)
    by_tokens = any(key.endswith("_mtok") for key in keys)
    return by_tokens and all(
        key.endswith(("_mtok", *_FEE_SUFFIXES)) or key == _REQUESTS_KEY for key in keys
    )


def _steps(price: ModelPrice) -> _Steps:
    tiered = [v for v in vars(price).values() if v is not None and not isinstance(v, Decimal)]
    thresholds = sorted({tier.start for value in tiered for tier in value.tiers})
    # One token more than a threshold is the first that pays the new price.
    sizes = (0, *(start + 1 for start in thresholds))
    return _Steps(tuple(thresholds), tuple(_flat(price, size) for size in sizes))


def _flat(price: ModelPrice, input_tokens: int) -> _Flat | None:
    """Return the prices for that much input, if all are of the five kinds counted here."""
    prices: dict[str, Decimal] = {}
    for key in _priced_keys(price):
        value: Any = getattr(price, key)
        if not isinstance(value, Decimal):
            reached = [tier.price for tier in value.tiers if input_tokens > tier.start]
            value = reached[-1] if reached else value.base
        if key in _FLAT_KEYS and value.is_finite() and value >= 0:
            prices[key] = value.scaleb(-_MILLION)
        elif not key.endswith(_FEE_SUFFIXES):
            return None
    flat = _Flat(
        prices.get("input_mtok"),
        prices.get("output_mtok"),
        prices.get("cache_read_mtok"),
        prices.get("cache_write_mtok"),
        prices.get("cache_write_1h_mtok"),
    )
    if flat == _Flat():
        return None
    # The library refuses a price for a part of what has no price; let it.
    whole_first = flat.cache_write_usd is not None or flat.cache_write_1h_usd is None
    whole_first = whole_first and (flat.input_usd is not None or flat[2:] == (None, None, None))
    return flat if whole_first else None


def _multiplied(price: _Flat, usage: Usage, source: str) -> Cost | None:
    """Return the cost at flat prices; None where the counts contradict each other."""
    parts = (
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.cache_write_1h_tokens,
        usage.audio_input_tokens,
        usage.audio_output_tokens,
        usage.reasoning_tokens,
    )
    given_in, given_out = usage.input_tokens, usage.output_tokens
    if min(parts) < 0 or (given_in or 0) < 0 or (given_out or 0) < 0:
        return None
    if given_in is None and price.input_usd is not None and any(parts[:4]):
        return None
    if given_out is None and price.output_usd is not None and any(parts[4:]):
        return None
    input_usd = output_usd = None
    if given_in is not None:
        input_usd = _input_usd(price, given_in, *parts[:3])
        if input_usd is None:
            return None
    if given_out is not None:
        output_usd = given_out * (price.output_usd or Decimal(0))
    return Cost(
        amount_usd=(input_usd or Decimal(0)) + (output_usd or Decimal(0)),
        source=source,
        input_usd=input_usd,
        output_usd=output_usd,
    )


def _input_usd(price: _Flat, tokens: int, read: int, write: int, write_1h: int) -> Decimal | None:
    """Return what input tokens cost, each at the price of its kind; None if a part is too large."""
    total = Decimal(0)
    if price.cache_write_1h_usd is not None:
        write -= write_1h
        tokens -= write_1h
        total += write_1h * price.cache_write_1h_usd
    if price.cache_write_usd is not None:
        tokens -= write
        total += write * price.cache_write_usd
    if price.cache_read_usd is not None:
        tokens -= read
        total += read * price.cache_read_usd
    if price.input_usd is not None:
        total += tokens * price.input_usd
    return None if tokens < 0 or write < 0 else total


def _calculated(
    listed: _Listed, usage: Usage, at: datetime, context: Mapping[str, str] | None
) -> Cost | None:
    """Return the cost as the library calculates it; a fee per request counts as input."""
    from genai_prices import Usage as LibraryUsage

    try:
        calculated = listed.model.calc_price(
            LibraryUsage(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cache_read_tokens=usage.cache_read_tokens,
                cache_write_tokens=usage.cache_write_tokens,
                cache_write_1h_tokens=usage.cache_write_1h_tokens,
                input_audio_tokens=usage.audio_input_tokens,
                output_audio_tokens=usage.audio_output_tokens,
                output_reasoning_tokens=usage.reasoning_tokens,
            ),
            listed.provider,
            genai_request_timestamp=at,
            price_context=context,
        )
    except (LookupError, ValueError):
        return None
    total, output_usd = calculated.total_price, calculated.output_price
    input_usd = total - output_usd
    return Cost(
        amount_usd=total,
        source="genai-prices",
        input_usd=None if usage.input_tokens is None and not input_usd else input_usd,
        output_usd=None if usage.output_tokens is None else output_usd,
    )


# -- the price file --------------------------------------------------------------------------------


def _normal(name: str) -> str:
    """Return a name of the price file as it is compared: `X_AI/Grok-4` is `x-ai/grok-4`."""
    provider, slash, model = name.strip().lower().partition("/")
    return f"{provider.replace('_', '-')}/{model}" if slash else provider


def _read_file(path: Path) -> dict[str, _Flat]:
    where = f"GATEWAYZ_PRICES: {path}"
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except OSError as error:
        msg = f"{where}: cannot be read: {error.strerror}; name a readable TOML file"
        raise SettingsError(msg) from None
    except (ValueError, decimal.InvalidOperation) as error:
        msg = f"{where}: is not valid TOML: {error}"
        raise SettingsError(msg) from None
    for key in tables:
        if key != "models":
            msg = f'{where}: unknown key {key!r}; prices stand under [models."provider/model"]'
            raise SettingsError(msg)
    models = tables.get("models", {})
    if not isinstance(models, dict):
        msg = f'{where}: models must hold tables, one a model: [models."provider/model"]'
        raise SettingsError(msg)
    read: dict[str, _Flat] = {}
    for name, table in models.items():
        place = f'{where}: [models."{name}"]'
        if not isinstance(table, dict):
            msg = f"{place}: must be a table of prices, like input_usd_per_mtok = 2.5"
            raise SettingsError(msg)
        if _normal(name) in read:
            msg = f"{place}: is there twice; case, and - or _ in a provider, make no difference"
            raise SettingsError(msg)
        read[_normal(name)] = _prices(table, place)
    return read


def _prices(table: dict[str, Any], place: str) -> _Flat:
    prices: dict[str, Decimal] = {}
    for key, value in table.items():
        field = _FILE_KEYS.get(key)
        if field is None:
            close = difflib.get_close_matches(key, _FILE_KEYS, n=1)
            known = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(_FILE_KEYS)}"
            msg = f"{place}: unknown key {key!r}; {known}"
            raise SettingsError(msg)
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            msg = f"{place}: {key} must be a number, in US dollars per million tokens"
            raise SettingsError(msg)
        price = Decimal(value)
        if price.is_nan() or not 0 <= price <= _MAX_PRICE:
            msg = f"{place}: {key} must be from 0 to {_MAX_PRICE} US dollars per million tokens"
            raise SettingsError(msg)
        prices[field] = price.scaleb(-_MILLION, _EXACT)
    for key in ("input_usd_per_mtok", "output_usd_per_mtok"):
        if _FILE_KEYS[key] not in prices:
            msg = f"{place}: {key} is missing; give 0 where those tokens are free"
            raise SettingsError(msg)
    return _Flat(**prices)
