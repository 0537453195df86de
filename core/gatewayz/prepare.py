"""Turns what callers gave into finished events: parsed, bounded, redacted, masked and priced.

Runs on the tracer's own thread, once for all backends. Whatever was given, an event comes out:
a value that makes no sense is left out, counted, and named in a rate-limited warning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from gatewayz import mask, wire
from gatewayz.complaints import Complaints
from gatewayz.content import clean_metadata, clean_text, to_content
from gatewayz.events import KINDS, Error, Event, Prompt, SpanEvent, freeze, to_json
from gatewayz.metering import Meter
from gatewayz.redact import redact_json, redact_text
from gatewayz.scoring import Scoring

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayz.events import ScoreEvent
    from gatewayz.settings import CoreSettings
    from gatewayz.span import InferenceContext
    from gatewayz.wire import Reading

__all__ = ["Prepared", "Preparer"]

_NAME_CHARS = 200
_ERROR_CHARS = 2000
_TAGS = 64


class Prepared(NamedTuple):
    """A finished event, the backends its request opted out of, and the scores given with it."""

    event: Event
    skip: frozenset[str]
    scores: list[ScoreEvent]


class Preparer:
    """Makes events. Used by one thread.

    `content` tells whether any backend gets content at all; where none does, none is encoded.
    """

    def __init__(self, settings: CoreSettings) -> None:
        self.complaints = Complaints()
        self.meter = Meter(settings, self.complaints)
        self.scoring = Scoring(settings, self.complaints)
        self.content = True
        self._settings = settings
        self._mask = mask.resolve(settings.mask) if settings.mask else None

    # -- spans -----------------------------------------------------------------------------------

    def start(self, ctx: InferenceContext) -> Event:
        """Return the event of a span that begins; it has neither end nor content."""
        return Event(**self._identity(ctx, None))

    def finish(self, ctx: InferenceContext) -> Prepared:
        """Return the event of an ended span, with usage and cost, and its scores."""
        reading = None if ctx.capture is None else wire.read(ctx.capture)
        answer = self._answer(ctx) if reading is None else None
        read = reading or answer
        fields = self._identity(ctx, reading)
        base = ctx._start_ns - ctx._mono_ns
        fields["end_time_ns"] = base + (ctx._end_ns or ctx._mono_ns)
        fields["first_token_time_ns"] = self._first_token(ctx, reading, base)
        if read is not None:
            fields["response_model"] = _short(read.response_model)
            fields["completion_id"] = _short(read.completion_id)
            fields["finish_reasons"] = tuple(clean_text(r, 100) for r in read.finish_reasons)
        if ctx._response_model is not None:
            fields["response_model"] = _short(ctx._response_model)
        self._content(ctx, read, fields)
        fields["usage"] = usage = self.meter.usage(ctx, read)
        fields["cost"] = self.meter.cost(ctx, read, usage, fields)
        self._outcome(ctx, reading, fields)
        if ctx._events:
            fields["events"] = tuple(self._event(e) for e in ctx._events)
        if self._mask is not None:
            mask.apply(self._mask, fields, self.complaints)
        for words in ctx._complaints or ():
            self.complaints.add(words)
        event = Event(**fields)
        self.scoring.remember(event)
        skip = frozenset() if reading is None else reading.skip_backends
        return Prepared(event, skip, self.scoring.given_with(ctx, event))

    def _identity(self, ctx: InferenceContext, reading: Reading | None) -> dict[str, Any]:
        kind = ctx._kind if ctx._kind in KINDS else "chain"
        operation = clean_text(ctx._operation, _NAME_CHARS) or "chat"
        model = _short(ctx._model) or (_short(reading.request_model) if reading else None) or ""
        inherited = ctx._inherited
        user = _short(ctx._user_id) or (_short(reading.user_id) if reading else None)
        session = _short(ctx._session_id) or (_short(reading.session_id) if reading else None)
        tags: list[Any] = [*(inherited.tags if inherited else ()), *_listed(ctx._tags)]
        metadata: dict[str, Any] = dict(inherited.metadata) if inherited else {}
        if reading is not None:
            tags += reading.tags
            metadata.update(reading.metadata)
        if ctx._metadata:
            metadata.update(ctx._metadata)
        release = _short(ctx._release) or self._settings.release
        fields: dict[str, Any] = {
            "kind": kind,
            "operation": operation,
            "trace_id": ctx.trace_id,
            "span_id": ctx.span_id,
            "parent_is_remote": ctx._remote,
            "trace_flags": ctx._flags,
            "trace_state": ctx._state,
            "provider": _short(ctx._provider) or "",
            "request_model": model,
            "start_time_ns": ctx._start_ns,
            "user_id": user,
            "session_id": session,
            "team": _short(ctx._team),
            "environment": _short(ctx._environment) or self._settings.environment,
            "release": release,
        }
        if ctx._up is not None:
            self._inherit(ctx, fields)
        name = _short(ctx._name)
        fields["name"] = name or (f"{operation} {model}".rstrip() if kind == "generation" else kind)
        if ctx._parent_id is not None:
            fields["parent_span_id"] = f"{ctx._parent_id:016x}"
        if tags:
            fields["tags"] = tuple(dict.fromkeys(clean_text(t, _NAME_CHARS) for t in tags))[:_TAGS]
        if metadata:
            fields["metadata"] = self._mapping(metadata)
        if ctx._routing:
            fields["routing"] = self._mapping(ctx._routing)
        if ctx._server is not None:
            fields["server_address"], fields["server_port"] = ctx._server
        parameters: Mapping[str, Any] = ctx._parameters or {}
        if reading is not None:
            parameters = {**reading.model_parameters, **parameters}
            fields["stream"] = reading.stream
            fields["api"] = ctx.capture.api if ctx.capture is not None else None
        if parameters:
            fields["model_parameters"] = self._mapping(parameters)
        prompt = self._prompt(ctx, reading)
        if prompt is not None:
            fields["prompt"] = prompt
        return fields

    def _inherit(self, ctx: InferenceContext, fields: dict[str, Any]) -> None:
        """Fill in who it is for from what is around the span, where itself it does not say."""
        inherited = ctx._inherited
        for name in ("user_id", "session_id", "team"):
            fields[name] = fields[name] or _from_parents(ctx, f"_{name}")
        if inherited is not None:
            fields["user_id"] = fields["user_id"] or _short(inherited.user_id)
            fields["session_id"] = fields["session_id"] or _short(inherited.session_id)

    def _prompt(self, ctx: InferenceContext, reading: Reading | None) -> Prompt | None:
        if ctx._prompt is None:
            return None if reading is None else reading.prompt
        given, version = ctx._prompt
        name = given if isinstance(given, str) else getattr(given, "name", None)
        version = getattr(given, "version", None) if version is None else version
        if not isinstance(name, str) or not name:
            self.complaints.add(
                "set_prompt() takes a name and a version, or an object that has both"
            )
            return None
        if version is not None and not isinstance(version, (int, str)):
            self.complaints.add("set_prompt(): version must be a number or a text")
            version = None
        return Prompt(name=clean_text(name, _NAME_CHARS), version=version)

    def _answer(self, ctx: InferenceContext) -> Reading | None:
        """Read an SDK's response object given as output, for what the caller did not set."""
        output = ctx._output
        if output is None or isinstance(output, (str, bytes, list)):
            return None
        if not isinstance(output, dict):
            dump = getattr(output, "model_dump", None)
            if not callable(dump):
                return None
            try:
                output = dump(mode="json", warnings=False)
            except Exception:  # noqa: BLE001 - an object of the caller's; to_content copes with it
                return None
        if not isinstance(output, dict) or not ("object" in output or "type" in output):
            return None
        return wire.read_answer(output)

    def _first_token(self, ctx: InferenceContext, reading: Reading | None, base: int) -> int | None:
        if ctx._first_ns is not None:
            return base + ctx._first_ns
        if reading is not None and reading.first_token_index is not None and ctx.capture:
            return int(ctx.capture.times_ns[reading.first_token_index])
        return None

    def _content(self, ctx: InferenceContext, read: Reading | None, fields: dict[str, Any]) -> None:
        if not self.content:
            return
        given = {"input_json": ctx._input, "output_json": ctx._output, "tools_json": ctx._tools}
        if read is not None:
            if ctx._input is None and not read.omit_input:
                given["input_json"] = read.input
            seen = ctx._output is None and not read.omit_output
            answered = ctx.capture is None and read.output is not None
            if seen or answered:
                given["output_json"] = read.output
            if ctx._tools is None and not read.omit_input:
                given["tools_json"] = read.tools or None
        for name, value in given.items():
            if value is None:
                continue
            raw, _ = to_content(value)
            if raw is not None and self._settings.redact_secrets:
                raw = redact_json(raw)
            fields[name] = raw

    def _mapping(self, given: Mapping[str, Any]) -> Any:
        """Return a mapping of the caller's cleaned, redacted at any depth, and frozen."""
        cleaned = clean_metadata(given)
        if self._settings.redact_secrets:
            raw = to_json(cleaned)
            masked = redact_json(raw)
            if masked != raw:
                cleaned = msgspec.json.decode(masked)
        return freeze(cleaned)

    def _outcome(
        self, ctx: InferenceContext, reading: Reading | None, fields: dict[str, Any]
    ) -> None:
        error = self._error(ctx._error) if ctx._error is not None else None
        outcome = ctx._outcome
        if reading is not None and ctx.capture is not None:
            capture = ctx.capture
            left = capture.client_left and not reading.terminal
            error = error or (None if left else reading.error)
            if outcome is None and left:
                outcome = "abandoned"
            if error is None and outcome is None and capture.upstream_failed:
                error = Error(type="upstream_failed", message=str(capture.upstream_failed))
            if error is None and outcome is None and reading.stream and not reading.terminal:
                error = Error(
                    type="incomplete_stream", message="the stream ended without its last event"
                )
            if error is None and capture.status >= 400 and outcome != "abandoned":
                error = Error(type=str(capture.status), status=capture.status)
        if outcome is None:
            outcome = "ok" if error is None else "error"
        if error is not None:
            text = clean_text(error.message, _ERROR_CHARS)
            fields["error"] = msgspec.structs.replace(
                error,
                type=clean_text(error.type, _NAME_CHARS) or "error",
                message=redact_text(text),
            )
        fields["outcome"] = outcome

    def _error(self, given: tuple[Any, Any, Any]) -> Error:
        error, kind, status = given
        if isinstance(error, BaseException):
            module = type(error).__module__
            name = type(error).__qualname__
            kind = (
                kind
                if isinstance(kind, str)
                else (name if module == "builtins" else f"{module}.{name}")
            )
            try:
                message = str(error)
            except Exception:  # noqa: BLE001 - somebody's __str__
                message = ""
            if status is None:
                status = getattr(error, "status_code", None)
        else:
            message = error if isinstance(error, str) else ""
        if not isinstance(status, int) or isinstance(status, bool):
            status = None
        named = kind if isinstance(kind, str) and kind else "error"
        return Error(type=named, message=message, status=status)

    def _event(self, given: tuple[str, int, Any]) -> SpanEvent:
        name, time_ns, attributes = given
        if attributes is not None and not hasattr(attributes, "items"):
            self.complaints.add("add_event(): attributes must be a mapping")
            attributes = None
        return SpanEvent(
            name=clean_text(name, _NAME_CHARS) or "event",
            time_ns=time_ns,
            attributes=self._mapping(attributes or {}),
        )


def _short(value: Any) -> str | None:
    if value is None:
        return None
    # As in `clean_text`, whose call it spares: a dozen values of every span are like this.
    if type(value) is str and len(value) <= _NAME_CHARS and value.isascii() and "\0" not in value:
        return value or None
    return clean_text(value, _NAME_CHARS) or None


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    return [value]


def _from_parents(ctx: InferenceContext, field: str) -> str | None:
    node = ctx._up
    while node is not None:
        value = getattr(node, field, None)
        if value is not None:
            return _short(value)
        node = node._up
    return None
