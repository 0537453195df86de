"""Whose key goes where: clients' keys stay here, the server's own never come out."""

import gzip
import json
import logging

import pytest

pytestmark = pytest.mark.timeout(60)

ANSWER = {"id": "c1", "object": "chat.completion", "model": "m", "choices": [], "usage": None}
CLIENT_KEY = "gwkey-CANARY-client-1"
SERVER_KEY = "sk-CANARY-server-2"
OWN_KEY = "sk-CANARY-own-3"
FORMS = {
    "bearer": lambda key: {"authorization": f"Bearer {key}"},
    "x-api-key": lambda key: {"x-api-key": key},
    "x-gatewayz-api-key": lambda key: {"x-gatewayz-api-key": key},
}


async def answers(asked):
    await asked.send_json(ANSWER)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("server_key", [SERVER_KEY, ""])
async def test_a_clients_key_opens_the_gateway_and_never_reaches_an_upstream(
    gateway, upstream, caplog, form, server_key
):
    caplog.set_level(logging.DEBUG)
    server = await upstream(answers)
    one = await gateway(
        OPENAI_BASE_URL=server.base,
        OPENAI_API_KEY=server_key,
        ANTHROPIC_BASE_URL=server.base,
        ANTHROPIC_API_KEY=server_key,
        GATEWAYZ_API_KEYS=f"blue:{CLIENT_KEY},red:other",
    )
    keys = FORMS[form](CLIENT_KEY)
    assert (await one.client.post(**one.chat(model="m"), headers=keys)).status_code == 200
    request = one.messages(model="m")
    request["headers"] |= keys
    assert (await one.client.post(**request)).status_code == 200
    assert (await one.client.post("/v1/embeddings", json={}, headers=keys)).status_code == 200
    assert len(server.asked) == 3
    for asked in server.asked:
        assert CLIENT_KEY.encode() not in asked.raw
    if server_key:
        assert server.asked[0].header("authorization") == f"Bearer {SERVER_KEY}"
        assert server.asked[1].header("x-api-key") == SERVER_KEY
        assert server.asked[1].header("authorization") is None
    events = await one.events(2)
    assert [e.team for e in events] == ["blue", "blue"]
    for canary in (CLIENT_KEY, SERVER_KEY):
        assert canary not in repr(events)
        assert canary not in caplog.text
        assert canary not in json.dumps(one.tracer.status())


async def test_a_clients_own_provider_key_passes_where_the_server_has_none(gateway, upstream):
    server = await upstream(answers)
    one = await gateway(OPENAI_BASE_URL=server.base, GATEWAYZ_API_KEYS=CLIENT_KEY)
    headers = {"x-gatewayz-api-key": CLIENT_KEY, "authorization": f"Bearer {OWN_KEY}"}
    assert (await one.client.post(**one.chat(model="m"), headers=headers)).status_code == 200
    assert server.asked[0].header("authorization") == f"Bearer {OWN_KEY}"
    assert OWN_KEY not in repr(await one.events())


async def test_a_clients_own_provider_key_is_replaced_where_the_server_has_one(gateway, upstream):
    server = await upstream(answers)
    one = await gateway(OPENAI_BASE_URL=server.base, OPENAI_API_KEY=SERVER_KEY)
    headers = {"authorization": f"Bearer {OWN_KEY}", "x-api-key": OWN_KEY, "api-key": OWN_KEY}
    assert (await one.client.post(**one.chat(model="m"), headers=headers)).status_code == 200
    assert OWN_KEY.encode() not in server.asked[0].raw
    assert server.asked[0].header("authorization") == f"Bearer {SERVER_KEY}"


async def test_anthropics_newer_api_versions_get_a_bearer_token(gateway, upstream):
    server = await upstream(answers)
    one = await gateway(ANTHROPIC_BASE_URL=server.base, ANTHROPIC_API_KEY=SERVER_KEY)
    request = one.messages(model="m")
    request["headers"]["anthropic-version"] = "2026-10-21"
    await one.client.post(**request)
    assert server.asked[0].header("authorization") == f"Bearer {SERVER_KEY}"
    assert server.asked[0].header("x-api-key") is None
    assert server.asked[0].header("anthropic-version") == "2026-10-21"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": CLIENT_KEY[:-1]},
        {"x-api-key": ""},
        {"authorization": b"Bearer \xff\xfe"},
        {"cookie": CLIENT_KEY},
    ],
)
async def test_without_a_key_of_ours_nothing_is_asked_and_nothing_traced(
    gateway, upstream, headers
):
    server = await upstream(answers)
    one = await gateway(OPENAI_BASE_URL=server.base, GATEWAYZ_API_KEYS=CLIENT_KEY)
    response = await one.client.post(**one.chat(model="m"), headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "invalid_api_key"
    assert "GATEWAYZ_API_KEYS" in response.json()["error"]["message"]
    request = one.messages(model="m")
    request["headers"] = {**request["headers"], **headers}
    response = await one.client.post(**request)
    assert response.json()["error"]["type"] == "authentication_error"
    response = await one.client.get("/v1/models", headers=headers)
    assert response.status_code == 401
    assert server.asked == []
    assert one.ledger()["accepted"] == 0


async def test_without_client_keys_other_machines_and_web_pages_are_refused(gateway):
    one = await gateway()
    far = {"x-forwarded-for": "203.0.113.9"}
    response = await one.client.post(**one.chat(), headers=far)
    assert response.status_code == 403
    assert "GATEWAYZ_API_KEYS" in response.json()["error"]["message"]
    response = await one.client.post(**one.chat(), headers={"origin": "https://evil.example"})
    assert response.status_code == 403
    response = await one.client.post(**one.chat(), headers={"origin": "http://localhost:3000"})
    assert response.status_code == 200


@pytest.mark.parametrize("encoding", ["", "gzip"])
@pytest.mark.parametrize("sized", [True, False])
async def test_the_servers_own_key_is_masked_in_a_providers_error(
    gateway, upstream, encoding, sized
):
    error = {
        "error": {"message": f"Incorrect API key: {SERVER_KEY}. Key {SERVER_KEY}", "type": "x"}
    }
    body = json.dumps(error).encode()
    packed = gzip.compress(body) if encoding else body

    async def answer(asked):
        head = (
            b"HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\nconnection: close\r\n"
        )
        head += f"www-authenticate: Bearer {SERVER_KEY}\r\n".encode()
        if encoding:
            head += b"content-encoding: gzip\r\n"
        if sized:
            head += f"content-length: {len(packed)}\r\n".encode()
        await asked.send(head + b"\r\n")
        for i in range(0, len(packed), 5):
            await asked.send(packed[i : i + 5])

    server = await upstream(answer)
    one = await gateway(OPENAI_BASE_URL=server.base, OPENAI_API_KEY=SERVER_KEY)
    response = await one.client.post(**one.chat(model="m"))
    assert response.status_code == 401
    masked = "*" * len(SERVER_KEY)
    assert response.json()["error"]["message"] == f"Incorrect API key: {masked}. Key {masked}"
    assert SERVER_KEY not in str(response.headers)
    event = await one.event()
    assert SERVER_KEY not in repr(event)
    assert event.error.status == 401
