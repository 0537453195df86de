"""The same call over gRPC, against a real server: what each status code means."""

from __future__ import annotations

import contextlib
import threading
from concurrent import futures

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from gatewayz.errors import Misconfigured, Refused, Retry, SettingsError, TooLarge
from gatewayz.otlp import encoder
from gatewayz.otlp.sender import OtlpGrpcSender, PartialSuccess
from gatewayz.testing.sink import dead_address

grpc = pytest.importorskip("grpc")

METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
BODY = encoder.request(encoder.resource({"service.name": "api"}), encoder.scope("s"), [])


class Collector(grpc.GenericRpcHandler):
    """Takes what OTLP's TraceService is sent; `answer(context)` makes the answer."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.metadata: list[dict[str, str]] = []
        self.answer = lambda _context: b""

    def service(self, details):
        if details.method != METHOD:
            return None
        return grpc.unary_unary_rpc_method_handler(self._export)

    def _export(self, request, context):
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        return self.answer(context)


@pytest.fixture
def collector():
    with serving(Collector()) as (handler, address):
        handler.address = address
        yield handler


@contextlib.contextmanager
def serving(handler, options=()):
    server = grpc.server(futures.ThreadPoolExecutor(4), options=options)
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield handler, f"http://127.0.0.1:{port}"
    server.stop(None).wait(5)


@pytest.fixture
def sender(collector):
    made = OtlpGrpcSender(
        collector.address, {"X-Scope-OrgID": "team", "authorization": "Bearer abc"}
    )
    yield made
    made.close()


def test_the_body_and_the_headers_arrive(collector, sender):
    assert sender.send(BODY, 5) is None
    (request,) = collector.requests
    assert ExportTraceServiceRequest.FromString(request).resource_spans
    assert collector.metadata[0]["x-scope-orgid"] == "team"
    assert collector.metadata[0]["authorization"] == "Bearer abc"
    assert collector.metadata[0]["user-agent"].startswith("gatewayz")


def test_without_compression_the_same_arrives(collector):
    sender = OtlpGrpcSender(collector.address, {}, compression="none")
    sender.send(BODY, 5)
    assert collector.requests == [BODY]


def test_host_and_port_without_tls_when_insecure(collector):
    address = collector.address.removeprefix("http://")
    assert OtlpGrpcSender(address, {}, insecure=True).send(BODY, 5) is None


def test_a_sender_works_after_it_was_closed(collector, sender):
    sender.send(BODY, 5)
    sender.close()
    sender.close()
    sender.send(BODY, 5)
    assert len(collector.requests) == 2


def test_a_partial_success_is_told(collector, sender):
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 2
    answer.partial_success.error_message = "too old"
    collector.answer = lambda _context: answer.SerializeToString()
    assert sender.send(BODY, 5) == PartialSuccess(2, "too old")


def test_garbage_leaves_the_outcome_unknown(collector, sender):
    collector.answer = lambda _context: b"\xff\xfe garbage"
    with pytest.raises(Retry, match="garbage"):
        sender.send(BODY, 5)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("UNAUTHENTICATED", Misconfigured),
        ("PERMISSION_DENIED", Misconfigured),
        ("UNIMPLEMENTED", Misconfigured),
        ("NOT_FOUND", Misconfigured),
        ("INVALID_ARGUMENT", Refused),
        ("FAILED_PRECONDITION", Refused),
        ("RESOURCE_EXHAUSTED", Retry),
        ("UNAVAILABLE", Retry),
        ("DEADLINE_EXCEEDED", Retry),
        ("ABORTED", Retry),
        ("INTERNAL", Retry),
        ("UNKNOWN", Retry),
    ],
)
def test_each_status_code_means_what_the_contract_says(collector, sender, code, expected):
    collector.answer = lambda context: context.abort(getattr(grpc.StatusCode, code), "why not")
    with pytest.raises(expected, match=f"gRPC {code}: why not"):
        sender.send(BODY, 5)
    assert len(collector.requests) == 1


def test_the_wait_that_was_asked_for_is_honoured(collector, sender):
    def answer(context):
        # google.rpc.Status{code: 8, details: Any{RetryInfo{retry_delay: 7s}}}
        info = b"\x0a\x02\x08\x07"
        name = b"type.googleapis.com/google.rpc.RetryInfo"
        detail = b"\x0a" + bytes((len(name),)) + name + b"\x12" + bytes((len(info),)) + info
        status = b"\x08\x08\x1a" + bytes((len(detail),)) + detail
        context.set_trailing_metadata((("grpc-status-details-bin", status),))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down")

    collector.answer = answer
    with pytest.raises(Retry) as caught:
        sender.send(BODY, 5)
    assert caught.value.after_s == 7


def test_a_request_the_server_finds_too_big_is_halved_by_the_lane():
    with serving(Collector(), [("grpc.max_receive_message_length", 100)]) as (_, address):
        sender = OtlpGrpcSender(address, {}, compression="none")
        with pytest.raises(TooLarge):
            sender.send(b"\x0a\x02\x0a\x00" * 1000, 5)
        sender.close()


def test_an_answer_too_big_to_read_leaves_the_outcome_unknown(collector, sender):
    collector.answer = lambda _context: b"\x0a\x00" * 100_000
    with pytest.raises(Retry):
        sender.send(BODY, 5)


def test_a_server_that_hangs_is_given_up_in_time(collector, sender):
    released = threading.Event()
    collector.answer = lambda _context: released.wait(10) and b""
    errors: list[Exception] = []

    def run() -> None:
        try:
            sender.send(BODY, 0.3)
        except Retry as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(2)
    released.set()
    assert not thread.is_alive()
    assert "DEADLINE_EXCEEDED" in str(errors[0])


def test_a_refused_connection_is_tried_again():
    sender = OtlpGrpcSender(dead_address(), {})
    with pytest.raises(Retry, match="UNAVAILABLE"):
        sender.send(BODY, 2)
    sender.close()


def test_tls_to_a_server_without_it_is_a_wrong_setting(collector):
    sender = OtlpGrpcSender(collector.address.replace("http", "https"), {})
    with pytest.raises(Misconfigured, match="https"):
        sender.send(BODY, 3)
    sender.close()


def test_a_server_that_echoes_the_key_does_not_get_it_shown(collector):
    sender = OtlpGrpcSender(collector.address, {"authorization": "Bearer secret-canary-1"})
    collector.answer = lambda context: context.abort(
        grpc.StatusCode.UNAUTHENTICATED, "not valid: secret-canary-1"
    )
    with pytest.raises(Misconfigured) as caught:
        sender.send(BODY, 5)
    assert "secret-canary-1" not in str(caught.value)


def test_a_header_with_a_line_break_is_refused_at_once():
    with pytest.raises(SettingsError, match="line break"):
        OtlpGrpcSender("http://127.0.0.1:1", {"a": "x\r\nevil: 1"})


def test_a_certificate_file_that_is_not_there_is_named():
    with pytest.raises(SettingsError, match=r"/nowhere/x\.pem"):
        OtlpGrpcSender("https://127.0.0.1:1", {}, certificate="/nowhere/x.pem")
