"""What a caller sees of the facade, and what a backend receives for it."""

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import threading
import time
from decimal import Decimal

import pytest

from gatewayz import Backend, BackendSettings, Tracer, hookimpl
from gatewayz.lane import LanePolicy


class Keeps(Backend):
    def __init__(self):
        super().__init__(BackendSettings(flush_interval=0, capture_content=True))
        self.spans = []
        self.scores = []

    @hookimpl
    def on_end(self, event):
        self.spans.append(event)

    @hookimpl
    def on_score(self, event):
        self.scores.append(event)


@contextlib.contextmanager
def traced_to(backend):
    tracer = Tracer({}, backends={"keeps": backend}, policy=LanePolicy())
    tracer.start()
    backend.tracer = tracer
    yield backend
    tracer.shutdown(2)


@pytest.fixture
def kept():
    with traced_to(Keeps()) as backend:
        yield backend


def flushed(backend):
    assert backend.tracer.flush(10)["complete"]
    return backend.spans


def test_one_inference_carries_all_it_was_told(kept):
    with kept.tracer.trace_inference(
        provider="openai", model="gpt-4o-mini", user_id="u", session_id="s", tags=["eval"]
    ) as ctx:
        messages = [{"role": "user", "content": "hi"}]
        ctx.set_input(messages)
        messages.append({"role": "user", "content": "later"})
        ctx.set_output("wrong")
        ctx.set_output({"role": "assistant", "content": "hello"})
        ctx.set_token_usage(10, 5, cache_read_tokens=4)
        ctx.set_cost(0.0023)
        ctx.set_metadata(a=1)
        ctx.set_model_parameters(temperature=0.5)
        ctx.set_routing_info(attempt=2)
        ctx.set_cache_info(hit=False)
        ctx.add_tags("two")
        ctx.add_event("retried", {"n": 1})
        ctx.set_prompt("greeting", 3)
        ctx.mark_first_token()
    (event,) = flushed(kept)
    assert event.trace_id == ctx.trace_id
    assert event.span_id == ctx.span_id
    assert event.input == [{"role": "user", "content": "hi"}]
    assert event.output == {"role": "assistant", "content": "hello"}
    assert (event.usage.input_tokens, event.usage.output_tokens, event.usage.total_tokens) == (
        10,
        5,
        15,
    )
    assert event.usage.cache_read_tokens == 4
    assert event.cost.amount_usd == Decimal("0.0023")
    assert event.cost.source == "caller"
    assert event.tags == ("eval", "two")
    assert dict(event.metadata) == {"a": 1}
    assert dict(event.routing) == {"attempt": 2, "cache.hit": False}
    assert event.events[0].name == "retried"
    assert (event.prompt.name, event.prompt.version) == ("greeting", 3)
    assert event.start_time_ns <= event.first_token_time_ns <= event.end_time_ns
    assert (event.outcome, event.user_id, event.session_id) == ("ok", "u", "s")


async def test_async_with_traces_alike(kept):
    async with kept.tracer.trace_inference(provider="openrouter", model="gpt-4") as ctx:
        await asyncio.sleep(0)
        ctx.set_output("x")
    (event,) = flushed(kept)
    assert (event.outcome, event.output) == ("ok", "x")


def test_an_exception_is_recorded_and_raised_on(kept):
    with pytest.raises(KeyError), kept.tracer.trace_inference("p", "m"):
        raise KeyError("gone")
    (event,) = flushed(kept)
    assert (event.outcome, event.error.type) == ("error", "KeyError")


async def test_a_cancelled_task_is_cancelled_not_failed(kept):
    async def work():
        async with kept.tracer.trace_inference("p", "m"):
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.05)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    (event,) = flushed(kept)
    assert event.outcome == "cancelled"


def test_a_context_never_ended_is_closed_as_abandoned_when_collected(kept):
    ctx = kept.tracer.start_inference("p", "m")
    ctx.set_output("half")
    span_id = ctx.span_id
    del ctx
    gc.collect()
    (event,) = flushed(kept)
    assert (event.span_id, event.outcome, event.output) == (span_id, "abandoned", "half")


def test_end_counts_once_from_however_many_threads(kept):
    ctx = kept.tracer.start_inference("p", "m")
    threads = [threading.Thread(target=ctx.end) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ctx.end()
    assert len(flushed(kept)) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        lambda c: c.set_token_usage("many", -1),
        lambda c: c.set_token_usage(1.5, True, colour=3),
        lambda c: c.set_usage(object()),
        lambda c: c.set_cost("free"),
        lambda c: c.set_cost(float("nan")),
        lambda c: c.set_metadata(5),
        lambda c: c.set_prompt(5),
        lambda c: c.score("", None),
        lambda c: c.add_event("e", 5),
        lambda c: c.set_user_info(user_id={"a": object()}),
    ],
)
def test_a_wrong_value_never_raises_and_the_span_arrives(kept, wrong):
    with kept.tracer.trace_inference("p", "m") as ctx:
        wrong(ctx)
    (event,) = flushed(kept)
    assert event.outcome == "ok"


def test_a_wrong_value_is_warned_about_by_the_name_of_the_call(kept, caplog):
    for _ in range(3):
        with kept.tracer.trace_inference("p", "m") as ctx:
            ctx.set_cost("free")
    flushed(kept)
    assert [r.getMessage() for r in caplog.records].count(
        "set_cost() takes an amount in US dollars from 0 up"
    ) == 1


def test_spans_nest_and_share_one_trace(kept):
    with kept.tracer.trace("plan", kind="agent", user_id="u") as agent:
        with kept.tracer.trace_inference("p", "m") as first:
            pass
        with (
            kept.tracer.trace("search", kind="tool") as tool,
            kept.tracer.trace_inference("p", "m"),
        ):
            pass
    with kept.tracer.trace_inference("p", "m") as apart:
        pass
    by_id = {e.span_id: e for e in flushed(kept)}
    assert by_id[first.span_id].parent_span_id == agent.span_id
    assert by_id[tool.span_id].parent_span_id == agent.span_id
    assert {e.trace_id for e in by_id.values()} == {agent.trace_id, apart.trace_id}
    assert by_id[first.span_id].user_id == "u"
    assert by_id[agent.span_id].kind == "agent"
    assert by_id[apart.span_id].parent_span_id is None


def test_an_ended_span_is_never_a_parent(kept):
    outer = kept.tracer.trace("outer")
    outer.__enter__()
    outer.end()
    with kept.tracer.trace_inference("p", "m"):
        pass
    assert flushed(kept)[1].parent_span_id is None


def test_a_break_out_of_a_generator_gives_no_later_inference_a_parent(kept):
    def stream():
        with kept.tracer.trace_inference("p", "m"):
            yield 1
            yield 2

    items = stream()
    for _ in items:
        break
    with kept.tracer.trace_inference("p", "later") as later:
        pass
    items.close()
    by_id = {e.span_id: e for e in flushed(kept)}
    assert by_id[later.span_id].parent_span_id is None
    assert {e.outcome for e in by_id.values()} == {"ok", "abandoned"}


async def test_a_break_out_of_an_async_generator_gives_no_later_inference_a_parent(kept):
    async def stream():
        async with kept.tracer.trace_inference("p", "m"):
            async with kept.tracer.trace_inference("p", "inside"):
                yield 1
            yield 2

    items = stream()
    async for _ in items:
        break
    with kept.tracer.trace_inference("p", "later") as later:
        pass
    await items.aclose()
    by_id = {e.span_id: e for e in flushed(kept)}
    assert by_id[later.span_id].parent_span_id is None
    inside = next(e for e in by_id.values() if e.request_model == "inside")
    outside = next(e for e in by_id.values() if e.request_model == "m")
    assert inside.parent_span_id == outside.span_id


def test_a_context_manager_of_the_applications_own_still_nests(kept):
    @contextlib.contextmanager
    def traced():
        with kept.tracer.trace("around") as span:
            yield span

    with traced() as span, kept.tracer.trace_inference("p", "m"):
        pass
    assert flushed(kept)[0].parent_span_id == span.span_id


async def test_a_task_that_outlives_its_span_does_not_become_its_child(kept):
    go = asyncio.Event()

    async def late():
        await go.wait()
        with kept.tracer.trace_inference("p", "late"):
            pass

    with kept.tracer.trace("request"):
        task = asyncio.create_task(late())
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
    go.set()
    await task
    late_event = next(e for e in flushed(kept) if e.request_model == "late")
    assert late_event.parent_span_id is None


def test_attributes_reach_everything_inside(kept):
    with (
        kept.tracer.attributes(user_id="u", tags=["a"], metadata={"k": 1}),
        kept.tracer.attributes(session_id="s", tags=["b"]),
        kept.tracer.trace_inference("p", "m", tags=["c"]),
    ):
        pass
    (event,) = flushed(kept)
    assert (event.user_id, event.session_id, event.tags) == ("u", "s", ("a", "b", "c"))
    assert dict(event.metadata) == {"k": 1}


def test_suppress_traces_nothing_inside(kept):
    with (
        kept.tracer.suppress(),
        kept.tracer.trace("x"),
        kept.tracer.trace_inference("p", "m") as ctx,
    ):
        assert len(ctx.trace_id) == 32
    assert flushed(kept) == []


def test_a_parent_can_be_a_header_a_mapping_or_a_context(kept):
    trace, span = "ab" * 16, "cd" * 8
    header = f"00-{trace}-{span}-00"
    kept.tracer.start_inference("p", "m", parent=header).end()
    kept.tracer.start_inference("p", "m", parent={"Traceparent": header, "tracestate": "v=1"}).end()
    outer = kept.tracer.start_inference("p", "m", parent=header)
    kept.tracer.start_inference("p", "m", parent=outer).end()
    outer.end()
    kept.tracer.start_inference("p", "m", parent="nonsense").end()
    one, two, child, parent, fresh = flushed(kept)
    assert (one.trace_id, one.parent_span_id, one.parent_is_remote, one.trace_flags) == (
        trace,
        span,
        True,
        0,
    )
    assert two.trace_state == "v=1"
    assert (child.trace_id, child.parent_span_id, child.parent_is_remote) == (
        trace,
        parent.span_id,
        False,
    )
    assert fresh.trace_id != trace
    assert outer.headers()["traceparent"] == f"00-{trace}-{outer.span_id}-00"


def test_observe_traces_functions_and_their_results(kept):
    @kept.tracer.observe(kind="tool")
    def add(a, b=2):
        return a + b

    assert add(1) == 3
    (event,) = flushed(kept)
    assert (event.name, event.kind, event.input, event.output) == ("add", "tool", {"a": 1}, 3)


async def test_observe_traces_coroutines_and_async_generators(kept):
    @kept.tracer.observe
    async def twice(x):
        return 2 * x

    @kept.tracer.trace_model_call(provider="p", model="m")
    async def stream(n):
        for i in range(n):
            with kept.tracer.trace("step"):
                await asyncio.sleep(0)
            yield i

    assert await twice(4) == 8
    got = []
    async for item in stream(3):
        got.append(item)
        with kept.tracer.trace_inference("p", "beside"):
            pass
    assert got == [0, 1, 2]
    events = flushed(kept)
    model = next(e for e in events if e.request_model == "m")
    assert model.output == [0, 1, 2]
    assert all(e.parent_span_id is None for e in events if e.request_model == "beside")
    assert all(e.parent_span_id == model.span_id for e in events if e.name == "step")


async def test_an_observed_async_generator_can_be_left_and_thrown_into(kept):
    seen = []

    @kept.tracer.observe
    async def stream():
        try:
            yield 1
            yield 2
        except RuntimeError:
            seen.append("thrown")
            yield 9
        finally:
            seen.append("closed")

    items = stream()
    assert await anext(items) == 1
    assert await items.athrow(RuntimeError()) == 9
    await items.aclose()
    assert seen == ["thrown", "closed"]
    (event,) = flushed(kept)
    assert event.outcome == "abandoned"


def test_an_observed_generator_sends_throws_and_returns_like_its_own(kept):
    @kept.tracer.observe
    def talk():
        got = yield 1
        try:
            yield got * 2
        except ValueError:
            yield "caught"
        return "end"

    items = talk()
    assert next(items) == 1
    assert items.send(21) == 42
    assert items.throw(ValueError()) == "caught"
    with pytest.raises(StopIteration) as stop:
        next(items)
    assert stop.value.value == "end"
    (event,) = flushed(kept)
    assert event.output == [1, 42, "caught"]


def test_scores_follow_their_span_and_the_same_name_replaces(kept):
    with kept.tracer.trace_inference("p", "m") as ctx:
        ctx.score("helpful", True)
        ctx.score("rating", 4, comment="good")
        ctx.score("rating", 5, comment="better")
    kept.tracer.score("tone", "warm", trace_id=ctx.trace_id)
    flushed(kept)
    scores = {e.score.name: e for e in kept.scores}
    assert len(kept.scores) == 3
    assert scores["helpful"].score.data_type == "boolean"
    assert (scores["rating"].score.value, scores["rating"].score.comment) == (5.0, "better")
    assert scores["rating"].span_id == ctx.span_id
    assert (scores["tone"].score.data_type, scores["tone"].span_id) == ("categorical", None)
    kept.tracer.score("tone", "cold", trace_id=ctx.trace_id)
    flushed(kept)
    assert kept.scores[-1].score.score_id == scores["tone"].score.score_id


def test_a_score_waits_for_a_trace_that_is_still_open(kept):
    ctx = kept.tracer.start_inference("p", "m")
    kept.tracer.score("early", 1, trace_id=ctx.trace_id)
    kept.tracer.flush(1)
    assert kept.scores == []
    ctx.end()
    deadline = time.monotonic() + 10
    while not kept.scores and time.monotonic() < deadline:
        time.sleep(0.02)
    assert kept.scores[0].score.name == "early"
    assert kept.spans[0].trace_id == kept.scores[0].trace_id


def test_a_completion_id_finds_its_trace(kept):
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "x"}}
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13},
    }
    with kept.tracer.trace_inference("openai", "gpt-4o-mini") as ctx:
        ctx.set_output(answer)
    (event,) = flushed(kept)
    assert event.completion_id == "chatcmpl-1"
    assert event.output == {"role": "assistant", "content": "x"}
    assert event.usage.total_tokens == 13
    assert event.response_model == "gpt-4o-mini-2024-07-18"
    assert event.finish_reasons == ("stop",)
    assert event.cost.source == "genai-prices"
    kept.tracer.score("rating", 2, completion_id="chatcmpl-1")
    flushed(kept)
    assert kept.scores[0].trace_id == ctx.trace_id


def test_the_mask_sees_content_once_and_what_fails_is_left_out(tmp_path, monkeypatch):
    (tmp_path / "my_mask.py").write_text(
        "def hide(content):\n"
        "    if content.get('input') == 'boom': raise ValueError\n"
        "    return {**content, 'input': 'hidden', 'metadata': {'m': 1}}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    backend = Keeps()
    tracer = Tracer({"GATEWAYZ_MASK": "my_mask:hide"}, backends={"keeps": backend})
    backend.tracer = tracer
    tracer.trace_inference("p", "m", input="secret", metadata={"s": 1}).end()
    tracer.trace_inference("p", "m", input="boom").end()
    one, two = flushed(backend)
    assert (one.input, dict(one.metadata)) == ("hidden", {"m": 1})
    assert two.input == "[masking failed]"
    tracer.shutdown(1)


def test_only_and_opt_outs_decide_apart_from_losses():
    class Team(Keeps):
        def __init__(self, only):
            super().__init__()
            self.settings = BackendSettings(flush_interval=0, only=only)

    a, b = Team("team=a"), Team("team=b,outcome=error")
    tracer = Tracer({}, backends={"x/a": a, "x/b": b})
    for team, outcome in [("a", None), ("b", None), ("b", "error")]:
        ctx = tracer.start_inference("p", "m")
        ctx.set_user_info(team=team)
        ctx.end(outcome)
    tracer.flush(5)
    assert [e.team for e in a.spans] == ["a"]
    assert [(e.team, e.outcome) for e in b.spans] == [("b", "error")]
    rows = tracer.status()["backends"]
    assert (rows["x/a"]["accepted"], rows["x/a"]["filtered"]) == (1, 2)
    tracer.shutdown(1)


def test_sampling_keeps_whole_traces():
    class Half(Keeps):
        def __init__(self):
            super().__init__()
            self.settings = BackendSettings(flush_interval=0, sample_rate=0.5)

    backend = Half()
    tracer = Tracer({}, backends={"half": backend})
    for _ in range(200):
        with tracer.trace("a"), tracer.trace_inference("p", "m"):
            pass
    tracer.flush(5)
    traces = [e.trace_id for e in backend.spans]
    assert 40 < len(set(traces)) < 160
    assert all(traces.count(t) == 2 for t in traces)
    tracer.shutdown(1)


def test_the_hosts_opentelemetry_span_is_joined_and_its_provider_untouched(kept):
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    before = trace.get_tracer_provider()
    host = TracerProvider().get_tracer("host")
    with host.start_as_current_span("request") as span, kept.tracer.trace_inference("p", "m"):
        pass
    (event,) = flushed(kept)
    found = span.get_span_context()
    assert event.trace_id == f"{found.trace_id:032x}"
    assert event.parent_span_id == f"{found.span_id:016x}"
    assert event.parent_is_remote
    assert trace.get_tracer_provider() is before
    assert trace.get_current_span().get_span_context().trace_id == 0


def test_a_child_process_traces_on_its_own_after_a_fork(kept):
    with kept.tracer.trace_inference("p", "parent"):
        pass
    flushed(kept)
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            kept.spans.clear()
            with kept.tracer.trace_inference("p", "child"):
                pass
            kept.tracer.flush(5)
            os.write(write, kept.spans[0].request_model.encode() + b" %d" % len(kept.spans))
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 100) == b"child 1"
    with kept.tracer.trace_inference("p", "parent again"):
        pass
    assert [e.request_model for e in flushed(kept)] == ["parent", "parent again"]


def run(code, **environ):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_importing_gatewayz_loads_neither_pydantic_nor_a_backend():
    done = run(
        "import sys, gatewayz; from gatewayz import AITracer, observe\n"
        "print([m for m in sys.modules if m.split('.')[0] in "
        "('pydantic', 'msgspec', 'pluggy') or m.startswith('gatewayz_')])"
    )
    assert done.stdout == "[]\n", done.stderr


def test_with_no_backend_an_inference_costs_nothing_more_and_nothing_is_said():
    done = run(
        "import sys\nfrom gatewayz import AITracer\n"
        "with AITracer.trace_inference('p', 'm') as ctx: ctx.set_output('x')\n"
        "AITracer.flush(5)\n"
        "print(len(ctx.trace_id), 'pydantic' in sys.modules)"
    )
    assert (done.stdout, done.stderr) == ("32 False\n", "")


def test_traces_are_delivered_when_the_interpreter_exits():
    done = run(
        "from gatewayz import AITracer\n"
        "for i in range(3):\n"
        "    with AITracer.trace_inference('p', f'model-{i}'): pass\n",
        CONSOLE_ENABLED="true",
    )
    assert done.returncode == 0
    assert all(f"model-{i}" in done.stdout + done.stderr for i in range(3))


def test_wrong_settings_of_our_own_switch_tracing_off_and_say_so():
    tracer = Tracer({"GATEWAYZ_QUEUE_MAX_BYTES": "lots", "CONSOLE_ENABLED": "true"})
    with tracer.trace_inference("p", "m"):
        pass
    assert "GATEWAYZ_QUEUE_MAX_BYTES" in tracer.status()["error"]
    tracer.shutdown(1)


def test_after_shutdown_tracing_is_quietly_off(kept):
    kept.tracer.shutdown(2)
    with kept.tracer.trace_inference("p", "m") as ctx:
        ctx.set_output("x")
    kept.tracer.shutdown(2)
    assert kept.spans == []


class Hostile:
    """An object of a caller's that raises whatever one does with it."""

    def _raise(self, *_):
        raise RuntimeError("hostile")

    __iter__ = __bool__ = __str__ = __repr__ = __len__ = __eq__ = keys = _raise
    __hash__ = None


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.score("a", 1, completion_id=["x"]),
        lambda t: t.score("a", 1, trace_id=Hostile()),
        lambda t: t.score(Hostile(), Hostile(), trace_id="ab" * 16),
        lambda t: t.trace("n", kind=[]).end(),
        lambda t: t.attributes(tags=5, user_id=123).__enter__().__exit__(None, None, None),
        lambda t: t.trace_inference("p", "m", parent=Hostile()).end(),
        lambda t: t.trace_inference("p", "m", metadata=Hostile(), tags=Hostile()).end(),
        lambda t: t.start_inference(Hostile(), Hostile(), user_id=Hostile()).end(),
    ],
)
def test_what_a_caller_hands_in_never_ends_tracing(kept, call):
    call(kept.tracer)
    with kept.tracer.trace_inference("p", "afterwards"):
        pass
    assert flushed(kept)[-1].request_model == "afterwards"


def test_inherited_ids_of_any_type_become_text(kept):
    with kept.tracer.attributes(user_id=123), kept.tracer.trace_inference("p", "m"):
        pass
    assert flushed(kept)[0].user_id == "123"


def test_flush_after_shutdown_returns_at_once(kept):
    kept.tracer.shutdown(1)
    began = time.monotonic()
    assert kept.tracer.flush(30)["complete"]
    assert time.monotonic() - began < 5


SHORT = """
from gatewayz import AITracer
for i in range(3):
    with AITracer.trace_inference("p", f"model-{i}"):
        pass
"""


def test_a_script_that_ends_before_its_backends_are_loaded_loses_nothing():
    from gatewayz.testing import RecordingSink

    with RecordingSink() as sink:
        done = run(
            SHORT,
            OTEL_ENABLED="true",
            OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
            OTEL_EXPORTER_OTLP_COMPRESSION="none",
            PROMETHEUS_ENABLED="true",
        )
        assert (done.returncode, done.stderr) == (0, "")
        sent = b"".join(r.body for r in sink.requests)
    assert all(f"model-{i}".encode() in sent for i in range(3))


def test_where_no_thread_starts_any_more_the_end_delivers_by_itself():
    # As newer Pythons do it: once the interpreter is ending, threads are refused.
    refuse = """
import threading
start = threading.Thread.start
def refused(self):
    if self.name.startswith("gatewayz-") and self.name != "gatewayz-prepare":
        raise RuntimeError("can't create new thread at interpreter shutdown")
    start(self)
threading.Thread.start = refused
"""
    done = run(refuse + SHORT, CONSOLE_ENABLED="true")
    assert done.returncode == 0
    assert all(f"model-{i}" in done.stderr for i in range(3))


class Watches(Keeps):
    def __init__(self):
        super().__init__()
        self.began = []
        self.told = threading.Event()

    @hookimpl
    def on_start(self, event):
        self.began.append((event, len(self.spans)))
        self.told.set()


@pytest.fixture
def watched():
    with traced_to(Watches()) as backend:
        yield backend


def test_a_beginning_is_told_while_the_inference_is_under_way(watched):
    with watched.tracer.trace_inference("openai", "gpt-4o-mini", user_id="u") as ctx:
        assert watched.told.wait(10)
        ((begun, ended),) = watched.began
        assert (begun.span_id, begun.user_id, begun.outcome, ended) == (ctx.span_id, "u", None, 0)
    (event,) = flushed(watched)
    assert event.span_id == ctx.span_id
    assert len(watched.began) == 1


def test_of_an_inference_over_in_no_time_the_beginning_is_told_all_the_same_and_first(watched):
    for number in range(50):
        with watched.tracer.trace_inference("openai", "gpt-4o-mini", session_id="s") as ctx:
            ctx.set_input("in")
            ctx.set_output({"object": "chat.completion", "id": f"c-{number}", "choices": []})
            ctx.set_token_usage(3, 4)
            ctx.set_cost(1)
            ctx.set_response_model("gpt-4o-mini-1")
            ctx.add_event("half-way")
            ctx.set_error("no")
    flushed(watched)
    assert [b.span_id for b, _ in watched.began] == [e.span_id for e in watched.spans]
    for place, (begun, ended) in enumerate(watched.began):
        assert ended <= place
        assert (begun.provider, begun.request_model, begun.session_id) == (
            "openai",
            "gpt-4o-mini",
            "s",
        )
        assert begun.start_time_ns == watched.spans[place].start_time_ns
        of_the_end = (
            "end_time_ns outcome error usage cost input output response_model completion_id"
        )
        assert [getattr(begun, name) for name in of_the_end.split()] == [None] * 9
        assert (begun.events, begun.finish_reasons) == ((), ())


def test_what_is_discarded_before_its_beginning_was_told_leaves_no_trace(watched):
    watched.tracer.start_inference("openai", "gpt-4o-mini").discard()
    with watched.tracer.trace_inference("openai", "gpt-4o") as ctx:
        pass
    flushed(watched)
    assert {b.span_id for b, _ in watched.began} - {ctx.span_id} == set()
