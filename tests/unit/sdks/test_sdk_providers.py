"""Who answers behind a base URL, and how a tee behaves before a stream of any kind."""

import gc

import httpx
import httpx2
import pytest

from gatewayz.sdks.providers import Answerers, provider_of
from gatewayz.sdks.streams import tee


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api.openai.com", "openai"),
        ("eu.api.openai.com", "openai"),
        ("API.OpenAI.com.", "openai"),
        ("acme.openai.azure.com", "azure"),
        ("openrouter.ai", "openrouter"),
        ("api.anthropic.com", "anthropic"),
        ("us-east5-aiplatform.googleapis.com", "google"),
        ("bedrock-runtime.eu-west-1.amazonaws.com", "aws"),
        ("api.openai.com.evil.example", "api.openai.com.evil.example"),
        ("notopenrouter.ai", "notopenrouter.ai"),
        ("llm.acme.internal", "llm.acme.internal"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("", ""),
    ],
)
def test_a_provider_is_known_by_its_host(host, provider):
    assert provider_of(host) == provider


def test_who_answered_is_remembered_and_the_oldest_forgotten():
    answerers = Answerers(max_hosts=2)
    assert answerers.is_provider("api.openai.com:https")
    assert not answerers.is_provider("10.0.0.1:8000")
    answerers.note("10.0.0.1:8000", gateway=False)
    assert answerers.is_provider("10.0.0.1:8000")
    answerers.note("10.0.0.1:8000", gateway=True)
    assert not answerers.is_provider("10.0.0.1:8000")
    answerers.note("b:1", gateway=False)
    answerers.note("c:1", gateway=False)
    answerers.note("10.0.0.1:8000", gateway=False)
    assert not answerers.is_provider("b:1")


class Watches:
    def __init__(self):
        self.seen = []

    def chunk(self, chunk):
        self.seen.append(chunk)

    def complete(self):
        self.seen.append("complete")

    def broken(self, error):
        self.seen.append(error)

    def left(self):
        self.seen.append("left")


def stream_of(module, *parts):
    class Sync(module.SyncByteStream):
        elapsed = "delegated"

        def __iter__(self):
            for part in parts:
                if isinstance(part, Exception):
                    raise part
                yield part

    return Sync()


def async_stream_of(module, *parts):
    class Async(module.AsyncByteStream):
        async def __aiter__(self):
            for part in parts:
                if isinstance(part, Exception):
                    raise part
                yield part

    return Async()


@pytest.mark.parametrize("module", [httpx, httpx2])
def test_bytes_pass_untouched_and_the_end_is_seen(module):
    watches = Watches()
    response = module.Response(200, stream=stream_of(module, b"a", b"", b"bc"))
    tee(response, watches)
    assert response.stream.elapsed == "delegated"
    assert isinstance(response.stream, module.SyncByteStream)
    assert not isinstance(response.stream, module.AsyncByteStream)
    assert response.read() == b"abc"
    assert watches.seen[:4] == [b"a", b"", b"bc", "complete"]


@pytest.mark.parametrize("module", [httpx, httpx2])
async def test_an_async_stream_passes_too(module):
    watches = Watches()
    response = module.Response(200, stream=async_stream_of(module, b"a", b"bc"))
    tee(response, watches)
    assert await response.aread() == b"abc"
    assert watches.seen[:3] == [b"a", b"bc", "complete"]


@pytest.mark.parametrize("module", [httpx, httpx2])
def test_a_failure_is_reported_and_raised_on(module):
    watches, error = Watches(), module.ReadError("gone")
    response = module.Response(200, stream=stream_of(module, b"a", error))
    tee(response, watches)
    with pytest.raises(module.ReadError) as raised:
        response.read()
    assert raised.value is error
    assert watches.seen[:2] == [b"a", error]


@pytest.mark.parametrize("module", [httpx, httpx2])
def test_what_nobody_reads_is_left_once_it_is_gone(module):
    watches = Watches()
    response = module.Response(200, stream=stream_of(module, b"a"))
    tee(response, watches)
    assert watches.seen == []
    del response
    gc.collect()
    assert watches.seen == ["left"]


def test_what_is_no_stream_of_httpx_is_refused():
    class Response:
        stream = object()

    with pytest.raises(TypeError, match="no byte stream"):
        tee(Response(), Watches())
