"""A call that a gateway of ours answers is recorded there alone, as a child of the caller's span."""

import anthropic
import openai
import pytest

QUESTION = [{"role": "user", "content": "hi"}]


def ask(gw, how):
    if how == "anthropic":
        client = anthropic.Anthropic(base_url=gw.url, api_key="any", max_retries=0)
        return client.messages.create(model="echo", max_tokens=9, messages=QUESTION)
    client = openai.OpenAI(base_url=f"{gw.url}/v1", api_key="any", max_retries=0)
    if how == "streamed":
        return [*client.chat.completions.create(model="echo", messages=QUESTION, stream=True)]
    if how == "refused":
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="echo-error-429", messages=QUESTION)
        return None
    return client.chat.completions.create(model="echo", messages=QUESTION)


HOW = ["whole", "streamed", "anthropic", "refused"]


@pytest.mark.parametrize("how", HOW)
def test_the_gateways_span_is_the_only_one_and_a_child_of_the_callers(gateway, kept, how):
    gw = gateway()
    for times in (1, 2):
        with kept.tracer.trace("agent", kind="agent") as around:
            ask(gw, how)
        span = gw.events(times)[-1]
        assert (span.trace_id, span.parent_span_id) == (around.trace_id, around.span_id)
    kept.tracer.flush(10)
    assert [s.kind for s in kept.spans] == ["agent", "agent"]
    gw.tracer.flush(10)
    assert len(gw.kept.spans) == 2
    # Nobody was told of an inference that is in flight and will never end.
    assert {*kept.begun} == {s.span_id for s in kept.spans}


@pytest.mark.parametrize("how", HOW)
def test_without_a_span_around_the_gateways_is_a_root(gateway, kept, how):
    gw = gateway()
    for times in (1, 2):
        ask(gw, how)
        assert gw.events(times)[-1].parent_span_id is None
    assert kept.nothing()


async def test_the_same_for_async_calls(gateway, kept):
    gw = gateway()
    client = openai.AsyncOpenAI(base_url=f"{gw.url}/v1", api_key="any", max_retries=0)
    async with kept.tracer.trace("agent") as around:
        stream = await client.chat.completions.create(model="echo", messages=QUESTION, stream=True)
        assert [part async for part in stream]
    assert gw.events(1)[0].parent_span_id == around.span_id
    assert [kept.only().kind] == ["chain"]


def test_a_callers_own_traceparent_is_sent_as_it_is(gateway, kept):
    gw = gateway()
    client = openai.OpenAI(base_url=f"{gw.url}/v1", api_key="any", max_retries=0)
    header = f"00-{'ab' * 16}-{'cd' * 8}-01"
    client.chat.completions.create(
        model="echo", messages=QUESTION, extra_headers={"traceparent": header}
    )
    assert gw.events(1)[0].parent_span_id == "cd" * 8
    assert kept.nothing()


def test_a_server_that_is_no_gateway_gets_the_calls_own_span_as_parent_once_it_is_known(
    provider, kept
):
    client = openai.OpenAI(base_url=f"{provider.url}/v1", api_key="k")
    with kept.tracer.trace("around") as around:
        client.chat.completions.create(model="m", messages=QUESTION)
        client.chat.completions.create(model="m", messages=QUESTION)
    kept.tracer.flush(10)
    first, second = (headers["traceparent"].split("-") for _, headers, _ in provider.requests)
    assert (first[1], first[2]) == (around.trace_id, around.span_id)
    spans = [s for s in kept.spans if s.kind == "generation"]
    assert {s.parent_span_id for s in spans} == {around.span_id}
    assert second[2] == spans[1].span_id


def test_a_call_inside_an_inference_traced_by_hand_is_that_inference(provider, kept):
    client = openai.OpenAI(base_url=f"{provider.url}/v1", api_key="k")
    with kept.tracer.trace_inference("openai", "gpt-4o-mini") as ctx:
        ctx.set_output(client.chat.completions.create(model="gpt-4o-mini", messages=QUESTION))
    span = kept.only()
    assert (span.span_id, span.usage.total_tokens) == (ctx.span_id, 16)


def test_suppressed_and_opted_out_calls_are_not_traced(provider, kept):
    client = openai.OpenAI(base_url=f"{provider.url}/v1", api_key="k")
    with kept.tracer.suppress():
        client.chat.completions.create(model="m", messages=QUESTION)
    client.chat.completions.create(model="m", messages=QUESTION, extra_body={"no-log": True})
    assert kept.nothing()
    assert not any("traceparent" in headers for _, headers, _ in provider.requests)


def test_who_asked_comes_from_around_and_from_headers(provider, kept):
    client = openai.OpenAI(base_url=f"{provider.url}/v1", api_key="k")
    with kept.tracer.attributes(user_id="u-9", tags=["a"]):
        client.chat.completions.create(
            model="m", messages=QUESTION, extra_headers={"x-session-id": "s-1"}
        )
    span = kept.only()
    assert (span.user_id, span.session_id, span.tags) == ("u-9", "s-1", ("a",))
