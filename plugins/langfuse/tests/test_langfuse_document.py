"""Every example of langfuse-integration.md that needs no served gateway, taken from it and executed.

The ones with curl are executed against `gatewayz serve` by the tests of the whole.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gatewayz.settings import Config, env_names, load
from gatewayz_langfuse import LangfuseConfig, LangfuseSettings

DOCUMENT = Path(__file__).parents[3] / "docs" / "langfuse-integration.md"
pytestmark = pytest.mark.skipif(not DOCUMENT.exists(), reason="not in a source tree")

RUN = """
import ast, asyncio, inspect, sys, types
source = sys.stdin.read()
messages = [{"role": "user", "content": "Is it raining?"}]
prompt_tokens, completion_tokens = 12, 5

class Response:
    usage = types.SimpleNamespace(prompt_tokens=12, completion_tokens=5)
    def model_dump(self, **_):
        return {"role": "assistant", "content": "No."}

response = Response()

async def call_model(given):
    assert given is messages
    return response

scope = dict(globals())
code = compile(source, "langfuse-integration.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
found = eval(code, scope)
if inspect.isawaitable(found):
    asyncio.run(found)
from gatewayz import AITracer
assert AITracer.flush(10)["complete"]
"""


def fenced(language: str) -> list[str]:
    text = DOCUMENT.read_text(encoding="utf-8")
    blocks = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE) for indent, body in blocks]


def assignments(block: str) -> dict[str, str]:
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", block, re.MULTILINE))


def execute(example: str, environ: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=example,
        env={**environ, "PATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def environ(server):
    """Return the document's own configuration, with the host and the keys replaced."""
    (block,) = [b for b in fenced("bash") if "LANGFUSE_ENABLED" in b]
    found = assignments(block)
    assert len(found) == 7
    return {**found, **{k: server.environ()[k] for k in found if k.endswith(("_KEY", "_HOST"))}}


def example(*words: str) -> str:
    (found,) = [b for b in fenced("python") if all(word in b for word in words)]
    return found


def test_the_document_is_the_one_that_was_given():
    given = DOCUMENT.parents[2] / "shared" / DOCUMENT.name
    if not given.exists():
        pytest.skip("the given document is not here")
    assert given.read_bytes() == DOCUMENT.read_bytes()


def test_every_example_has_its_test():
    assert len(fenced("python")) == 3
    rest = [b for b in fenced("bash") if "curl" not in b]
    assert [sorted(assignments(b)) for b in rest[1:]] == [["LANGFUSE_DEBUG"]]


def test_manual_tracing(server, environ, tmp_path):
    execute(example("AITracer.trace_inference"), environ, tmp_path)
    (found,) = server.observations.values()
    attributes = found["attributes"]
    assert attributes["langfuse.observation.type"] == "generation"
    assert attributes["langfuse.observation.model.name"] == "gpt-4"
    assert attributes["langfuse.trace.tags"] == ["openrouter"]
    assert attributes["user.id"] == "user_123"
    assert attributes["session.id"] == "session_456"
    assert json.loads(attributes["langfuse.observation.input"])[0]["content"] == "Is it raining?"
    assert json.loads(attributes["langfuse.observation.output"])["content"] == "No."
    usage = json.loads(attributes["langfuse.observation.usage_details"])
    assert usage == {"input": 12, "output": 5}
    assert json.loads(attributes["langfuse.observation.cost_details"]) == {"total": 0.0023}


def test_using_langfuse_directly(server, environ, tmp_path):
    execute(example("LangfuseConfig.get_client()"), environ, tmp_path)
    trace, generation = server.named("my_operation"), server.named("gpt-4")
    assert generation["parent"] == trace["id"]
    assert trace["attributes"]["user.id"] == "user_123"
    assert trace["attributes"]["langfuse.trace.metadata.custom_field"] == "value"
    found = generation["attributes"]
    assert found["langfuse.observation.model.name"] == "gpt-4"
    usage = json.loads(found["langfuse.observation.usage_details"])
    assert usage == {"input": 12, "output": 5}
    assert json.loads(found["langfuse.observation.output"])["content"] == "No."


def test_using_langfuse_directly_where_it_is_off(server, environ, tmp_path):
    off = {**environ, "LANGFUSE_ENABLED": "false"}
    execute(example("LangfuseConfig.get_client()"), off, tmp_path)
    assert not server.observations


def test_scoring(server, environ, tmp_path):
    execute(example("LangfuseTracer.trace_generation"), environ, tmp_path)
    (found,) = server.observations.values()
    (score,) = server.scores.values()
    assert found["attributes"]["langfuse.trace.tags"] == ["openrouter"]
    assert (score["traceId"], score["observationId"]) == (found["traceId"], found["id"])
    assert (score["name"], score["value"]) == ("user_rating", 4.5)
    assert score["comment"] == "User gave positive feedback"


def test_the_table_of_variables_is_what_the_settings_say(server):
    rows = re.findall(
        r"^\| `(LANGFUSE_\w+)` \| (\S+) \| (\S+) \|", DOCUMENT.read_text(), re.MULTILINE
    )
    assert len(rows) == 7
    keys = {"LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": "sk-lf-1"}
    settings, _ = load(LangfuseSettings, Config(keys, {}), instance="langfuse")
    fields = {
        env_names(LangfuseSettings, f, "LANGFUSE_")[0]: f for f in LangfuseSettings.model_fields
    }
    for variable, required, default in rows:
        if variable == "LANGFUSE_ENABLED":
            continue
        field = LangfuseSettings.model_fields[fields[variable]]
        assert field.is_required() is required.startswith("Yes")
        if default != "-":
            value = getattr(settings, fields[variable])
            assert str(value).lower() == default.strip("`")


def test_the_documented_status_has_these_keys(server, traced):
    (block,) = fenced("json")

    class Config_(LangfuseConfig):
        tracer = traced()

    assert Config_.status() == {**json.loads(block), "host": server.url}


def test_the_example_of_our_own_page(server, environ, tmp_path):
    page = DOCUMENT.with_name("langfuse.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    execute(code, environ, tmp_path)
    assert {o["name"] for o in server.observations.values()} == {
        "checkout",
        "look up the order",
        "answer",
    }
    usage = server.named("answer")["attributes"]["langfuse.observation.usage_details"]
    assert json.loads(usage) == {"input": 40, "output": 5}
    assert [s["name"] for s in server.scores.values()] == ["helpful"]
