"""Gatewayz backend that sends spans to Langfuse's OTLP endpoint and scores to its scores API."""

from __future__ import annotations

import logging
import time
from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from gatewayz import Backend, Misconfigured, Rejected, Retry, hookimpl, raise_for_answer
from gatewayz.errors import DeliveryError
from gatewayz.otlp import encoder
from gatewayz.otlp.answer import rejections
from gatewayz.otlp.sender import OtlpHttpSender
from gatewayz.redact import redact_text
from gatewayz_langfuse.api import LangfuseApi
from gatewayz_langfuse.observation import encode
from gatewayz_langfuse.scores import (
    ScoreRecord,
    encode_score,
    ingestion_body,
    list_body,
    read_answer,
)
from gatewayz_langfuse.settings import LangfuseSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gatewayz import Event, Score, ScoreEvent

__all__ = ["Langfuse", "SpanRecord"]

_log = logging.getLogger(__name__)

# Another scope's attributes are copied into the metadata by the server, nearly all of them.
_SCOPE = "langfuse-sdk"
_INGESTION_VERSION = "4"
_LEAST_S = 0.05
_GONE = frozenset({404, 405, 410})


class SpanRecord(NamedTuple):
    """One observation, encoded. The same key again replaces it in Langfuse."""

    key: tuple[str, str]
    span: bytes


class _Ready(NamedTuple):
    sender: OtlpHttpSender
    api: LangfuseApi


class Langfuse(Backend):
    """Sends observations and scores to one Langfuse project."""

    Settings = LangfuseSettings
    settings: LangfuseSettings

    def __init__(self, settings: LangfuseSettings) -> None:
        """Keep the settings; nothing is opened before `startup`."""
        self.settings = settings
        self._connected: _Ready | None = None
        self._resource = encoder.resource({"service.name": "gatewayz"})
        self._scope = encoder.scope(_SCOPE, metadata.version("gatewayz-langfuse"))
        # Learnt from answers, and only how to ask: no record is ever kept.
        self._lists_scores = False
        self._spans_taken = False

    def startup(self) -> None:
        """Prepare the headers; connections are opened by the first export."""
        self._close()
        headers = {
            "authorization": self.settings.authorization(),
            "x-langfuse-sdk-name": "gatewayz",
            "x-langfuse-sdk-version": metadata.version("gatewayz-langfuse"),
            "x-langfuse-public-key": self.settings.public_key.get_secret_value(),
        }
        self._connected = _Ready(
            OtlpHttpSender(
                self.settings.url("/otel/v1/traces"),
                {**headers, "x-langfuse-ingestion-version": _INGESTION_VERSION},
            ),
            LangfuseApi(self.settings.host, headers),
        )

    def shutdown(self, timeout_s: float) -> None:
        """Close the connections."""
        del timeout_s
        self._close()

    @hookimpl
    def on_end(self, event: Event) -> SpanRecord:
        """Translate an ended span."""
        settings = self.settings
        span = encode(event, settings.tracing_environment, settings.release)
        return SpanRecord((event.trace_id, event.span_id), span)

    @hookimpl
    def on_score(self, event: ScoreEvent, score: Score) -> ScoreRecord:
        """Translate a score."""
        return encode_score(event, score, self.settings.tracing_environment)

    @hookimpl
    def export(
        self, records: Sequence[SpanRecord | ScoreRecord], timeout_s: float
    ) -> Sequence[Rejected] | None:
        """Send the spans, then the scores. Both may be sent again: the same ids replace."""
        ready = self._ready()
        deadline = time.monotonic() + timeout_s
        rejected: list[Rejected] = []
        # Of one observation or score stated twice, the later statement stands; the server would
        # not know which of two in one request that is.
        spans = {r.key: i for i, r in enumerate(records) if isinstance(r, SpanRecord)}
        scores = {r.key: i for i, r in enumerate(records) if isinstance(r, ScoreRecord)}
        if spans:
            places = [*spans.values()]
            chosen = [r for i in places if isinstance(r := records[i], SpanRecord)]
            refused = self._told(
                f"{len(chosen)} span(s)", lambda: self._send_spans(ready, chosen, timeout_s)
            )
            rejected += [Rejected(places[r.index], r.reason) for r in refused]
        if scores:
            places = [*scores.values()]
            graded = [r for i in places if isinstance(r := records[i], ScoreRecord)]
            refused = self._told(
                f"{len(graded)} score(s)", lambda: self._send_scores(ready, graded, deadline)
            )
            rejected += [Rejected(places[r.index], r.reason) for r in refused]
        return rejected or None

    def check(self) -> str:
        """Ask for the project of these keys, and send an empty batch; tell who answered."""
        ready = self._ready()
        deadline = time.monotonic() + self.settings.timeout_s
        answer = ready.api.request("GET", "/projects", self.settings.timeout_s)
        if answer.status in {401, 403}:
            msg = (
                f"HTTP {answer.status} from {self.settings.host}: the keys are wrong, or of another "
                "Langfuse; compare LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and LANGFUSE_HOST "
                "with Settings > API Keys"
            )
            raise Misconfigured(msg)
        raise_for_answer(answer.status, answer.headers, answer.body)
        name = _project(answer.body)
        ready.sender.send(b"", max(_LEAST_S, deadline - time.monotonic()))
        return f"{self.settings.host} takes traces" + (f" for project {name!r}" if name else "")

    def read_back(self, trace_id: str) -> Mapping[str, Any] | None:
        """Return what Langfuse holds of a trace; empty while it is not there yet."""
        ready = self._ready()
        answer = ready.api.request("GET", f"/traces/{trace_id}", self.settings.timeout_s)
        if answer.status in {400, *_GONE}:
            # A server that keeps observations only has no such endpoint any more.
            path = f"/v2/observations?traceId={trace_id}&fields=core,basic,usage,io"
            other = ready.api.request("GET", path, self.settings.timeout_s)
            if other.status in {400, *_GONE}:
                return {}
            answer = other
        raise_for_answer(answer.status, answer.headers, answer.body)
        found = _object(answer.body)
        if "data" in found:
            return {"observations": found["data"]} if found["data"] else {}
        return found

    def destination(self) -> str:
        """Return the address of Langfuse."""
        return self.settings.host

    # -- sending ---------------------------------------------------------------------------------

    def _send_spans(
        self, ready: _Ready, records: Sequence[SpanRecord], timeout_s: float
    ) -> Sequence[Rejected]:
        body = encoder.request_parts(self._resource, self._scope, [r.span for r in records])
        answer = rejections(ready.sender.send(body, timeout_s), len(records))
        self._spans_taken = True
        return answer or ()

    def _send_scores(
        self, ready: _Ready, records: Sequence[ScoreRecord], deadline: float
    ) -> Sequence[Rejected]:
        forms = [("/ingestion", ingestion_body), ("/scores", list_body)]
        if self._lists_scores:
            forms.reverse()
        for path, write in forms:
            left_s = deadline - time.monotonic()
            if left_s < _LEAST_S:
                msg = "timeout: no time was left for the scores"
                raise Retry(msg)
            answer = ready.api.request("POST", path, left_s, write(records))
            if answer.status in _GONE:
                continue
            raise_for_answer(answer.status, answer.headers, answer.body)
            self._lists_scores = path == "/scores"
            return read_answer(answer.status, answer.body, records)
        msg = f"HTTP {answer.status} from both of the scores APIs of {self.settings.host}"
        if self._spans_taken:
            # The host is right and the keys are good, it just takes no scores: holding them back
            # would hold back every span behind them.
            return [Rejected(i, msg) for i in range(len(records))]
        raise Misconfigured(msg)

    def _told(self, what: str, send: Callable[[], Sequence[Rejected]]) -> Sequence[Rejected]:
        """Send; with LANGFUSE_DEBUG say in the log what was sent and what became of it."""
        if not self.settings.debug:
            return send()
        began = time.monotonic()
        words = "taken"
        try:
            refused = send()
            if refused:
                reasons = "; ".join(dict.fromkeys(r.reason for r in refused))
                words = f"{len(refused)} refused: {reasons}"
        except DeliveryError as error:
            words = f"{type(error).__name__}: {error}"
            raise
        except Exception as error:
            words = f"failed: {type(error).__name__}"
            raise
        finally:
            # A warning, as most applications configure no logging and would see nothing less.
            _log.warning(
                "LANGFUSE_DEBUG: backend '%s' sent %s to %s in %.3f s: %s",
                self.name,
                what,
                self.settings.host,
                time.monotonic() - began,
                redact_text(words)[:500],
            )
        return refused

    def _ready(self) -> _Ready:
        if self._connected is None:
            msg = "not started"
            raise Misconfigured(msg)
        return self._connected

    def _close(self) -> None:
        connected, self._connected = self._connected, None
        if connected is not None:
            connected.sender.close()
            connected.api.close()


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = None
    if not isinstance(found, dict):
        msg = "the answer is no JSON object: is LANGFUSE_HOST the address of Langfuse?"
        raise Misconfigured(msg)
    return found


def _project(body: bytes) -> str | None:
    data = _object(body).get("data")
    first = data[0] if isinstance(data, list) and data else None
    name = first.get("name") if isinstance(first, dict) else None
    return name if isinstance(name, str) else None
