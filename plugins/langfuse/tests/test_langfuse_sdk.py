"""Langfuse's own SDK: reached through our client, and used beside it in one process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from gatewayz_langfuse import LangfuseConfig

OWN_PUBLIC, OWN_SECRET = "pk-lf-of-the-users-own", "sk-lf-of-the-users-own"

PROMPT = {
    "id": "1",
    "name": "weather",
    "version": 3,
    "type": "text",
    "prompt": "Is it raining in {{city}}?",
    "config": {},
    "labels": ["production"],
    "tags": [],
    "createdAt": "2026-01-01T00:00:00Z",
    "updatedAt": "2026-01-01T00:00:00Z",
    "projectId": "p1",
    "createdBy": "api",
    "isActive": True,
}


@pytest.fixture
def config(server, traced):
    class Config(LangfuseConfig):
        pass

    def make(**environ):
        Config.tracer = traced(**environ)
        return Config

    yield make
    from langfuse._client.resource_manager import LangfuseResourceManager

    LangfuseResourceManager.reset()


def test_everything_else_on_the_client_is_the_sdks(server, config):
    from langfuse import Langfuse

    client = config().get_client()
    assert client.auth_check() is True
    assert isinstance(client._real(), Langfuse)
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = client.no_such_thing
    with pytest.raises(AttributeError, match="_private"):
        _ = client._private


def test_settings_the_sdk_would_choke_on_do_not_reach_it(server, config, monkeypatch):
    odd = {
        "LANGFUSE_TIMEOUT": "2.5",
        "LANGFUSE_FLUSH_INTERVAL": "0",
        "LANGFUSE_FLUSH_AT": "5000",
        "LANGFUSE_SAMPLE_RATE": "1.0",
        "LANGFUSE_BASE_URL": f"{server.url}/",
    }
    for name, value in odd.items():
        monkeypatch.setenv(name, value)
    assert config(**odd).get_client().auth_check() is True


def test_spans_of_the_sdk_take_our_lane_and_keep_what_they_say(server, config):
    from opentelemetry import trace

    before = trace.get_tracer_provider()
    chosen = config()
    client = chosen.get_client()
    root = client.start_observation(name="root", input={"q": 1})
    child = root.start_observation(
        name="child",
        as_type="generation",
        model="gpt-4",
        input=[{"role": "user", "content": "Hi"}],
        output="Hello",
        usage_details={"input": 3, "output": 4},
        metadata={"k": "v"},
    )
    child.end()
    root.end()
    flushed = chosen.flush()
    assert flushed["backends"]["langfuse"]["delivered"] == 2
    found = server.named("child")
    assert found["parent"] == server.named("root")["id"]
    assert (found["traceId"], found["id"]) == (child.trace_id, child.id)
    attributes = found["attributes"]
    assert attributes["langfuse.observation.type"] == "generation"
    assert attributes["langfuse.observation.model.name"] == "gpt-4"
    assert attributes["langfuse.observation.output"] == "Hello"
    assert json.loads(attributes["langfuse.observation.usage_details"]) == {"input": 3, "output": 4}
    assert attributes["langfuse.environment"] == "production"
    assert trace.get_tracer_provider() is before
    assert {r.headers["x-langfuse-sdk-name"] for r in server.requests("/v1/traces")} == {"gatewayz"}


def test_a_fetched_prompt_links_a_generation_and_is_cached(server, config):
    server.prompts["weather"] = PROMPT
    chosen = config()
    client = chosen.get_client()
    prompt = client.get_prompt("weather")
    assert client.get_prompt("weather").compile(city="Zürich") == "Is it raining in Zürich?"
    client.trace(name="t").generation(name="linked", prompt=prompt).end()
    with chosen.tracer.trace_inference("openai", "gpt-4o-mini", name="facade") as ctx:
        ctx.set_prompt(prompt)
    chosen.flush()
    for name in ("linked", "facade"):
        attributes = server.named(name)["attributes"]
        assert attributes["langfuse.observation.prompt.name"] == "weather"
        assert attributes["langfuse.observation.prompt.version"] == 3
    assert len(server.requests("/v2/prompts/weather")) == 1


BESIDE = """
import json, sys
from opentelemetry import trace
before = trace.get_tracer_provider()
from langfuse import Langfuse
from opentelemetry.sdk.trace import TracerProvider
from gatewayz import AITracer
from gatewayz_langfuse import LangfuseConfig
address, public, secret, order = sys.argv[1:]

def theirs():
    return Langfuse(public_key=public, secret_key=secret, base_url=address,
                    tracer_provider=TracerProvider())

def ours():
    client = LangfuseConfig.get_client()
    client.start_observation(name="ours, by their SDK").end()
    return client

own, client = (theirs(), ours()) if order == "theirs first" else (ours(), theirs())[::-1]
own.start_observation(name="theirs").end()
client.trace(name="ours, v2").update(output="x")
with AITracer.trace_inference("openai", "gpt-4o-mini", name="ours, facade"):
    pass
own.flush()
LangfuseConfig.flush()
print(json.dumps([trace.get_tracer_provider() is before]))
own.shutdown()
AITracer.shutdown()
"""


@pytest.mark.parametrize("order", ["theirs first", "ours first"])
def test_a_client_of_the_users_own_works_beside_ours(server, order, tmp_path):
    server.keys[OWN_PUBLIC] = OWN_SECRET
    done = subprocess.run(
        [sys.executable, "-c", BESIDE, server.url, OWN_PUBLIC, OWN_SECRET, order],
        env={**server.environ(), "PATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True]
    names = sorted(o["name"] for o in server.observations.values())
    assert names == ["ours, by their SDK", "ours, facade", "ours, v2", "theirs"]
    assert server.spans_received == 4
    senders = {}
    for request in server.requests("/v1/traces"):
        for name in names:
            if name.encode() in request.body:
                senders.setdefault(name, []).append(request.headers["x-langfuse-public-key"])
    ours = server.environ()["LANGFUSE_PUBLIC_KEY"]
    assert senders.pop("theirs") == [OWN_PUBLIC]
    assert {key for keys in senders.values() for key in keys} == {ours}


def test_without_content_the_sdks_spans_have_none_either(server, config):
    chosen = config(LANGFUSE_CAPTURE_CONTENT="false")
    client = chosen.get_client()
    client.start_observation(
        name="quiet", as_type="generation", input="private", output="private", model="m"
    ).end()
    chosen.flush()
    found = server.named("quiet")
    assert "private" not in json.dumps(found)
    assert found["attributes"]["langfuse.observation.model.name"] == "m"
