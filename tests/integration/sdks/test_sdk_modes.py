"""Every way to call an official SDK: the answer is the same as without us, and traced once."""

import anthropic
import openai
import pytest
from pydantic import BaseModel

QUESTION = [{"role": "user", "content": "How are you? ☂"}]
CHAT = {"model": "gpt-4o-mini", "messages": QUESTION, "user": "u-1"}
ASK = {"model": "claude-next", "messages": QUESTION, "max_tokens": 50}
STREAM = {"stream": True, "stream_options": {"include_usage": True}}
OLD = int(openai.__version__.partition(".")[0]) < 2


class Reply(BaseModel):
    text: str


def all_of(stream):
    return [part.model_dump() for part in stream]


def openai_stream_manager(c):
    chat = c.chat if hasattr(c.chat.completions, "stream") else c.beta.chat
    with chat.completions.stream(**CHAT, stream_options={"include_usage": True}) as stream:
        return [*map(str, stream)], stream.get_final_completion().model_dump()


def streamed_body(c):
    with c.chat.completions.with_streaming_response.create(**CHAT) as answer:
        return b"".join(answer.iter_bytes()), answer.status_code


def streamed_body_parsed(c):
    with c.chat.completions.with_streaming_response.create(**CHAT, **STREAM) as answer:
        return all_of(answer.parse())


def responses_stream_manager(c):
    with c.responses.stream(model="gpt-4o-mini", input="hi") as stream:
        return [*map(str, stream)], stream.get_final_response().model_dump()


OPENAI = {
    "create": lambda c: c.chat.completions.create(**CHAT).model_dump(),
    "stream": lambda c: all_of(c.chat.completions.create(**CHAT, **STREAM)),
    "stream-manager": openai_stream_manager,
    "raw": lambda c: c.chat.completions.with_raw_response.create(**CHAT).parse().model_dump(),
    "raw-stream": lambda c: all_of(
        c.chat.completions.with_raw_response.create(**CHAT, **STREAM).parse()
    ),
    "streaming-response": streamed_body,
    "streaming-response-parsed": streamed_body_parsed,
    "legacy": lambda c: c.completions.create(model="gpt-4o-mini", prompt="hi").model_dump(),
    "embeddings": lambda c: c.embeddings.create(model="gpt-4o-mini", input=["hi"]).model_dump(),
    "client-post": lambda c: c.post("/chat/completions", body=CHAT, cast_to=object),
    "options": lambda c: (
        c.with_options(timeout=5).copy().chat.completions.create(**CHAT).model_dump()
    ),
}
if not OLD:
    OPENAI |= {
        "responses": lambda c: c.responses.create(model="gpt-4o-mini", input="hi").model_dump(),
        "responses-stream": lambda c: all_of(
            c.responses.create(model="gpt-4o-mini", input="hi", stream=True)
        ),
        "responses-stream-manager": responses_stream_manager,
    }


async def async_all_of(stream):
    return [part.model_dump() async for part in stream]


async def async_manager(c):
    chat = c.chat if hasattr(c.chat.completions, "stream") else c.beta.chat
    async with chat.completions.stream(**CHAT, stream_options={"include_usage": True}) as stream:
        seen = [str(part) async for part in stream]
        return seen, (await stream.get_final_completion()).model_dump()


async def async_streamed_body(c):
    async with c.chat.completions.with_streaming_response.create(**CHAT) as answer:
        return b"".join([part async for part in answer.iter_bytes()])


async def async_raw(c):
    answer = await c.chat.completions.with_raw_response.create(**CHAT)
    return answer.parse().model_dump()


async def async_create(c):
    return (await c.chat.completions.create(**CHAT)).model_dump()


async def async_stream(c):
    return await async_all_of(await c.chat.completions.create(**CHAT, **STREAM))


async def async_embeddings(c):
    return (await c.embeddings.create(model="gpt-4o-mini", input=["hi"])).model_dump()


async def async_responses(c):
    return await async_all_of(
        await c.responses.create(model="gpt-4o-mini", input="hi", stream=True)
    )


ASYNC_OPENAI = {
    "create": async_create,
    "stream": async_stream,
    "stream-manager": async_manager,
    "raw": async_raw,
    "streaming-response": async_streamed_body,
    "embeddings": async_embeddings,
}
if not OLD:
    ASYNC_OPENAI["responses-stream"] = async_responses


def anthropic_manager(c):
    with c.messages.stream(**ASK) as stream:
        return [*map(str, stream)], stream.get_final_message().model_dump()


def anthropic_streamed_body(c):
    with c.messages.with_streaming_response.create(**ASK) as answer:
        return answer.read()


ANTHROPIC = {
    "create": lambda c: c.messages.create(**ASK).model_dump(),
    "stream": lambda c: all_of(c.messages.create(**ASK, stream=True)),
    "stream-manager": anthropic_manager,
    "raw": lambda c: c.messages.with_raw_response.create(**ASK).parse().model_dump(),
    "streaming-response": anthropic_streamed_body,
    "beta": lambda c: c.beta.messages.create(**ASK, betas=["x"]).model_dump(),
}


async def async_message(c):
    return (await c.messages.create(**ASK)).model_dump()


async def async_message_stream(c):
    return await async_all_of(await c.messages.create(**ASK, stream=True))


async def async_message_manager(c):
    async with c.messages.stream(**ASK) as stream:
        seen = [str(part) async for part in stream]
        return seen, (await stream.get_final_message()).model_dump()


ASYNC_ANTHROPIC = {
    "create": async_message,
    "stream": async_message_stream,
    "stream-manager": async_message_manager,
}

MODES = [
    pytest.param(make, path, ask, id=f"{sdk}-{name}")
    for sdk, make, path, modes in (
        ("openai", openai.OpenAI, "/v1", OPENAI),
        ("openai-async", openai.AsyncOpenAI, "/v1", ASYNC_OPENAI),
        ("anthropic", anthropic.Anthropic, "", ANTHROPIC),
        ("anthropic-async", anthropic.AsyncAnthropic, "", ASYNC_ANTHROPIC),
    )
    for name, ask in modes.items()
]


async def asked(make, base_url, ask):
    client = make(base_url=base_url, api_key="sk-canary", max_retries=0)
    answer = ask(client)
    return await answer if hasattr(answer, "__await__") else answer


@pytest.mark.parametrize(("make", "path", "ask"), MODES)
async def test_a_mode_answers_the_same_and_is_traced_once(request, provider, make, path, ask):
    before = await asked(make, provider.url + path, ask)
    kept = request.getfixturevalue("kept")
    assert await asked(make, provider.url + path, ask) == before

    span = kept.only()
    (url, untraced, body), (url_now, traced, body_now) = provider.requests
    assert (url, body) == (url_now, body_now)
    assert {*map(str.lower, traced)} - {"traceparent"} == {*map(str.lower, untraced)}
    assert (span.kind, span.outcome, span.error) == ("generation", "ok", None)
    assert (span.provider, span.api) == ("127.0.0.1", "anthropic" if path == "" else "openai")
    assert span.request_model == body["model"]
    assert span.operation == {
        "/v1/embeddings": "embeddings",
        "/v1/responses": "responses",
        "/v1/completions": "text_completion",
    }.get(url.partition("?")[0], "chat")
    assert span.input == body.get("messages", body.get("input", body.get("prompt")))
    assert "sk-canary" not in repr(span)
    assert span.usage.input_tokens == 12
    assert span.start_time_ns < span.end_time_ns
    if span.operation != "embeddings":
        assert span.usage.output_tokens == 4
        assert "Grüezi ☂" in str(span.output)
    assert span.stream is bool(body.get("stream"))
    if span.stream:
        assert span.start_time_ns < span.first_token_time_ns <= span.end_time_ns
    else:
        assert span.first_token_time_ns is None
    if "user" in body:
        assert span.user_id == "u-1"
    assert kept.begun in ([], [span.span_id])


def test_a_parsed_answer_is_parsed_and_traced(provider, kept):
    client = openai.OpenAI(base_url=f"{provider.url}/v1", api_key="k", max_retries=0)
    completions = (client.beta.chat if OLD else client.chat).completions
    with pytest.raises(ValueError, match="JSON"):
        completions.parse(**CHAT, response_format=Reply)
    span = kept.only()
    assert (span.outcome, span.usage.total_tokens) == ("error", 16)
    assert "Grüezi ☂" in str(span.output)


def test_azure_and_its_deployments_are_named(provider, kept):
    client = openai.AzureOpenAI(
        azure_endpoint=provider.url, api_key="k", api_version="2024-10-21", max_retries=0
    )
    client.chat.completions.create(**CHAT)
    assert provider.requests[0][0].startswith("/openai/deployments/gpt-4o-mini/chat/completions")
    span = kept.only()
    assert (span.provider, span.request_model, span.outcome) == ("azure", "gpt-4o-mini", "ok")


def test_the_modules_own_client_is_traced(provider, kept, monkeypatch):
    monkeypatch.setattr(openai, "base_url", f"{provider.url}/v1")
    monkeypatch.setattr(openai, "api_key", "k")
    openai.chat.completions.create(**CHAT)
    monkeypatch.setattr(openai, "_client", None, raising=False)
    assert kept.only().outcome == "ok"


def test_a_client_of_ones_own_class_is_traced_once(provider, kept):
    class Mine(openai.OpenAI):
        def request(self, *args, **kwargs):
            return super().request(*args, **kwargs)

    Mine(base_url=f"{provider.url}/v1", api_key="k").chat.completions.create(**CHAT)
    assert kept.only().outcome == "ok"


@pytest.mark.parametrize("encoding", ["gzip", "br"])
@pytest.mark.parametrize("make", [openai.OpenAI, openai.AsyncOpenAI])
async def test_a_compressed_stream_is_read_as_the_sdk_reads_it(provider, kept, make, encoding):
    pytest.importorskip("brotli")

    def ask(c):
        return c.chat.completions.create(model=encoding, messages=QUESTION, **STREAM)

    if make is openai.OpenAI:
        client = make(base_url=f"{provider.url}/v1", api_key="k", max_retries=0)
        assert all_of(ask(client))
    else:
        client = make(base_url=f"{provider.url}/v1", api_key="k", max_retries=0)
        assert await async_all_of(await ask(client))
    span = kept.only()
    assert (span.outcome, span.usage.total_tokens) == ("ok", 16)
    assert span.output["content"] == "Grüezi ☂"
    assert span.start_time_ns < span.first_token_time_ns < span.end_time_ns


def test_what_is_no_inference_passes_untouched(provider, kept):
    client = openai.OpenAI(base_url=f"{provider.url}/v1", api_key="k", max_retries=0)
    with kept.tracer.trace("outer"):
        client.models.list()
        anthropic.Anthropic(base_url=provider.url, api_key="k").messages.count_tokens(
            model="m", messages=QUESTION
        )
    assert kept.only().name == "outer"
    assert not any("traceparent" in headers for _, headers, _ in provider.requests)


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_provider_nobody_here_wrote_answers_the_same(llmock, kept, stream):
    client = openai.OpenAI(base_url=f"{llmock}/v1", api_key="k", max_retries=0)
    other = anthropic.Anthropic(base_url=f"{llmock}/anthropic", api_key="k", max_retries=0)
    chat = {**CHAT, **(STREAM if stream else {})}
    first = client.chat.completions.create(**chat)
    second = other.messages.create(**ASK, stream=stream)
    if stream:
        first, second = [*first], [*second]
        assert first[-1].usage.total_tokens > 0
    kept.tracer.flush(10)
    one, two = kept.spans
    assert (one.outcome, two.outcome) == ("ok", "ok")
    assert (one.api, two.api) == ("openai", "anthropic")
    usage = first[-1].usage if stream else first.usage
    assert (one.usage.input_tokens, one.usage.output_tokens) == (
        usage.prompt_tokens,
        usage.completion_tokens,
    )
    assert two.usage.output_tokens > 0
    if not stream:
        assert one.output["content"] == first.choices[0].message.content
        assert two.output["content"][0]["text"] == second.content[0].text
