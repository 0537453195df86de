"""Costs are exact, agree with the library for every model, and are absent where not known."""

from __future__ import annotations

import decimal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import Usage as LibraryUsage
from genai_prices import calc_price
from genai_prices.data_snapshot import DataSnapshot, get_snapshot, set_custom_snapshot
from genai_prices.types import ModelPrice
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayz.errors import SettingsError
from gatewayz.events import Cost, Usage
from gatewayz.pricing import PriceBook

AT = datetime(2026, 11, 20, 13, 30, tzinfo=UTC)
AT_NS = int(AT.timestamp()) * 10**9
BOOK = PriceBook()

USAGES = {
    "plain": Usage(input_tokens=1234, output_tokens=567),
    "nothing": Usage(input_tokens=0, output_tokens=0),
    "large": Usage(input_tokens=300_001, output_tokens=40_000),
    "at a threshold": Usage(input_tokens=200_000, output_tokens=1, cache_read_tokens=150_000),
    "past a threshold": Usage(input_tokens=200_001, output_tokens=1, cache_read_tokens=150_000),
    "cached": Usage(input_tokens=5000, output_tokens=7, cache_read_tokens=4096),
    "cache write": Usage(input_tokens=5000, output_tokens=7, cache_write_tokens=3000),
    "1h": Usage(
        input_tokens=250_000,
        output_tokens=99,
        cache_read_tokens=1000,
        cache_write_tokens=200_000,
        cache_write_1h_tokens=150_000,
    ),
    "all written for 1h": Usage(
        input_tokens=10, output_tokens=1, cache_write_tokens=10, cache_write_1h_tokens=10
    ),
    "reasoning": Usage(input_tokens=100, output_tokens=3000, reasoning_tokens=2500),
    "audio": Usage(
        input_tokens=900, output_tokens=800, audio_input_tokens=700, audio_output_tokens=600
    ),
    "cached audio": Usage(
        input_tokens=900, output_tokens=8, audio_input_tokens=700, cache_read_tokens=100
    ),
    "input only": Usage(input_tokens=1234),
    "output only": Usage(output_tokens=567),
    "more cached than sent": Usage(input_tokens=10, output_tokens=1, cache_read_tokens=11),
    "more written than sent": Usage(input_tokens=10, output_tokens=1, cache_write_tokens=11),
    "1h without a write": Usage(input_tokens=10, output_tokens=1, cache_write_1h_tokens=5),
    "cached without an input": Usage(output_tokens=1, cache_read_tokens=5),
    "negative": Usage(input_tokens=-1, output_tokens=1),
}
PLAUSIBLE = list(USAGES)[:9]


def by_the_library(provider, model, usage, context=None):
    """The library's own price, or None where it has none or refuses the counts."""
    try:
        return calc_price(
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
            model,
            provider_id=provider,
            genai_request_timestamp=AT,
            price_context=context,
        )
    except (LookupError, ValueError):
        return None


def is_known(calculated):
    """Whether token counts tell the price: not for models sold by the hour, character or page."""
    keys = {k for k, v in vars(calculated.model_price).items() if v is not None}
    if not keys:
        return calculated.model.id.endswith(":free")
    other = {
        k for k in keys if not k.endswith(("_mtok", "_searches_kcount")) and k != "requests_kcount"
    }
    return any(k.endswith("_mtok") for k in keys) and not other


def every_model():
    for provider in get_snapshot().providers:
        for model in provider.models:
            try:
                found = get_snapshot().find_provider_model(model.id, None, provider.id, None)
            except LookupError:
                # Some ids do not match themselves; clients send what does.
                continue
            yield provider.id, model.id, found


@pytest.mark.parametrize("kind", USAGES)
def test_every_model_costs_what_the_library_says(kind):
    usage = USAGES[kind]
    compared = priced = 0
    for provider, model, _ in every_model():
        calculated = by_the_library(provider, model, usage)
        cost = BOOK.cost(provider, model, usage, at_ns=AT_NS)
        compared += 1
        if calculated is None or not is_known(calculated):
            assert cost is None, (provider, model)
            continue
        priced += 1
        assert cost is not None, (provider, model)
        assert cost.amount_usd == calculated.total_price, (provider, model)
        assert cost.source == "genai-prices"
        assert (cost.input_usd or 0) + (cost.output_usd or 0) == cost.amount_usd
        assert (cost.output_usd or 0) == calculated.output_price
    assert compared > 2000
    # Wrong counts have no cost, except where everything is free.
    assert kind not in PLAUSIBLE or priced > 1000


@pytest.mark.parametrize(
    ("tier", "contexts"),
    [
        ("priority", [{"service_tier": "priority"}]),
        ("flex", [{"service_tier": "flex"}]),
        ("default", [{"service_tier": "default"}]),
        ("standard", [{"service_tier": "standard"}]),
        ("fast", [{"service_tier": "fast", "speed": "fast"}]),
        ("batch", [{"processing": "batch"}]),
    ],
)
def test_every_tier_costs_what_the_library_says(tier, contexts):
    differs = 0
    usage = USAGES["cached"]
    for provider, model, (_, info) in every_model():
        if not info.price_variants:
            continue
        calculated = by_the_library(provider, model, usage, contexts[0])
        cost = BOOK.cost(provider, model, usage, at_ns=AT_NS, service_tier=tier)
        if calculated is None or not is_known(calculated):
            assert cost is None
            continue
        assert cost is not None
        assert cost.amount_usd == calculated.total_price, (provider, model)
        standard = BOOK.cost(provider, model, usage, at_ns=AT_NS)
        differs += standard is not None and standard.amount_usd != cost.amount_usd
    # What the answer calls `default` or `standard` is the price without a tier.
    assert differs == 0 if tier in {"default", "standard"} else differs > 5


def test_prices_are_those_of_the_time_of_the_inference():
    usage = USAGES["plain"]
    changed = 0
    for provider, model, (_, info) in every_model():
        if isinstance(info.prices, ModelPrice):
            continue
        for at in (datetime(2024, 1, 1, 1, 0, tzinfo=UTC), datetime(2026, 6, 1, 18, 0, tzinfo=UTC)):
            expected = info.get_prices(at).calc_price(
                LibraryUsage(input_tokens=1234, output_tokens=567)
            )
            cost = BOOK.cost(provider, model, usage, at_ns=int(at.timestamp()) * 10**9)
            if cost is not None:
                assert cost.amount_usd == expected["total_price"]
                now = BOOK.cost(provider, model, usage, at_ns=AT_NS)
                changed += now is not None and now.amount_usd != cost.amount_usd
    assert changed > 5


COUNTS = st.none() | st.integers(-1, 10**9)
PARTS = st.integers(0, 10**6)


@settings(deadline=None)
@given(
    st.sampled_from(
        [
            ("openai", "gpt-4o"),
            ("openai", "gpt-4o-audio-preview"),
            ("openai", "text-embedding-3-small"),
            ("anthropic", "claude-sonnet-4-5"),
            ("anthropic", "claude-opus-4-5"),
            ("google", "gemini-2.5-pro"),
            ("perplexity", "sonar"),
            ("openrouter", "anthropic/claude-sonnet-4.5"),
        ]
    ),
    st.builds(
        Usage,
        input_tokens=COUNTS,
        output_tokens=COUNTS,
        cache_read_tokens=PARTS,
        cache_write_tokens=PARTS,
        cache_write_1h_tokens=PARTS,
        reasoning_tokens=PARTS,
        audio_input_tokens=PARTS,
        audio_output_tokens=PARTS,
    ),
)
def test_any_usage_costs_what_the_library_says(model, usage):
    cost = BOOK.cost(*model, usage, at_ns=AT_NS)
    calculated = by_the_library(*model, usage)
    if calculated is None or usage.input_tokens is usage.output_tokens is None:
        assert cost is None
    else:
        assert cost is not None
        assert cost.amount_usd == calculated.total_price


def test_a_known_model_costs_what_its_price_list_says():
    # https://openai.com/api/pricing: gpt-4o $2.50 in, $1.25 cached, $10 out
    usage = Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=400)
    assert BOOK.cost("openai", "gpt-4o", usage, at_ns=AT_NS) == Cost(
        amount_usd=Decimal("0.003"),
        source="genai-prices",
        input_usd=Decimal("0.002"),
        output_usd=Decimal("0.001"),
    )


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-unheard-of"),
        ("nobody", "gpt-4o"),
        ("echo", "echo"),
        ("openai", ""),
        ("", ""),
        ("", "no such model"),
        ("openai", "ft:gpt-4o:acme"),
        ("openrouter", "anthropic/no-such-model"),
        ("openrouter", "openai/gpt-4o:nitro"),
        ("openrouter", "no-such-maker/model"),
        ("litellm", "nobody/gpt-4o"),
        ("openai", "gpt-4o" + "x" * 10_000),
        ("groq", "whisper-large-v3"),
        ("github-copilot", "gpt-4o"),
    ],
)
def test_what_is_not_known_has_no_cost(provider, model):
    assert BOOK.cost(provider, model, USAGES["plain"], at_ns=AT_NS) is None


def test_without_counts_there_is_no_cost():
    assert BOOK.cost("openai", "gpt-4o", Usage(), at_ns=AT_NS) is None
    assert BOOK.cost("openai", "gpt-4o", Usage(total_tokens=10), at_ns=AT_NS) is None


def test_the_known_part_of_a_cut_stream_is_priced():
    cost = BOOK.cost("anthropic", "claude-sonnet-4-5", Usage(input_tokens=1000), at_ns=AT_NS)
    assert cost is not None
    assert cost.amount_usd == cost.input_usd == Decimal("0.003")
    assert cost.output_usd is None


def test_a_free_model_costs_nothing_and_that_is_known():
    model = "meta-llama/llama-3.3-70b-instruct:free"
    cost = BOOK.cost("openrouter", model, USAGES["plain"], at_ns=AT_NS)
    assert cost is not None
    assert cost.amount_usd == 0


@pytest.mark.parametrize(
    ("provider", "same_as"),
    [
        ("x_ai", "x-ai"),
        ("xai", "x-ai"),
        ("X-AI", "x-ai"),
        (" x.ai ", "x-ai"),
        ("azure.ai.openai", "azure"),
        ("azure_openai", "azure"),
        ("gcp.gen_ai", "google"),
        ("gcp.vertex_ai", "google"),
        ("gemini", "google"),
        ("aws.bedrock", "aws"),
        ("mistral_ai", "mistral"),
        ("together_ai", "together"),
        ("fireworks_ai", "fireworks"),
        ("z_ai", "zai"),
        ("huggingface_novita", "huggingface_novita"),
        ("openai", "openai"),
    ],
)
def test_a_provider_is_known_by_its_other_names(provider, same_as):
    listed = next(p for p in get_snapshot().providers if p.id == same_as)
    priced = 0
    for model in listed.models[:20]:
        name = f"accounts/fireworks/models/{model.id}" if same_as == "fireworks" else model.id
        cost = BOOK.cost(provider, name, USAGES["plain"], at_ns=AT_NS)
        assert cost == BOOK.cost(same_as, name, USAGES["plain"], at_ns=AT_NS)
        priced += cost is not None
    assert priced


def test_azure_prices_are_azures_own():
    costs = [
        (azure, BOOK.cost("azure.ai.openai", azure, USAGES["cached"], at_ns=AT_NS))
        for azure in (m.id for p in get_snapshot().providers if p.id == "azure" for m in p.models)
    ]
    for model, cost in costs:
        calculated = by_the_library("azure", model, USAGES["cached"])
        if cost is not None and calculated is not None:
            assert cost.amount_usd == calculated.total_price


def test_openrouter_names_are_found_by_maker_too():
    usage = USAGES["plain"]
    own = BOOK.cost("openrouter", "anthropic/claude-sonnet-4.5", usage, at_ns=AT_NS)
    makers = BOOK.cost("openrouter", "anthropic/claude-sonnet-4-5", usage, at_ns=AT_NS)
    assert own == makers == BOOK.cost("anthropic", "claude-sonnet-4-5", usage, at_ns=AT_NS)
    bare = BOOK.cost("openrouter", "gpt-4", usage, at_ns=AT_NS)
    assert bare is not None
    assert bare == BOOK.cost("openai", "gpt-4", usage, at_ns=AT_NS)
    assert BOOK.cost("litellm", "openai/gpt-4", usage, at_ns=AT_NS) == bare
    assert BOOK.cost("", "gpt-4", usage, at_ns=AT_NS) == bare


def test_case_makes_no_difference():
    assert BOOK.cost("OpenAI", "GPT-4o", USAGES["plain"], at_ns=AT_NS) == BOOK.cost(
        "openai", "gpt-4o", USAGES["plain"], at_ns=AT_NS
    )


def test_a_threads_own_decimal_context_changes_nothing():
    expected = BOOK.cost("openai", "gpt-4o", USAGES["large"], at_ns=AT_NS)
    with decimal.localcontext(prec=2):
        assert BOOK.cost("openai", "gpt-4o", USAGES["large"], at_ns=AT_NS) == expected
        tiered = BOOK.cost("google", "gemini-2.5-pro", USAGES["large"], at_ns=AT_NS)
    assert tiered == BOOK.cost("google", "gemini-2.5-pro", USAGES["large"], at_ns=AT_NS)


def test_made_up_model_names_do_not_fill_the_memory():
    book = PriceBook()
    for number in range(5000):
        book.cost("openrouter", f"maker-{number}/model", USAGES["plain"], at_ns=AT_NS)
        book.cost("", f"model-{number}", USAGES["plain"], at_ns=AT_NS)
    assert len(book._library.listed) <= 2048
    snapshot = get_snapshot()
    assert len(snapshot._provider_misses) + len(snapshot._lookup_cache) < 6000
    assert not any("maker-" in str(miss) for miss in snapshot._provider_misses)


def test_new_prices_of_the_library_are_used_at_once():
    book = PriceBook()
    before = book.cost("openai", "gpt-4o", USAGES["plain"], at_ns=AT_NS)
    assert before is not None
    others = [p for p in get_snapshot().providers if p.id != "openai"]
    set_custom_snapshot(DataSnapshot(providers=others, from_auto_update=True))
    try:
        assert book.cost("openai", "gpt-4o", USAGES["plain"], at_ns=AT_NS) is None
    finally:
        set_custom_snapshot(None)
    assert book.cost("openai", "gpt-4o", USAGES["plain"], at_ns=AT_NS) == before


def test_threads_that_start_together_get_the_same_costs():
    book = PriceBook()
    found = []
    barrier = threading.Barrier(8)

    def ask():
        barrier.wait()
        found.extend(
            book.cost("openai", model, USAGES["cached"], at_ns=AT_NS)
            for model in ("gpt-4o", "gpt-4.1", "gpt-4o-mini")
        )

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 24
    assert len({str(cost) for cost in found}) == 3


def test_the_library_is_imported_by_warm_and_not_before():
    code = (
        "import sys; from gatewayz.pricing import PriceBook; book = PriceBook()\n"
        "assert 'genai_prices' not in sys.modules\n"
        "book.warm(); assert 'genai_prices' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_the_library_the_price_file_still_counts(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", None)
    book = price_file(tmp_path, '[models."m"]\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 2')
    assert book.cost("openai", "gpt-4o", USAGES["plain"], at_ns=AT_NS) is None
    assert book.cost("openai", "gpt-4o", USAGES["plain"], at_ns=AT_NS) is None
    assert book.cost("openai", "m", USAGES["plain"], at_ns=AT_NS) is not None
    assert [r.message for r in caplog.records if "genai-prices cannot" in r.message] == [
        caplog.records[0].message
    ]


# -- the price file --------------------------------------------------------------------------------


def price_file(tmp_path, text):
    path = tmp_path / "prices.toml"
    path.write_text(text, encoding="utf-8")
    return PriceBook(path)


FULL = """
[models."openai/ft:gpt-4o-mini:acme"]
input_usd_per_mtok = 0.30
output_usd_per_mtok = 1.2
cache_read_usd_per_mtok = 0.15
cache_write_usd_per_mtok = 0.4
cache_write_1h_usd_per_mtok = 0.6

[models."house-model"]
input_usd_per_mtok = 2
output_usd_per_mtok = 0

[models."X_AI/Grok-4"]
input_usd_per_mtok = 7
output_usd_per_mtok = 9
"""


def test_the_price_file_wins_and_is_named_as_the_source(tmp_path):
    book = price_file(tmp_path, FULL)
    usage = Usage(
        input_tokens=1_000_000,
        output_tokens=1_000_000,
        cache_read_tokens=100_000,
        cache_write_tokens=300_000,
        cache_write_1h_tokens=200_000,
    )
    assert book.cost("openai", "ft:gpt-4o-mini:acme", usage, at_ns=AT_NS) == Cost(
        amount_usd=Decimal("1.555"),
        source="prices",
        # 600k plain, 100k read, 100k written, 200k written for an hour
        input_usd=Decimal("0.355"),
        output_usd=Decimal("1.2"),
    )
    grok = book.cost("x-ai", "grok-4", USAGES["input only"], at_ns=AT_NS)
    assert grok == Cost(
        amount_usd=Decimal("0.008638"), source="prices", input_usd=Decimal("0.008638")
    )
    other = book.cost("openai", "gpt-4o", USAGES["plain"], at_ns=AT_NS)
    assert other is not None
    assert other.source == "genai-prices"


def test_a_model_alone_is_priced_for_any_provider_and_cached_tokens_at_the_input_price(tmp_path):
    book = price_file(tmp_path, FULL)
    for provider in ("openai", "echo", "nobody", ""):
        cost = book.cost(provider, "house-model", USAGES["1h"], at_ns=AT_NS)
        assert cost is not None
        assert (cost.amount_usd, cost.output_usd) == (Decimal("0.5"), 0)


def test_counts_that_contradict_each_other_have_no_cost_in_the_price_file_either(tmp_path):
    book = price_file(tmp_path, FULL)
    for kind in ("more cached than sent", "1h without a write", "negative"):
        model = "ft:gpt-4o-mini:acme"
        assert book.cost("openai", model, USAGES[kind], at_ns=AT_NS) is None


def test_an_empty_price_file_changes_nothing(tmp_path):
    for text in ("", "[models]", "# nothing"):
        book = price_file(tmp_path, text)
        assert book.cost("openai", "gpt-4o", USAGES["plain"], at_ns=AT_NS) is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[models."m"]\ninput_usd = 1', "[models.\"m\"]: unknown key 'input_usd'; did you mean"),
        ('[models."m"]\nzzz = 1', "unknown key 'zzz'; known: input_usd_per_mtok, output_usd"),
        ('[models."m"]\ninput_usd_per_mtok = -1', "input_usd_per_mtok must be from 0 to"),
        ('[models."m"]\ninput_usd_per_mtok = "1"', "input_usd_per_mtok must be a number"),
        ('[models."m"]\ninput_usd_per_mtok = true', "input_usd_per_mtok must be a number"),
        ('[models."m"]\ninput_usd_per_mtok = [1]', "input_usd_per_mtok must be a number"),
        ('[models."m"]\ninput_usd_per_mtok = nan', "input_usd_per_mtok must be from 0 to"),
        ('[models."m"]\ninput_usd_per_mtok = inf', "input_usd_per_mtok must be from 0 to"),
        ('[models."m"]\ninput_usd_per_mtok = 1e999999', "input_usd_per_mtok must be from 0 to"),
        ('[models."m"]\noutput_usd_per_mtok = 1', "input_usd_per_mtok is missing; give 0 where"),
        ('[models."m"]\ninput_usd_per_mtok = 1', "output_usd_per_mtok is missing; give 0 where"),
        ("[model.m]\nx = 1", "unknown key 'model'; prices stand under [models."),
        ("models = 3", "models must hold tables"),
        ("[models]\nm = 3", '[models."m"]: must be a table of prices'),
        ("[models", "is not valid TOML"),
        (
            '[models."x_ai/m"]\ninput_usd_per_mtok=1\noutput_usd_per_mtok=1\n[models."X-AI/M"]',
            '[models."X-AI/M"]: is there twice',
        ),
    ],
)
def test_a_wrong_price_file_says_what_is_wrong_where(tmp_path, text, words):
    with pytest.raises(SettingsError) as caught:
        price_file(tmp_path, text)
    assert str(caught.value).startswith(f"GATEWAYZ_PRICES: {tmp_path / 'prices.toml'}: ")
    assert words in str(caught.value)


def test_a_price_file_that_cannot_be_read_says_so(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        PriceBook(tmp_path / "missing.toml")
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        PriceBook(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"# \xff")
    with pytest.raises(SettingsError, match="not valid TOML"):
        PriceBook(tmp_path / "latin.toml")
