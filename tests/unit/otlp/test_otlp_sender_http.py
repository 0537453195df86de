"""One call over HTTP: what each answer and each way of failing means, and always within the time."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from gatewayz.errors import Misconfigured, Refused, Retry, SettingsError, TooLarge
from gatewayz.otlp.sender import OtlpHttpSender, PartialSuccess, gzip_of
from gatewayz.testing.sink import (
    RecordingSink,
    dead_address,
    drip,
    hang,
    in_turn,
    ok,
    redirect,
    reset,
    status,
)

PROTOBUF = {"Content-Type": "application/x-protobuf"}
BODY = b"\x0a\x00" * 100


def partial(rejected: int, message: str) -> bytes:
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = rejected
    answer.partial_success.error_message = message
    return answer.SerializeToString()


@pytest.fixture
def sink():
    with RecordingSink(ok(b"", PROTOBUF)) as running:
        yield running


def sender_to(url: str, headers=None, **options) -> OtlpHttpSender:
    return OtlpHttpSender(f"{url}/v1/traces", headers or {}, **options)


@contextlib.contextmanager
def raw_server(talk):
    """Serve each connection with `talk(connection)` on a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        def serve(connection: socket.socket) -> None:
            with contextlib.suppress(OSError), connection:
                talk(connection)

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def answering(raw: bytes):
    """Read one request, answer these bytes, close."""

    def talk(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(raw)

    return talk


def read_request(connection: socket.socket) -> None:
    reader = connection.makefile("rb")
    size = 0
    while (line := reader.readline()) not in {b"\r\n", b""}:
        if line.lower().startswith(b"content-length:"):
            size = int(line.split(b":")[1])
    reader.read(size)


def raised_within(limit_s: float, sender: OtlpHttpSender, timeout_s: float) -> BaseException:
    """Return what `send` raised on a thread of its own; fail where it is still running."""
    caught: list[BaseException] = []

    def run() -> None:
        try:
            sender.send(BODY, timeout_s)
        except Exception as error:
            caught.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit_s)
    assert not thread.is_alive(), f"send() was still running after {limit_s} s"
    assert caught, "send() returned as if all was well"
    return caught[0]


# -- what is sent ----------------------------------------------------------------------------------


def test_the_body_arrives_compressed_with_the_headers(sink):
    sender = sender_to(sink.url, {"Authorization": "Bearer abc", "X-Scope-OrgID": "team"})
    assert sender.send(BODY, 5) is None
    (request,) = sink.requests
    assert (request.method, request.path, request.body) == ("POST", "/v1/traces", BODY)
    assert request.wire_bytes < len(BODY)
    assert request.headers["content-type"] == "application/x-protobuf"
    assert request.headers["content-encoding"] == "gzip"
    assert request.headers["authorization"] == "Bearer abc"
    assert request.headers["x-scope-orgid"] == "team"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"].startswith("gatewayz")


def test_without_compression_the_body_arrives_as_it_is(sink):
    sender_to(sink.url, compression="none").send(BODY, 5)
    assert sink.requests[0].wire_bytes == len(BODY)
    assert "content-encoding" not in sink.requests[0].headers


def test_a_users_content_type_does_not_displace_ours(sink):
    sender_to(sink.url, {"Content-Type": "text/plain"}).send(BODY, 5)
    assert sink.requests[0].headers["content-type"] == "application/x-protobuf"


def test_the_query_of_the_address_is_kept(sink):
    OtlpHttpSender(f"{sink.url}/in?key=1", {}).send(BODY, 5)
    assert (sink.requests[0].path, sink.requests[0].query) == ("/in", "key=1")


def test_a_connection_is_used_again(sink):
    sender = sender_to(sink.url)
    for _ in range(5):
        sender.send(BODY, 5)
    assert len(sink.requests) == 5
    assert sink.connections == 1


def test_a_sender_works_after_it_was_closed(sink):
    sender = sender_to(sink.url)
    sender.send(BODY, 5)
    sender.close()
    sender.close()
    sender.send(BODY, 5)
    assert len(sink.requests) == 2


def test_several_threads_may_send_at_once(sink):
    sender = sender_to(sink.url)
    threads = [threading.Thread(target=sender.send, args=(BODY, 5)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(sink.requests) == 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_opens_a_connection_of_its_own(sink):
    sender = sender_to(sink.url)
    sender.send(BODY, 5)
    child = os.fork()
    if child == 0:
        try:
            sender.send(BODY, 5)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    sender.send(BODY, 5)
    assert len(sink.wait_for(3)) == 3
    assert sink.connections == 2


def test_gzip_is_gzip():
    import gzip

    parts = [BODY * n for n in range(200)]
    assert gzip.decompress(gzip_of(parts)) == b"".join(parts)
    assert gzip.decompress(gzip_of([])) == b""


# -- what a success may look like ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        (PROTOBUF, b"", None),
        (PROTOBUF, partial(0, ""), None),
        (PROTOBUF, partial(2, "too old"), PartialSuccess(2, "too old")),
        (PROTOBUF, partial(0, "soon gone"), PartialSuccess(0, "soon gone")),
        ({}, partial(1, "no"), PartialSuccess(1, "no")),
        ({"Content-Type": "application/json; charset=utf-8"}, b"{}", None),
        (
            {"Content-Type": "application/json"},
            b'{"partialSuccess":{"rejectedSpans":"1","errorMessage":"no"}}',
            PartialSuccess(1, "no"),
        ),
        ({"Content-Type": "text/plain"}, b"ok", None),
    ],
)
def test_what_the_collector_took_is_told(sink, headers, body, expected):
    sink.answer_with(ok(body, headers))
    assert sender_to(sink.url).send(BODY, 5) == expected


def test_a_compressed_answer_is_read_although_none_was_asked_for(sink):
    headers = {**PROTOBUF, "Content-Encoding": "gzip"}
    sink.answer_with(ok(gzip_of([partial(1, "no")]), headers))
    assert sender_to(sink.url).send(BODY, 5) == PartialSuccess(1, "no")


def test_of_a_giant_partial_success_the_number_is_read_and_no_more_than_64_kib(sink):
    sink.answer_with(ok(partial(3, "x" * 5_000_000), PROTOBUF))
    assert sender_to(sink.url).send(BODY, 5) == PartialSuccess(3, "x" * 300)


@pytest.mark.parametrize("headers", [PROTOBUF, {}, {"Content-Type": "application/json"}])
def test_garbage_leaves_the_outcome_unknown(sink, headers):
    sink.answer_with(ok(b"\xff\xfe garbage", headers))
    with pytest.raises(Retry, match="garbage"):
        sender_to(sink.url).send(BODY, 5)


def test_a_web_page_means_a_wrong_path(sink):
    sink.answer_with(ok(b"<html>Sign in</html>", {"Content-Type": "text/html; charset=utf-8"}))
    with pytest.raises(Misconfigured, match="web page"):
        sender_to(sink.url).send(BODY, 5)


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (400, Refused),
        (401, Misconfigured),
        (403, Misconfigured),
        (404, Misconfigured),
        (413, TooLarge),
        (415, Refused),
        (422, Refused),
        (500, Retry),
        (502, Retry),
        (503, Retry),
        (504, Retry),
    ],
)
def test_each_status_means_what_the_contract_says(sink, code, expected):
    sink.answer_with(status(code, {}, b"why not"))
    with pytest.raises(expected, match=f"HTTP {code}: why not"):
        sender_to(sink.url).send(BODY, 5)
    assert len(sink.requests) == 1


def test_429_carries_the_wait_that_was_asked_for(sink):
    sink.answer_with(status(429, {"Retry-After": "7"}))
    with pytest.raises(Retry) as caught:
        sender_to(sink.url).send(BODY, 5)
    assert caught.value.after_s == 7


def test_the_message_of_a_protobuf_error_is_shown_as_words(sink):
    sink.answer_with(status(400, PROTOBUF, b"\x08\x03\x12\x0cbad trace id"))
    with pytest.raises(Refused, match="HTTP 400: bad trace id"):
        sender_to(sink.url).send(BODY, 5)


def test_a_server_that_echoes_the_key_does_not_get_it_shown(sink):
    sink.answer_with(status(401, {}, b"Bearer secret-canary-1 is not valid: secret-canary-1"))
    with pytest.raises(Misconfigured) as caught:
        sender_to(sink.url, {"Authorization": "Bearer secret-canary-1"}).send(BODY, 5)
    assert "secret-canary-1" not in str(caught.value)
    assert "***" in str(caught.value)


def test_a_redirect_is_not_followed(sink):
    with RecordingSink() as elsewhere:
        sink.answer_with(redirect(elsewhere.url))
        with pytest.raises(Misconfigured, match="HTTP 307"):
            sender_to(sink.url, {"Authorization": "Bearer abc"}).send(BODY, 5)
        assert elsewhere.requests == []


def test_a_refusal_with_an_endless_body_is_a_refusal():
    head = b"HTTP/1.1 413 Too Large\r\nContent-Length: 99999999\r\n\r\n"
    with raw_server(answering(head + b"x" * 1_000_000)) as url, pytest.raises(TooLarge):
        sender_to(url).send(BODY, 5)


def test_a_refusal_whose_body_breaks_off_is_a_refusal():
    raw = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 500\r\n\r\nno"
    with raw_server(answering(raw)) as url, pytest.raises(Misconfigured):
        sender_to(url).send(BODY, 5)


# -- failures --------------------------------------------------------------------------------------


def test_a_refused_connection_is_tried_again():
    with pytest.raises(Retry, match="refused"):
        sender_to(dead_address()).send(BODY, 5)


def test_a_host_without_an_address_is_tried_again():
    with pytest.raises(Retry, match="connection: "):
        sender_to("http://nowhere.invalid").send(BODY, 5)


def test_a_reset_leaves_the_outcome_unknown(sink):
    sink.answer_with(reset())
    with pytest.raises(Retry, match="connection: "):
        sender_to(sink.url).send(BODY, 5)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_half_an_answer_leaves_the_outcome_unknown(raw):
    with raw_server(answering(raw)) as url, pytest.raises(Retry):
        sender_to(url).send(BODY, 5)


def test_a_failure_does_not_spoil_the_next_call(sink):
    sink.answer_with(in_turn(reset(), status(500), ok(b"", PROTOBUF)))
    sender = sender_to(sink.url)
    for _ in range(2):
        with pytest.raises(Retry):
            sender.send(BODY, 5)
    assert sender.send(BODY, 5) is None


def test_a_connection_the_server_closed_meanwhile_is_replaced():
    closed = threading.Semaphore(0)

    def talk(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        connection.shutdown(socket.SHUT_RDWR)
        closed.release()

    with raw_server(talk) as url:
        sender = sender_to(url)
        for _ in range(3):
            assert sender.send(BODY, 5) is None
            assert closed.acquire(timeout=5)


def test_a_server_that_hangs_is_given_up_in_time(sink):
    sink.answer_with(hang())
    error = raised_within(2.0, sender_to(sink.url), 0.3)
    assert isinstance(error, Retry)
    assert str(error) == "timeout: no complete answer within 0.3 s"


def test_a_server_that_drips_its_body_is_cut_at_the_deadline(sink):
    sink.answer_with(drip(0.02))
    assert isinstance(raised_within(2.0, sender_to(sink.url), 0.3), Retry)


def test_a_server_that_drips_its_headers_is_cut_at_the_deadline():
    def talk(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for number in range(1000):
            connection.sendall(b"x" if number % 9 else b"\r\nx-header: ")
            time.sleep(0.02)

    with raw_server(talk) as url:
        assert isinstance(raised_within(2.0, sender_to(url), 0.3), Retry)


def test_a_server_that_reads_a_byte_at_a_time_is_cut_at_the_deadline():
    def talk(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        while connection.recv(1024):
            time.sleep(0.02)

    with raw_server(talk) as url:
        sender = sender_to(url, compression="none")
        sender_error: list[BaseException] = []

        def run() -> None:
            try:
                sender.send(os.urandom(20_000_000), 0.3)
            except Retry as error:
                sender_error.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(3.0)
        assert not thread.is_alive()
        assert sender_error


# -- TLS -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for localhost that signs itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder / "cert.pem", folder / "key.pem"


@contextlib.contextmanager
def tls_server(certificate, talk):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    def wrapped(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            talk(secure)

    with raw_server(wrapped) as url:
        yield url.replace("http://127.0.0.1", "https://localhost")


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"


def test_a_certificate_that_is_trusted_is_accepted(certificate):
    with tls_server(certificate, answering(OK)) as url:
        assert sender_to(url, certificate=str(certificate[0])).send(BODY, 5) is None


def test_a_certificate_nobody_vouches_for_is_a_wrong_setting(certificate):
    with (
        tls_server(certificate, answering(OK)) as url,
        pytest.raises(Misconfigured, match=r"self.signed"),
    ):
        sender_to(url).send(BODY, 5)


def test_https_to_a_server_of_plain_http_is_a_wrong_setting(sink):
    with pytest.raises(Misconfigured, match="does not speak https"):
        sender_to(sink.url.replace("http", "https")).send(BODY, 5)


def test_the_deadline_holds_over_tls(certificate):
    def talk(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(1000):
            connection.sendall(b" ")
            time.sleep(0.02)

    with tls_server(certificate, talk) as url:
        sender = sender_to(url, certificate=str(certificate[0]))
        assert isinstance(raised_within(3.0, sender, 0.4), Retry)


def test_a_server_that_hangs_in_the_handshake_is_given_up_in_time():
    with raw_server(lambda connection: connection.recv(1) and time.sleep(5)) as url:
        error = raised_within(2.0, sender_to(url.replace("http", "https")), 0.3)
    assert isinstance(error, Retry)


# -- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [{"a": "x\r\nevil: 1"}, {"a": "x\ny"}, {"a": "\x00"}, {"a": "ü"}, {"a b": "x"}, {"": "x"}],
)
def test_a_header_that_cannot_be_sent_is_refused_at_once_without_its_value(headers):
    with pytest.raises(SettingsError) as caught:
        sender_to("http://127.0.0.1:1", headers)
    assert "evil" not in str(caught.value)


@pytest.mark.parametrize("option", ["certificate", "client_certificate"])
def test_a_certificate_file_that_is_not_there_is_named(option):
    with pytest.raises(SettingsError, match=r"/nowhere/x\.pem.*No such file"):
        sender_to("https://127.0.0.1:1", **{option: "/nowhere/x.pem"})
