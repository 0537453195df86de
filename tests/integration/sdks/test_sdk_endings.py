"""However a call ends, by its reader, its provider or its network, one span says so."""

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading

import anthropic
import openai
import pytest

QUESTION = [{"role": "user", "content": "hi"}]
STREAM = {"stream": True, "stream_options": {"include_usage": True}}


def client(provider, **options):
    return openai.OpenAI(
        base_url=f"{provider.url}/v1", api_key="k", **{"max_retries": 0, **options}
    )


def async_client(provider, **options):
    return openai.AsyncOpenAI(
        base_url=f"{provider.url}/v1", api_key="k", **{"max_retries": 0, **options}
    )


def held(c, model="held"):
    return c.chat.completions.create(model=model, messages=QUESTION, **STREAM)


def broken_off(c):
    for part in held(c):
        if part.choices and part.choices[0].delta.content:
            break


def closed(c):
    stream = held(c)
    next(stream), next(stream)
    stream.close()


def left_by_its_block(c):
    with held(c) as stream:
        next(stream), next(stream)


def raised_in(c):
    with pytest.raises(KeyError), held(c) as stream:
        next(stream), next(stream)
        raise KeyError


@pytest.mark.parametrize("leave", [broken_off, closed, left_by_its_block, raised_in])
def test_a_stream_its_reader_left_is_abandoned_with_what_was_seen(provider, kept, leave):
    leave(client(provider))
    gc.collect()
    span = kept.only()
    assert (span.outcome, span.error, span.usage) == ("abandoned", None, None)
    assert span.output["content"] == "Grü"
    assert span.start_time_ns < span.first_token_time_ns <= span.end_time_ns


def test_a_stream_never_read_is_abandoned_once_it_is_gone(provider, kept):
    held(client(provider))
    gc.collect()
    span = kept.only()
    assert (span.outcome, span.output, span.first_token_time_ns) == ("abandoned", None, None)


def test_a_streaming_response_that_was_not_read_is_abandoned(provider, kept):
    create = client(provider).chat.completions.with_streaming_response.create
    with create(model="m", messages=QUESTION) as answer:
        assert answer.status_code == 200
    assert kept.only().outcome == "abandoned"


async def async_broken_off(c):
    stream = await held(c)
    async for part in stream:
        if part.choices and part.choices[0].delta.content:
            break
    del stream, part


async def async_closed(c):
    stream = await held(c)
    await anext(stream), await anext(stream)
    await stream.close()


async def async_cancelled(c):
    seen = asyncio.Event()

    async def read():
        async for part in await held(c):
            if part.choices and part.choices[0].delta.content:
                seen.set()

    task = asyncio.create_task(read())
    await seen.wait()
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("leave", [async_broken_off, async_closed, async_cancelled])
async def test_an_async_stream_its_reader_left_is_abandoned(provider, kept, leave):
    await leave(async_client(provider))
    for _ in range(500):
        # A dropped stream is closed by the loop, one generator within the other at a time.
        gc.collect()
        await asyncio.sleep(0.01)
        if kept.spans:
            break
    span = kept.only()
    assert (span.outcome, span.error) == ("abandoned", None)
    assert span.output["content"] == "Grü"


async def test_an_async_stream_never_read_is_abandoned(provider, kept):
    await held(async_client(provider))
    gc.collect()
    assert kept.only().outcome == "abandoned"


async def test_a_call_cancelled_before_its_answer_is_cancelled(provider, kept):
    create = async_client(provider).chat.completions.create
    task = asyncio.create_task(create(model="never-answers", messages=QUESTION))
    while not provider.requests:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    span = kept.only()
    assert (span.outcome, span.error, span.input) == ("cancelled", None, QUESTION)
    assert span.request_model == "never-answers"


def test_a_whole_stream_closed_before_its_last_bytes_is_ok(provider, kept):
    stream = held(client(provider), "m")
    for part in stream:
        if part.usage:
            break
    # The usage is the last but [DONE]: finished, as far as anyone can tell.
    stream.close()
    span = kept.only()
    assert span.usage.total_tokens == 16
    assert span.outcome in {"ok", "abandoned"}


@pytest.mark.parametrize(
    ("model", "errors"),
    [
        # Older SDKs let httpx's own error through.
        ("reset", {"APIConnectionError", "ReadError"}),
        ("cut", None),
        ("error-in-stream", {"APIError"}),
    ],
)
def test_a_stream_that_fails_is_an_error_and_raises_what_it_raised(provider, kept, model, errors):
    stream = held(client(provider), model)
    if errors is None:
        assert [*stream]
    else:
        with pytest.raises(Exception) as raised:
            list(stream)
        assert type(raised.value).__name__ in errors
        # Older SDKs do not close what raised: it ends when it is gone.
        del raised
    del stream
    gc.collect()
    span = kept.only()
    assert span.outcome == "error"
    assert span.error.type
    assert span.output["content"] == "Grü"
    if model == "cut":
        assert span.error.type == "incomplete_stream"
    if model == "error-in-stream":
        assert (span.error.type, span.error.message) == ("overloaded_error", "too much")
    if model == "reset":
        assert "ReadError" in span.error.type


@pytest.mark.parametrize("sdk", [openai, anthropic])
def test_a_providers_refusal_is_recorded_as_it_was_put_and_raised_unchanged(provider, kept, sdk):
    if sdk is openai:
        ask, args = client(provider).chat.completions.create, {}
    else:
        other = anthropic.Anthropic(base_url=provider.url, api_key="k", max_retries=0)
        ask, args = other.messages.create, {"max_tokens": 5}
    with pytest.raises(sdk.RateLimitError) as raised:
        ask(model="error-429", messages=QUESTION, **args)
    assert raised.value.response.status_code == 429
    assert "slow down" in str(raised.value)
    span = kept.only()
    assert (span.outcome, span.error.status) == ("error", 429)
    assert span.error.type == "rate_limit_error"
    assert span.error.message == "slow down"
    assert span.input == QUESTION


async def test_an_async_refusal_is_recorded_too(provider, kept):
    with pytest.raises(openai.RateLimitError):
        await async_client(provider).chat.completions.create(model="error-429", messages=QUESTION)
    assert kept.only().error.status == 429


def test_a_host_that_is_not_there_is_an_error(kept):
    nowhere = openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key="k", max_retries=1)
    with pytest.raises(openai.APIConnectionError):
        nowhere.chat.completions.create(model="m", messages=QUESTION)
    span = kept.only()
    assert (span.outcome, span.error.type) == ("error", "openai.APIConnectionError")
    assert (span.input, span.output) == (QUESTION, None)


def test_a_timeout_is_an_error(provider, kept):
    with pytest.raises(openai.APITimeoutError):
        client(provider, timeout=0.2).chat.completions.create(
            model="never-answers", messages=QUESTION
        )
    assert kept.only().error.type == "openai.APITimeoutError"


def test_retries_are_one_span(provider, kept):
    client(provider, max_retries=3).chat.completions.create(model="flaky", messages=QUESTION)
    assert len(provider.requests) == 3
    span = kept.only()
    assert (span.outcome, span.usage.total_tokens) == ("ok", 16)
    assert span.routing["retries"] == "2"


def test_calls_from_many_threads_are_a_span_each(provider, kept):
    c = client(provider)
    threads = [
        threading.Thread(
            target=lambda n=n: c.chat.completions.create(model=f"m-{n}", messages=QUESTION)
        )
        for n in range(8)
    ]
    [t.start() for t in threads]
    [t.join() for t in threads]
    kept.tracer.flush(10)
    assert sorted(s.request_model for s in kept.spans) == [f"m-{n}" for n in range(8)]
    assert len({s.trace_id for s in kept.spans}) == 8


def test_a_script_that_ends_with_a_stream_half_read_loses_nothing(provider):
    script = textwrap.dedent(
        f"""
        import tempfile
        kept = tempfile.TemporaryDirectory()  # has a finalizer of its own, before ours
        from gatewayz import AITracer, instrument
        AITracer.start()
        instrument("openai")
        import openai
        client = openai.OpenAI(base_url="{provider.url}/v1", api_key="k")
        stream = client.chat.completions.create(
            model="held", messages=[{{"role": "user", "content": "hi"}}], stream=True)
        next(stream)
        """
    )
    environ = {"PATH": os.environ["PATH"], "CONSOLE_ENABLED": "true"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    provider.go.set()
    assert done.stderr.count("127.0.0.1/held") == 1
    assert "…  127.0.0.1/held" in done.stderr
