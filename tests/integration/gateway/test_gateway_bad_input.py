"""Input that cannot be served: a clear answer in the caller's format, traced as what it was."""

import json

import pytest

from gatewayz.errors import SettingsError
from gatewayz.gateway import create_app

pytestmark = pytest.mark.timeout(60)


async def never(asked):
    pytest.fail("the upstream was asked")


def chat_body(**fields):
    return json.dumps({"model": "m", "messages": [], **fields}).encode()


BAD = {
    "not JSON": (b"{nope", "not valid JSON"),
    "empty": (b"", "not valid JSON"),
    "not an object": (b"[1]", "must be a JSON object"),
    "no model": (b'{"messages":[]}', "`model` is required"),
    "null model": (chat_body(model=None), "`model` is required"),
    "empty model": (chat_body(model=""), "`model` is required"),
    "model no text": (chat_body(model=5), "`model` must be a string"),
    "nested too deeply": (b'{"model":"m","x":' + b"[" * 100_000, ""),
    "not UTF-8": (b'{"model":"\xff\xfe', ""),
}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("name", BAD)
async def test_a_body_that_cannot_be_routed_is_a_400(gateway, upstream, path, name):
    body, words = BAD[name]
    server = await upstream(never)
    one = await gateway(OPENAI_BASE_URL=server.base, ANTHROPIC_BASE_URL=server.base)
    response = await one.client.post(path, content=body)
    assert response.status_code == 400
    answer = response.json()
    assert words in answer["error"]["message"]
    assert answer["error"]["type"] == "invalid_request_error"
    assert ("type" in answer) == (path == "/v1/messages")
    event = await one.event()
    assert response.headers["x-gatewayz-trace-id"] == event.trace_id
    assert (event.outcome, event.error.status, event.usage) == ("error", 400, None)


async def test_an_upstream_of_the_other_wire_format_is_a_400_that_says_so(gateway, upstream):
    server = await upstream(never)
    one = await gateway(OPENAI_BASE_URL=server.base, ANTHROPIC_BASE_URL=server.base)
    response = await one.client.post(**one.chat(model="anthropic/claude-sonnet-4-5"))
    assert response.status_code == 400
    message = response.json()["error"]["message"]
    assert "'anthropic' speaks Anthropic's wire format" in message
    assert "/v1/messages" in message
    assert "openai/anthropic/claude-sonnet-4-5" in message
    response = await one.client.post(**one.messages(model="openai/gpt-4o"))
    assert response.status_code == 400
    assert "/v1/chat/completions" in response.json()["error"]["message"]
    assert [e.outcome for e in await one.events(2)] == ["error", "error"]


async def test_a_default_of_the_other_wire_format_is_a_400_rather_than_an_echo(gateway, upstream):
    server = await upstream(never)
    one = await gateway(ANTHROPIC_BASE_URL=server.base, GATEWAYZ_DEFAULT_PROVIDER="anthropic")
    response = await one.client.post(**one.chat(model="gpt-4o"))
    assert response.status_code == 400
    assert "Anthropic's wire format" in response.json()["error"]["message"]
    assert (await one.client.post(**one.chat(model="echo/echo"))).status_code == 200
    response = await one.client.get("/v1/models")
    assert response.status_code == 400


async def large(size):
    piece = b"x" * 1_000_000
    for _ in range(size // len(piece)):
        yield piece


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_that_is_too_large_is_a_413(gateway, upstream, declared):
    server = await upstream(never)
    one = await gateway(OPENAI_BASE_URL=server.base)
    size = 50_000_000
    headers = {"content-length": str(size)} if declared else {}
    response = await one.client.post("/v1/chat/completions", content=large(size), headers=headers)
    assert response.status_code == 413
    assert "GATEWAYZ_MAX_BODY_BYTES" in response.json()["error"]["message"]
    response = await one.client.post("/v1/messages", content=large(size), headers=headers)
    assert response.json()["error"]["type"] == "request_too_large"
    events = await one.events(2)
    assert [(e.outcome, e.error.status, e.input_json) for e in events] == [("error", 413, None)] * 2


async def test_a_compressed_body_that_unfolds_beyond_the_bound_is_a_413(gateway, upstream):
    import gzip

    server = await upstream(never)
    one = await gateway(OPENAI_BASE_URL=server.base, GATEWAYZ_MAX_BODY_BYTES=100_000)
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 100_000
    for body, encoding, status in (
        (bomb, "gzip", 413),
        (gzip.compress(b"{}")[:-4], "gzip", 400),
        (b"nope", "gzip", 400),
        (b"{}", "br", 415),
    ):
        response = await one.client.post(
            "/v1/chat/completions", content=body, headers={"content-encoding": encoding}
        )
        assert response.status_code == status, encoding


@pytest.mark.parametrize(
    "path", ["/v1/../admin", "/v1/%2e%2e/admin", "/v1/a/..%2f..", "/v1/x%5c..%5c"]
)
async def test_a_path_that_would_leave_v1_at_the_upstream_is_a_400(gateway, upstream, path):
    import asyncio

    server = await upstream(never)
    one = await gateway(OPENAI_BASE_URL=server.base + "/v1")
    host, port = one.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"segments" in answer


async def test_feedback_is_never_forwarded_to_a_provider(gateway, upstream):
    server = await upstream(never)
    one = await gateway(OPENAI_BASE_URL=server.base)
    response = await one.client.post("/v1/feedback", json={})
    assert response.status_code < 500


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("OPENAI_BASE_URL", "htp://example", "http:// or https://"),
        ("OPENAI_BASE_URL", "http://example:99999", "port"),
        ("OPENAI_API_KEY", "sk-secret\nx: y", "one line"),
        ("GATEWAYZ_API_KEYS", "team one:secret", "entry 1"),
        ("GATEWAYZ_API_KEYS", "a:secret,b:", "entry 2"),
        ("GATEWAYZ_API_KEYS", "a:secret,b:secret", "entries 1 and 2"),
        ("GATEWAYZ_DEFAULT_PROVIDER", "secret", "configured: echo"),
        ("GATEWAYZ_STREAM_USAGE", "secret", "'auto', 'ask' or 'off'"),
        ("GATEWAYZ_MAX_BODY_BYTES", "secret", "integer"),
        ("GATEWAYZ_HEADER_ATTRIBUTES", "secret", "header:attribute"),
        ("GATEWAYZ_HEADER_ATTRIBUTES", "authorization:secret", "credentials"),
        ("GATEWAYZ_UPSTREAM_X_URL", "secret", "http:// or https://"),
        ("GATEWAYZ_UPSTREAM_X_KEY", "secret", "GATEWAYZ_UPSTREAM_X_URL is required"),
        ("GATEWAYZ_UPSTREAM_ECHO_URL", "http://secret", "built in"),
        ("GATEWAYZ_TRACING_ENABLED", "ture", "true, false"),
    ],
)
def test_a_wrong_setting_names_the_variable_and_the_cure_never_the_value(variable, value, words):
    with pytest.raises(SettingsError) as caught:
        create_app(environ={variable: value})
    assert variable in str(caught.value)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value).replace("configured", "")


def test_upstreams_can_be_named_in_the_file_and_the_environment_wins(tmp_path):
    from gatewayz.gateway.settings import load_gateway
    from gatewayz.settings import Config

    path = tmp_path / "gatewayz.toml"
    path.write_text(
        '[upstreams.vllm]\nurl = "http://127.0.0.1:8000"\nkey = "env:VLLM"\n'
        '[upstreams.claude-proxy]\nurl = "http://127.0.0.1:8001/v1"\nformat = "anthropic"\n'
        '[upstreams.openai]\nkey = "from-the-file"\n'
    )
    environ = {
        "GATEWAYZ_CONFIG": str(path),
        "VLLM": "vllm-key",
        "OPENAI_API_KEY": "from-the-environment",
        "GATEWAYZ_UPSTREAM_CLAUDE_PROXY_KEY": "k2",
    }
    found = load_gateway(Config.load(environ)).upstreams
    assert list(found) == ["openai", "claude-proxy", "vllm", "echo"]
    assert found["vllm"].url("/v1/chat/completions", "a=b") == (
        "http://127.0.0.1:8000/v1/chat/completions?a=b"
    )
    assert found["vllm"].key == "vllm-key"
    assert found["claude-proxy"].url("/v1/messages", "") == "http://127.0.0.1:8001/v1/messages"
    assert found["claude-proxy"].key == "k2"
    assert found["openai"].key == "from-the-environment"
    assert "k2" not in repr(found)
    path.write_text('[upstreams.vllm]\nurl = "http://127.0.0.1:8000"\nkeyy = "x"\n')
    del environ["GATEWAYZ_UPSTREAM_CLAUDE_PROXY_KEY"]
    with pytest.raises(SettingsError, match="unknown key 'keyy'; known: url, key, format"):
        load_gateway(Config.load(environ))
