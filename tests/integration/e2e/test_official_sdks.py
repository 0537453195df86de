"""The official SDKs notice nothing of the gateway, and every request of theirs is traced once."""

import anthropic
import openai
import pytest

pytestmark = pytest.mark.slow

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "weather of a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]
ANTHROPIC_TOOLS = [
    {
        "name": "get_weather",
        "description": "weather of a city",
        "input_schema": TOOLS[0]["function"]["parameters"],
    }
]
QUESTION = [{"role": "user", "content": "What is the weather in Zürich? ☂"}]

# Fresh in every answer, from the same server.
FRESH = {"id", "created", "system_fingerprint", "_request_id"}


def steady(value):
    """Return a dumped answer without ids and times."""
    if isinstance(value, dict):
        return {k: steady(v) for k, v in value.items() if k not in FRESH and k != "tool_call_id"}
    if isinstance(value, list):
        return [steady(v) for v in value]
    return value


def dumped(answers):
    return [steady(a.model_dump()) for a in answers]


def ask_openai(base, headers, tools, stream):
    client = openai.OpenAI(
        base_url=base, api_key="sk-client", default_headers=headers, max_retries=0
    )
    options = {"tools": TOOLS} if tools else {}
    if stream:
        options |= {"stream": True, "stream_options": {"include_usage": True}}
    raw = client.chat.completions.with_raw_response.create(
        model="gpt-4o-mini", messages=QUESTION, user="user-1", **options
    )
    parsed = raw.parse()
    return raw.headers, dumped(parsed) if stream else dumped([parsed])


async def ask_openai_async(base, headers, tools, stream):
    client = openai.AsyncOpenAI(
        base_url=base, api_key="sk-client", default_headers=headers, max_retries=0
    )
    options = {"tools": TOOLS} if tools else {}
    if stream:
        options |= {"stream": True, "stream_options": {"include_usage": True}}
    raw = await client.chat.completions.with_raw_response.create(
        model="gpt-4o-mini", messages=QUESTION, user="user-1", **options
    )
    parsed = raw.parse()
    return raw.headers, dumped([a async for a in parsed]) if stream else dumped([parsed])


def ask_anthropic(base, headers, tools, stream):
    client = anthropic.Anthropic(
        base_url=base, api_key="sk-client", default_headers=headers, max_retries=0
    )
    options = {"tools": ANTHROPIC_TOOLS} if tools else {}
    raw = client.messages.with_raw_response.create(
        model="claude-sonnet-4-5",
        max_tokens=100,
        messages=QUESTION,
        metadata={"user_id": "user-1"},
        stream=stream,
        **options,
    )
    parsed = raw.parse()
    return raw.headers, dumped(parsed) if stream else dumped([parsed])


async def ask_anthropic_async(base, headers, tools, stream):
    client = anthropic.AsyncAnthropic(
        base_url=base, api_key="sk-client", default_headers=headers, max_retries=0
    )
    options = {"tools": ANTHROPIC_TOOLS} if tools else {}
    raw = await client.messages.with_raw_response.create(
        model="claude-sonnet-4-5",
        max_tokens=100,
        messages=QUESTION,
        metadata={"user_id": "user-1"},
        stream=stream,
        **options,
    )
    parsed = raw.parse()
    if hasattr(parsed, "__await__"):
        parsed = await parsed
    return raw.headers, dumped([a async for a in parsed]) if stream else dumped([parsed])


def usage_in(answers):
    """Return input and output tokens as the provider's own answer holds them."""
    found = {}
    for answer in answers:
        for part in (answer.get("usage"), (answer.get("message") or {}).get("usage")):
            for name, count in (part or {}).items():
                if isinstance(count, int):
                    found[name] = count
    into = found.get("prompt_tokens", found.get("input_tokens"))
    out = found.get("completion_tokens", found.get("output_tokens"))
    return into, out


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("tools", [False, True], ids=["plain", "tools"])
@pytest.mark.parametrize(
    ("ask", "path"),
    [
        (ask_openai, "/v1"),
        (ask_openai_async, "/v1"),
        (ask_anthropic, "/anthropic"),
        (ask_anthropic_async, "/anthropic"),
    ],
    ids=["openai", "openai-async", "anthropic", "anthropic-async"],
)
async def test_an_sdk_gets_the_same_with_and_without_the_gateway(
    gateway, llmock, ask, path, tools, stream
):
    gw = gateway(OPENAI_BASE_URL=f"{llmock}/v1", ANTHROPIC_BASE_URL=f"{llmock}/anthropic")
    through = f"{gw.url}/v1" if path == "/v1" else gw.url

    async def call(base):
        answer = ask(base, {"x-session-id": "session-1"}, tools, stream)
        return await answer if hasattr(answer, "__await__") else answer

    # The SDKs' synchronous clients block: the gateway runs on a loop and thread of its own.
    _, direct = await call(f"{llmock}{path}")
    headers, ours = await call(through)
    assert ours == direct

    event = gw.event(headers["x-gatewayz-trace-id"])
    assert headers["traceresponse"].split("-")[1] == event.trace_id
    assert (event.outcome, event.user_id, event.session_id) == ("ok", "user-1", "session-1")
    assert (event.usage.input_tokens, event.usage.output_tokens) == usage_in(direct)
    assert event.request_model in {"gpt-4o-mini", "claude-sonnet-4-5"}
    assert event.provider == ("openai" if path == "/v1" else "anthropic")
    assert event.input == QUESTION
    assert event.cost.source == "genai-prices"
    assert event.start_time_ns < event.end_time_ns
    if stream:
        assert event.start_time_ns < event.first_token_time_ns <= event.end_time_ns
    if tools:
        assert event.finish_reasons in {("tool_calls",), ("tool_use",)}
        assert "get_weather" in str(event.output)
        assert "get_weather" in str(event.tools)
    else:
        assert event.finish_reasons in {("stop",), ("end_turn",)}
    gw.tracer.flush(5)
    assert [e.trace_id for e in gw.kept.spans].count(event.trace_id) == 1


def test_the_sdks_raise_their_own_errors_for_the_gateways_refusals(gateway):
    gw = gateway(GATEWAYZ_API_KEYS="team-a:right-key")
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{gw.url}/v1", api_key="wrong", max_retries=0).models.list()
    with pytest.raises(anthropic.AuthenticationError):
        anthropic.Anthropic(base_url=gw.url, api_key="wrong", max_retries=0).messages.create(
            model="echo", max_tokens=5, messages=QUESTION
        )
    client = openai.OpenAI(base_url=f"{gw.url}/v1", api_key="right-key", max_retries=0)
    client.chat.completions.create(model="echo", messages=QUESTION)
    assert gw.events(1)[0].team == "team-a"


@pytest.mark.parametrize("status", [400, 429, 500])
def test_a_providers_error_reaches_the_client_as_sent_and_the_backends_as_what_it_was(
    gateway, status
):
    gw = gateway()
    client = openai.OpenAI(base_url=f"{gw.url}/v1", api_key="any", max_retries=0)
    with pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(model=f"echo-error-{status}", messages=QUESTION)
    assert raised.value.status_code == status
    event = gw.event(raised.value.response.headers["x-gatewayz-trace-id"])
    assert (event.outcome, event.error.status) == ("error", status)
    assert event.cost is None
