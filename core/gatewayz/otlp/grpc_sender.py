"""Sends OTLP requests over gRPC, with the same bytes and the same answers as over HTTP."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from gatewayz.answers import MAX_RETRY_AFTER_S
from gatewayz.errors import DeliveryError, Misconfigured, Refused, Retry, SettingsError, TooLarge
from gatewayz.otlp.answer import PartialSuccess, read_protobuf, retry_delay_s
from gatewayz.outbound.headers import Mask, check_headers, user_agent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["OtlpGrpcSender"]

MAX_ANSWER_BYTES = 64 * 1024
TRACE_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_TLS_TROUBLE = (
    "CERTIFICATE_VERIFY_FAILED",
    "WRONG_VERSION_NUMBER",
    "Hostname Verification Check failed",
)


class OtlpGrpcSender:
    """Calls a collector's TraceService over gRPC at `host:port`. Needs grpcio."""

    def __init__(
        self,
        endpoint: str,
        headers: Mapping[str, str],
        *,
        insecure: bool = False,
        compression: str = "gzip",
        certificate: str | None = None,
        client_certificate: str | None = None,
        client_key: str | None = None,
    ) -> None:
        """Check the settings and connect to nothing yet; SettingsError says what is wrong.

        `endpoint` is `host:port`, with or without http:// (never TLS) or https:// (always TLS);
        without one of them `insecure` decides.
        """
        check_headers(headers)
        self._grpc = _import_grpc()
        scheme, _, rest = endpoint.rpartition("://")
        self.endpoint = endpoint
        self._target = rest.partition("/")[0]
        self._secure = scheme == "https" if scheme else not insecure
        self._files = (certificate, client_key, client_certificate)
        self._metadata = tuple((name.lower(), value) for name, value in headers.items())
        self._mask = Mask(headers)
        self._compression = (
            self._grpc.Compression.Gzip
            if compression == "gzip"
            else self._grpc.Compression.NoCompression
        )
        self._credentials: Any = self._load_credentials() if self._secure else None
        self._channel: Any = None
        self._call: Callable[..., bytes] | None = None
        self._pid = 0

    def send(self, body: bytes | Sequence[bytes], timeout_s: float) -> PartialSuccess | None:
        """Deliver one request; see the module."""
        try:
            answer = self._stub()(
                body if isinstance(body, bytes) else b"".join(body),
                timeout=timeout_s,
                metadata=self._metadata,
                compression=self._compression,
            )
        except self._grpc.RpcError as error:
            raise self._meaning(error) from None
        try:
            return read_protobuf(answer)
        except ValueError as error:
            msg = f"the answer is garbage ({error}); whether the spans were taken is unknown"
            raise Retry(msg) from None

    def close(self) -> None:
        """Close the connection. Idempotent; `send` opens a new one."""
        channel, self._channel, self._call = self._channel, None, None
        if channel is not None:
            channel.close()

    def _stub(self) -> Callable[..., bytes]:
        pid = os.getpid()
        if self._call is None or self._pid != pid:
            options = [
                ("grpc.enable_retries", 0),  # the lane retries
                ("grpc.initial_reconnect_backoff_ms", 500),
                ("grpc.max_reconnect_backoff_ms", 5_000),
                ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
                ("grpc.primary_user_agent", user_agent()),
                # One channel of ours must not share a subchannel with another instance's.
                ("grpc.use_local_subchannel_pool", 1),
            ]
            if self._credentials is None:
                self._channel = self._grpc.insecure_channel(self._target, options)
            else:
                self._channel = self._grpc.secure_channel(self._target, self._credentials, options)
            self._call, self._pid = self._channel.unary_unary(TRACE_EXPORT), pid
        return self._call

    def _load_credentials(self) -> Any:
        pems = []
        for path in self._files:
            try:
                with open(path, "rb") if path else open(os.devnull, "rb") as file:  # noqa: PTH123
                    pems.append(file.read() or None)
            except OSError as error:
                msg = f"cannot read the PEM file {path}: {error.strerror}"
                raise SettingsError(msg) from None
        return self._grpc.ssl_channel_credentials(*pems)

    def _meaning(self, error: Any) -> DeliveryError:
        code = error.code()
        details = self._mask((error.details() or "").encode()).decode("utf-8", "replace")
        name = code.name if code is not None else "UNKNOWN"
        reason = f"gRPC {name}: {' '.join(details[:300].split())}"
        if name in {"UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED", "NOT_FOUND"}:
            return Misconfigured(reason)
        if name in {"INVALID_ARGUMENT", "FAILED_PRECONDITION", "ALREADY_EXISTS"}:
            return Refused(reason)
        if name == "RESOURCE_EXHAUSTED":
            if "larger than max" in details and "CLIENT" not in details:
                return TooLarge(reason)
            return Retry(reason, _retry_info(error))
        if name == "UNAVAILABLE" and any(word in details for word in _TLS_TROUBLE):
            return Misconfigured(f"{reason}; is it https where it should be http, or the reverse?")
        return Retry(reason, _retry_info(error) if name == "UNAVAILABLE" else None)


def _retry_info(error: Any) -> float | None:
    """Return the wait that a status' details ask for, in seconds, at most 15 minutes."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            wait_s = retry_delay_s(value)
            return None if wait_s is None else min(wait_s, MAX_RETRY_AFTER_S)
    return None


def _import_grpc() -> Any:
    try:
        import grpc  # type: ignore[import-untyped]
    except ImportError as error:
        msg = (
            "OTLP over gRPC needs grpcio: pip install 'gatewayz[grpc]', "
            "or set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
        )
        raise SettingsError(msg) from error
    return grpc
