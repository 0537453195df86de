"""The whole contract, from one class; and what this webhook in particular is sent."""

from gatewayz_webhook import Webhook

from gatewayz.testing import BackendConformance, RecordingSink, an_event


class TestWebhook(BackendConformance):
    backend = "webhook"


def test_a_batch_is_one_json_array():
    with RecordingSink() as sink:
        webhook = Webhook(Webhook.Settings(url=sink.url))
        event = an_event(output={"role": "assistant", "content": "Hello"})

        webhook.export([webhook.on_end(event)], timeout_s=5.0)

    (request,) = sink.requests
    (sent,) = request.json()
    assert request.method == "POST"
    assert sent["span_id"] == event.span_id
    assert sent["output"]["content"] == "Hello"
    assert sent["usage"]["cache_read_tokens"] == 1000
