"""A real Phoenix holds what was sent: traces, sessions, tokens, tool calls, scores, as it tells them.

Runs with `GATEWAYZ_HEAVY=phoenix`. Phoenix is installed with uv into an environment of its own
(650 MB), which is thrown away unless `GATEWAYZ_PHOENIX_HOME` names a directory to keep it in.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import NamedTuple

import pytest

if os.environ.get("GATEWAYZ_HEAVY") != "phoenix":
    pytest.skip("set GATEWAYZ_HEAVY=phoenix to run it", allow_module_level=True)

from gatewayz import Tracer
from gatewayz.testing.events import an_event
from gatewayz.testing.sink import eventually

pytestmark = [pytest.mark.phoenix, pytest.mark.slow, pytest.mark.timeout(900)]

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


class Addresses(NamedTuple):
    url: str
    grpc_url: str


def a_free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def answers(url) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/v1/projects", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def installed(home: Path) -> Path:
    program = home / "bin" / "phoenix"
    if not program.exists():
        subprocess.run(["uv", "venv", "-q", "--python", sys.executable, home], check=True)
        python = str(home / "bin" / "python")
        install = ["uv", "pip", "install", "-q", "-p", python, "arize-phoenix==20.26.1"]
        subprocess.run(install, check=True)
    return program


@pytest.fixture(scope="module")
def phoenix():
    """A running Phoenix with an empty database."""
    with tempfile.TemporaryDirectory() as scratch:
        program = installed(Path(os.environ.get("GATEWAYZ_PHOENIX_HOME") or scratch, "phoenix"))
        port, grpc_port = a_free_port(), a_free_port()
        settings = {
            "PHOENIX_WORKING_DIR": scratch,
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(port),
            "PHOENIX_GRPC_PORT": str(grpc_port),
            "PHOENIX_TELEMETRY_ENABLED": "false",
        }
        url = f"http://127.0.0.1:{port}"
        with Path(scratch, "log").open("wb") as log:
            server = subprocess.Popen(
                [program, "serve"], env={**os.environ, **settings}, stdout=log, stderr=log
            )
            try:
                assert eventually(lambda: answers(url), 180), Path(scratch, "log").read_text()
                yield Addresses(url, f"http://127.0.0.1:{grpc_port}")
            finally:
                server.terminate()
                server.wait(30)


class Sent:
    """A tracer that sends to a project of its own, and what Phoenix tells of that project."""

    def __init__(self, phoenix: Addresses, **settings: str) -> None:
        self.url = phoenix.url
        self.project = f"gatewayz-{secrets.token_hex(4)}"
        environ = {
            "ARIZE_ENABLED": "true",
            "ARIZE_COLLECTOR_ENDPOINT": phoenix.url,
            "ARIZE_PROJECT_NAME": self.project,
            "ARIZE_FLUSH_INTERVAL": "0",
            **settings,
        }
        self.tracer = Tracer(environ)
        self.tracer.start()
        (self.backend,) = [i.backend for i in self.tracer.instances() if i.name == "arize"]

    def deliver(self) -> None:
        self.tracer.flush(30)
        ledger = self.tracer.status()["backends"]["arize"]
        assert ledger["delivered"] == ledger["accepted"] > 0, ledger

    def get(self, path: str, **query: str):
        address = f"{self.url}{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return json.load(answer)["data"]

    def graphql(self, query: str, **variables):
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"{self.url}/graphql", body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            found = json.load(answer)
        assert "errors" not in found, found
        return found["data"]

    def spans(self, trace_id: str, count: int = 1) -> dict:
        """The spans of a trace by name, once as many as that are there."""

        def there() -> bool:
            return len(self.backend.read_back(trace_id).get("spans", ())) >= count

        assert eventually(there, 30), self.backend.read_back(trace_id)
        found = self.backend.read_back(trace_id)["spans"]
        assert len(found) == count
        return {span["name"]: span for span in found}

    def annotations(self, kind: str, judged: str, count: int = 1) -> list:
        path = f"/v1/projects/{self.project}/{kind}_annotations"
        found: list = []

        def there() -> bool:
            try:
                found[:] = self.get(path, **{f"{kind}_ids": judged})
            except urllib.error.HTTPError as error:
                if error.code != 404:  # the span itself is not there yet
                    raise
            return len(found) >= count

        assert eventually(there, 30), found
        return found


@pytest.fixture
def sent(phoenix):
    made = Sent(phoenix)
    yield made
    made.tracer.shutdown(5)


def test_an_inference_reads_back_as_it_was_sent(sent):
    asked = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Is it raining in Zürich? ☂"},
    ]
    with sent.tracer.trace_inference(
        "openai", "gpt-4o-mini", user_id="u-1", session_id="s-1", tags=["a", "b"],
        metadata={"feature": "weather", "nested": {"attempts": [1, 2]}},
    ) as ctx:  # fmt: skip
        ctx.set_input(asked)
        ctx.set_output({"role": "assistant", "content": "Yes."})
        ctx.set_model_parameters(temperature=0.5)
        ctx.set_response_model("gpt-4o-mini-2024-07-18")
        ctx.set_token_usage(1500, 300, cache_read_tokens=1000, reasoning_tokens=200)
    sent.deliver()
    (span,) = sent.spans(ctx.trace_id).values()
    assert span["context"] == {"trace_id": ctx.trace_id, "span_id": ctx.span_id}
    assert (span["span_kind"], span["status_code"], span["parent_id"]) == ("LLM", "OK", None)
    found = span["attributes"]
    expected = {
        "llm.model_name": "gpt-4o-mini-2024-07-18",
        "llm.provider": "openai",
        "llm.system": "openai",
        "llm.token_count.prompt": 1500,
        "llm.token_count.completion": 300,
        "llm.token_count.total": 1800,
        "llm.token_count.prompt_details.cache_read": 1000,
        "llm.token_count.completion_details.reasoning": 200,
        "llm.input_messages.0.message.role": "system",
        "llm.input_messages.0.message.content": "Be brief.",
        "llm.input_messages.1.message.role": "user",
        "llm.input_messages.1.message.content": "Is it raining in Zürich? ☂",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": "Yes.",
        "session.id": "s-1",
        "user.id": "u-1",
        "tag.tags": ["a", "b"],
        "metadata.feature": "weather",
        "metadata.nested.attempts": [1, 2],
        "input.mime_type": "application/json",
    }
    assert {name: found.get(name) for name in expected} == expected
    assert json.loads(found["input.value"]) == asked
    assert json.loads(found["llm.invocation_parameters"]) == {"temperature": 0.5}


def test_tool_calls_and_parts_of_messages_read_back_as_they_were_sent(sent):
    with sent.tracer.trace_inference("anthropic", "claude-sonnet-4-5") as ctx:
        ctx.set_input(
            [
                {"role": "user", "content": [
                    {"type": "text", "text": "And here?"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
                ]},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "t-1", "name": "weather", "input": {"city": "Zürich"}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t-1", "content": "rain"},
                ]},
            ]
        )  # fmt: skip
        ctx.set_output(
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "It rains."},
                {"type": "text", "text": "It rains."},
                {"type": "tool_use", "id": "t-2", "name": "weather", "input": {"city": "Bern"}},
            ]}
        )  # fmt: skip
    sent.deliver()
    (span,) = sent.spans(ctx.trace_id).values()
    expected = {
        "input_messages.0.message.contents.0.message_content.text": "And here?",
        "input_messages.0.message.contents.1.message_content.type": "image",
        "input_messages.0.message.contents.1.message_content.image.image.url": "data:image/png;base64,aGk=",
        "input_messages.1.message.tool_calls.0.tool_call.id": "t-1",
        "input_messages.1.message.tool_calls.0.tool_call.function.name": "weather",
        "input_messages.2.message.role": "tool",
        "input_messages.2.message.tool_call_id": "t-1",
        "input_messages.2.message.content": "rain",
        "output_messages.0.message.contents.0.message_content.type": "reasoning",
        "output_messages.0.message.contents.1.message_content.text": "It rains.",
        "output_messages.0.message.tool_calls.0.tool_call.id": "t-2",
        "output_messages.0.message.tool_calls.0.tool_call.function.name": "weather",
    }
    assert {k: span["attributes"].get(f"llm.{k}") for k in expected} == expected
    arguments = "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments"
    assert json.loads(span["attributes"][arguments]) == {"city": "Bern"}


def test_a_session_has_its_traces_its_tokens_and_what_was_said(sent):
    remote = "00-{}-b7ad6b7169203331-01"
    traces = [secrets.token_hex(16) for _ in range(2)]
    for n, trace_id in enumerate(traces):
        # The caller's own span is never sent here; without a root there would be no input or output.
        with sent.tracer.trace_inference(
            "anthropic", "claude-sonnet-4-5", session_id="s-2", parent=remote.format(trace_id)
        ) as ctx:
            ctx.set_input(f"question {n}")
            ctx.set_output(f"answer {n}")
            ctx.set_token_usage(1500, 10, cache_read_tokens=1200, cache_write_tokens=100)
        assert ctx.trace_id == trace_id
    sent.deliver()
    for trace_id in traces:
        sent.spans(trace_id)
    (session,) = sent.get(f"/v1/projects/{sent.project}/sessions")
    assert session["session_id"] == "s-2"
    assert {t["trace_id"] for t in session["traces"]} == set(traces)
    (project,) = [p for p in sent.get("/v1/projects", limit="1000") if p["name"] == sent.project]
    query = """query($id: ID!) { node(id: $id) { ... on Project {
        tokenCountTotal tokenCountPrompt tokenCountCompletion
        sessions(first: 5) { edges { node {
            sessionId firstInput { value } lastOutput { value } tokenUsage { total prompt completion }
        } } } } } }"""
    node = sent.graphql(query, id=project["id"])["node"]
    assert (node["tokenCountPrompt"], node["tokenCountCompletion"]) == (3000, 20)
    (edge,) = node["sessions"]["edges"]
    assert edge["node"]["firstInput"]["value"] == "question 0"
    assert edge["node"]["lastOutput"]["value"] == "answer 1"
    assert edge["node"]["tokenUsage"] == {"total": 3020, "prompt": 3000, "completion": 20}


def test_nested_spans_have_their_kinds_parents_and_outcomes(sent):
    with sent.tracer.trace("plan", kind="agent") as agent:
        with sent.tracer.trace("look up", kind="retriever") as retriever:
            retriever.set_output([{"id": "d-1", "content": "It rains.", "score": 0.9}])
        with pytest.raises(RuntimeError), sent.tracer.trace_inference("openai", "gpt-4o-mini"):
            msg = "Slow down."
            raise RuntimeError(msg)
    sent.deliver()
    spans = sent.spans(agent.trace_id, 3)
    failed = spans["chat gpt-4o-mini"]
    kinds = {name: span["span_kind"] for name, span in spans.items()}
    assert kinds == {"plan": "AGENT", "look up": "RETRIEVER", "chat gpt-4o-mini": "LLM"}
    assert spans["plan"]["parent_id"] is None
    assert {failed["parent_id"], spans["look up"]["parent_id"]} == {agent.span_id}
    assert (failed["status_code"], failed["status_message"]) == ("ERROR", "Slow down.")
    assert [event["name"] for event in failed["events"]] == ["exception"]
    document = "retrieval.documents.0.document."
    found = spans["look up"]["attributes"]
    assert found[f"{document}content"] == "It rains."
    assert (found[f"{document}id"], found[f"{document}score"]) == ("d-1", 0.9)


def test_scores_of_spans_and_traces_arrive_and_a_repeated_one_replaces(sent):
    with sent.tracer.trace_inference("openai", "gpt-4o-mini") as ctx:
        ctx.score("helpful", True, comment="rated by the user")
    sent.tracer.score("overall", 0.25, trace_id=ctx.trace_id)
    sent.tracer.score("mood", "sunny", trace_id=ctx.trace_id, span_id=ctx.span_id)
    sent.deliver()
    found = {a["name"]: a["result"] for a in sent.annotations("span", ctx.span_id, 2)}
    assert found == {
        "helpful": {"label": "true", "score": 1.0, "explanation": "rated by the user"},
        "mood": {"label": "sunny", "score": None, "explanation": None},
    }
    (overall,) = sent.annotations("trace", ctx.trace_id)
    assert (overall["name"], overall["result"]["score"]) == ("overall", 0.25)

    sent.tracer.score("overall", 0.75, trace_id=ctx.trace_id)
    sent.deliver()

    def replaced() -> bool:
        return [
            a["result"]["score"] for a in sent.annotations("trace", ctx.trace_id)
        ] == [0.75]  # fmt: skip

    assert eventually(replaced, 30), sent.annotations("trace", ctx.trace_id)


def test_a_score_may_arrive_before_its_span(sent):
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    sent.tracer.score("early", 0.5, trace_id=trace_id, span_id=span_id)
    sent.deliver()
    now = time.time_ns()
    event = an_event(trace_id=trace_id, span_id=span_id, start_time_ns=now, end_time_ns=now + 1)
    sent.backend.export([sent.backend.on_end(event)], 10)
    (early,) = sent.annotations("span", span_id)
    assert early["result"]["score"] == 0.5


def test_a_score_phoenix_cannot_keep_is_refused_and_holds_nothing_up(sent):
    with sent.tracer.trace_inference("openai", "gpt-4o-mini") as ctx:
        ctx.score("note", 1.0)
        ctx.score("fine", 1.0)
    sent.tracer.flush(30)
    ledger = sent.tracer.status()["backends"]["arize"]
    assert (ledger["delivered"], ledger["dead_lettered"], ledger["pending"]) == (2, 1, 0)
    (fine,) = sent.annotations("span", ctx.span_id)
    assert fine["name"] == "fine"


def test_phoenix_keeps_a_span_once_however_often_it_is_sent(sent):
    now = time.time_ns()
    # A session belongs to one project, whichever sent it first.
    session_id = f"s-{secrets.token_hex(4)}"
    event = an_event(session_id=session_id, start_time_ns=now, end_time_ns=now + 10**9)
    for _ in range(3):
        assert sent.backend.export([sent.backend.on_end(event)], 10) is None
    sent.spans(event.trace_id)
    (session,) = sent.get(f"/v1/projects/{sent.project}/sessions")
    assert (session["session_id"], session["token_count_total"]) == (session_id, 1500)


def test_the_same_spans_arrive_over_grpc(phoenix):
    pytest.importorskip("grpc")
    grpc = {"ARIZE_COLLECTOR_ENDPOINT": phoenix.grpc_url, "ARIZE_TRANSPORT": "grpc"}
    sent = Sent(phoenix, **grpc, ARIZE_API_ENDPOINT=phoenix.url)
    with sent.tracer.trace_inference("openai", "gpt-4o-mini") as ctx:
        ctx.score("helpful", True)
    sent.deliver()
    sent.spans(ctx.trace_id)
    sent.annotations("span", ctx.span_id)
    sent.tracer.shutdown(5)


def test_check_finds_phoenix(sent):
    assert sent.backend.check().startswith("Phoenix at http://127.0.0.1:")
