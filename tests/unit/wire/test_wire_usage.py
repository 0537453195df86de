"""Every provider's token counts and price become one record, and nothing is made up."""

from decimal import Decimal
from types import SimpleNamespace

import pytest
from anthropic.types import Usage as AnthropicUsage
from openai.types import CompletionUsage, CreateEmbeddingResponse
from openai.types.responses import ResponseUsage

from gatewayz.events import Usage
from gatewayz.wire import cost_from, usage_from


def u(given, output, total, **more):
    return Usage(input_tokens=given, output_tokens=output, total_tokens=total, **more)


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, u(10, 5, 15)),
        # total is always input + output, also where the provider left it out
        ({"prompt_tokens": 10, "completion_tokens": 5}, u(10, 5, 15)),
        # the details of OpenAI
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "total_tokens": 150,
                "prompt_tokens_details": {
                    "cached_tokens": 60,
                    "audio_tokens": 7,
                    "cache_write_tokens": 20,
                },
                "completion_tokens_details": {
                    "reasoning_tokens": 30,
                    "audio_tokens": 3,
                    "accepted_prediction_tokens": 9,
                    "rejected_prediction_tokens": 2,
                },
            },
            u(
                100,
                50,
                150,
                cache_read_tokens=60,
                cache_write_tokens=20,
                reasoning_tokens=30,
                audio_input_tokens=7,
                audio_output_tokens=3,
            ),
        ),
        # nulls are 0
        (
            {
                "prompt_tokens": 1,
                "completion_tokens": 2,
                "total_tokens": 3,
                "prompt_tokens_details": None,
                "completion_tokens_details": {"reasoning_tokens": None},
            },
            u(1, 2, 3),
        ),
        # DeepSeek, Moonshot
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 1,
                "prompt_cache_hit_tokens": 8,
                "prompt_cache_miss_tokens": 1,
            },
            u(9, 1, 10, cache_read_tokens=8),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 1, "cached_tokens": 4},
            u(9, 1, 10, cache_read_tokens=4),
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 1,
                "prompt_cache_hit_tokens": 8,
                "prompt_tokens_details": {"cached_tokens": 6},
            },
            u(9, 1, 10, cache_read_tokens=6),
        ),
        # xAI, Gemini: reasoning beside the completion
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 35,
                "completion_tokens_details": {"reasoning_tokens": 20},
            },
            u(10, 25, 35, reasoning_tokens=20),
        ),
        # a total that is something else is not believed
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 99,
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
            u(10, 5, 15, reasoning_tokens=4),
        ),
        # embeddings
        ({"prompt_tokens": 8, "total_tokens": 8}, u(8, 0, 8)),
        # Responses
        (
            {
                "input_tokens": 100,
                "input_tokens_details": {"cached_tokens": 40},
                "output_tokens": 20,
                "output_tokens_details": {"reasoning_tokens": 5},
                "total_tokens": 120,
            },
            u(100, 20, 120, cache_read_tokens=40, reasoning_tokens=5),
        ),
        # Anthropic: input excludes both cache counts
        ({"input_tokens": 10, "output_tokens": 5}, u(10, 5, 15)),
        (
            {
                "input_tokens": 10,
                "cache_creation_input_tokens": 300,
                "cache_read_input_tokens": 2000,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": 100,
                    "ephemeral_1h_input_tokens": 200,
                },
                "output_tokens": 50,
                "output_tokens_details": {"thinking_tokens": 33},
                "server_tool_use": {"web_search_requests": 1},
            },
            u(
                2310,
                50,
                2360,
                cache_read_tokens=2000,
                cache_write_tokens=300,
                cache_write_1h_tokens=200,
                reasoning_tokens=33,
            ),
        ),
        (
            {
                "input_tokens": 10,
                "cache_creation_input_tokens": None,
                "cache_read_input_tokens": None,
                "output_tokens": 5,
            },
            u(10, 5, 15),
        ),
        (
            {
                "input_tokens": 1,
                "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 2},
                "output_tokens": 1,
            },
            u(7, 1, 8, cache_write_tokens=6, cache_write_1h_tokens=2),
        ),
        # known in part
        ({"input_tokens": 10}, u(10, None, None)),
        ({"output_tokens": 10}, u(None, 10, None)),
        ({"completion_tokens": 10}, u(None, 10, None)),
        ({"completion_tokens": 10, "total_tokens": 25}, u(15, 10, 25)),
        ({"total_tokens": 25}, u(None, None, 25)),
        # zeros are what the provider said
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, u(0, 0, 0)),
        ({"prompt_tokens": 10.0, "completion_tokens": 5.0}, u(10, 5, 15)),
        # nothing said
        (None, None),
        ({}, None),
        ({"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}, None),
        ({"prompt_tokens": "10", "completion_tokens": True, "total_tokens": -1}, None),
        ({"prompt_tokens": 1e300, "output_tokens": 2**80, "input_tokens": 0.5}, None),
        ({"input_tokens": None, "output_tokens": None, "cache_read_input_tokens": 0}, None),
        ("10", None),
        ([1], None),
    ],
)
def test_usage_is_one_record_whatever_the_wire_said(wire, expected):
    assert usage_from(wire) == expected


def test_the_official_sdks_usage_objects_are_taken():
    chat = CompletionUsage.model_validate(
        {
            "prompt_tokens": 9,
            "completion_tokens": 4,
            "total_tokens": 13,
            "prompt_tokens_details": {"cached_tokens": 2},
        }
    )
    responses = ResponseUsage.model_validate(
        {
            "input_tokens": 9,
            "output_tokens": 4,
            "total_tokens": 13,
            "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 1},
        }
    )
    message = AnthropicUsage.model_validate(
        {
            "input_tokens": 2,
            "output_tokens": 4,
            "cache_read_input_tokens": 7,
            "cache_creation_input_tokens": 1,
            "cache_creation": {"ephemeral_1h_input_tokens": 1, "ephemeral_5m_input_tokens": 0},
        }
    )
    embeddings = CreateEmbeddingResponse.model_validate(
        {
            "object": "list",
            "data": [],
            "model": "m",
            "usage": {"prompt_tokens": 3, "total_tokens": 3},
        }
    )
    assert usage_from(chat) == u(9, 4, 13, cache_read_tokens=2)
    assert usage_from(responses) == u(9, 4, 13, cache_read_tokens=2, reasoning_tokens=1)
    assert usage_from(message) == u(
        10, 4, 14, cache_read_tokens=7, cache_write_tokens=1, cache_write_1h_tokens=1
    )
    assert usage_from(embeddings.usage) == u(3, 0, 3)
    assert usage_from(SimpleNamespace(prompt_tokens=3, completion_tokens=4)) == u(3, 4, 7)
    own = u(1, 2, 3)
    assert usage_from(own) is own


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"cost": 0.00014}, "0.00014"),
        ({"cost": 0}, "0"),
        ({"cost": 1.5e-05}, "0.000015"),
        ({"cost": "0.25"}, "0.25"),
        # OpenRouter repeats the cost as upstream's, unless the key was the caller's own
        (
            {"cost": 0.01, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.01}},
            "0.01",
        ),
        (
            {"cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.02}},
            "0.021",
        ),
        (
            {"cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": None}},
            "0.001",
        ),
        ({"cost": 0.001, "is_byok": True}, "0.001"),
        # Perplexity
        ({"cost": {"input_tokens_cost": 0.1, "total_cost": 0.3}}, "0.3"),
        ({"cost": None}, None),
        ({"cost": True}, None),
        ({"cost": -1}, None),
        ({"cost": float("nan")}, None),
        ({"cost": float("inf")}, None),
        ({"cost": "free"}, None),
        ({"cost": "0." + "1" * 5000}, None),
        ({"cost": []}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_price_the_provider_reports_is_exact_and_otherwise_unknown(usage, expected):
    assert cost_from(usage) == (None if expected is None else Decimal(expected))
