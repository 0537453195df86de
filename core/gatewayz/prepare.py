"""Turns what callers gave into finished events: parsed, bounded, redacted, masked and priced.

Runs on the tracer's own thread, once for all backends. Whatever was given, an event comes out:
a value that makes no sense is left out, counted, and named in a rate-limited warning.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import time
from collections import OrderedDict
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from gatewayz import wire
from gatewayz.content import clean_metadata, clean_text, to_content
from gatewayz.errors import SettingsError
from gatewayz.events import (
    KINDS,
    Cost,
    Error,
    Event,
    Prompt,
    Score,
    ScoreEvent,
    SpanEvent,
    Usage,
    as_json,
    freeze,
    to_json,
)
from gatewayz.pricing import PriceBook
from gatewayz.redact import redact_json, redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatewayz.settings import CoreSettings
    from gatewayz.span import InferenceContext
    from gatewayz.wire import Reading

__all__ = ["Prepared", "Preparer", "ScoreRequest"]

logger = logging.getLogger(__name__)

_NAME_CHARS = 200
_ERROR_CHARS = 2000
_TAGS = 64
_USAGE_FIELDS = frozenset(Usage.__struct_fields__)
_WARN_EVERY_S = 60.0
_MAX_TOKENS = 2**53


class Prepared(NamedTuple):
    """A finished event, the backends its request opted out of, and the scores given with it."""

    event: Event
    skip: frozenset[str]
    scores: list[ScoreEvent]


class ScoreRequest(NamedTuple):
    """A score as the caller gave it; ids are hex strings, the trace may still be unknown."""

    name: Any
    value: Any
    trace_id: str | None
    span_id: str | None
    completion_id: str | None
    comment: Any
    data_type: Any
    score_id: Any
    time_ns: int


class Preparer:
    """Makes events. Used by one thread; `cost` alone may be called from any.

    `content` tells whether any backend gets content at all; where none does, none is encoded.
    """

    def __init__(self, settings: CoreSettings) -> None:
        self._settings = settings
        self._prices = PriceBook(settings.prices)
        self._mask = _resolve(settings.mask) if settings.mask else None
        self._warned: dict[str, float] = {}
        self._completions: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self.warnings = 0
        self.content = True

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
        fields["usage"] = usage = self._usage(ctx, read)
        fields["cost"] = self._cost(ctx, read, usage, fields)
        self._outcome(ctx, reading, fields)
        if ctx._events:
            fields["events"] = tuple(self._event(e) for e in ctx._events)
        if self._mask is not None:
            self._apply_mask(self._mask, fields)
        for words in ctx._complaints or ():
            self.warn(words)
        event = Event(**fields)
        if event.completion_id and self._settings.completion_ids:
            self._completions[event.completion_id] = (event.trace_id, event.span_id)
            if len(self._completions) > self._settings.completion_ids:
                self._completions.popitem(last=False)
        skip = frozenset() if reading is None else reading.skip_backends
        return Prepared(event, skip, self._own_scores(ctx, event))

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
            "user_id": user or _from_parents(ctx, "_user_id") or (inherited and inherited.user_id),
            "session_id": session
            or _from_parents(ctx, "_session_id")
            or (inherited and inherited.session_id),
            "team": _short(ctx._team) or _from_parents(ctx, "_team"),
            "environment": _short(ctx._environment) or self._settings.environment,
            "release": release,
        }
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

    def _prompt(self, ctx: InferenceContext, reading: Reading | None) -> Prompt | None:
        if ctx._prompt is None:
            return None if reading is None else reading.prompt
        given, version = ctx._prompt
        name = given if isinstance(given, str) else getattr(given, "name", None)
        version = getattr(given, "version", None) if version is None else version
        if not isinstance(name, str) or not name:
            self.warn("set_prompt() takes a name and a version, or an object that has both")
            return None
        if version is not None and not isinstance(version, (int, str)):
            self.warn("set_prompt(): version must be a number or a text")
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
            except Exception:  # noqa: BLE001 - reads attributes of somebody's object
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
            if value is None or not self.content:
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
            kind = kind or (name if module == "builtins" else f"{module}.{name}")
            try:
                message = str(error)
            except Exception:  # noqa: BLE001 - reads attributes of somebody's object
                message = ""
            if status is None:
                status = getattr(error, "status_code", None)
        else:
            message = error if isinstance(error, str) else ""
        if not isinstance(status, int) or isinstance(status, bool):
            status = None
        return Error(type=str(kind or "error"), message=message, status=status)

    def _event(self, given: tuple[str, int, Any]) -> SpanEvent:
        name, time_ns, attributes = given
        if attributes is not None and not hasattr(attributes, "items"):
            self.warn("add_event(): attributes must be a mapping")
            attributes = None
        return SpanEvent(
            name=clean_text(name, _NAME_CHARS) or "event",
            time_ns=time_ns,
            attributes=self._mapping(attributes or {}),
        )

    # -- usage and cost --------------------------------------------------------------------------

    def _usage(self, ctx: InferenceContext, read: Reading | None) -> Usage | None:
        given = ctx._usage
        if given is None:
            return None if read is None else read.usage
        if type(given) is tuple and len(given) == 4:
            return self._counted(*given)
        try:
            usage = wire.usage_from(given)
        except Exception:  # noqa: BLE001 - reads attributes of somebody's object
            usage = None
        if usage is None:
            self.warn(f"set_usage() got no usage it knows, but {type(given).__name__}")
        return usage

    def _counted(
        self, given_in: Any, given_out: Any, given_total: Any, details: Any
    ) -> Usage | None:
        counts = {"input_tokens": given_in, "output_tokens": given_out, "total_tokens": given_total}
        checked: dict[str, int] = {}
        for name, count in {**counts, **details}.items():
            if count is None:
                continue
            if name not in _USAGE_FIELDS:
                self.warn(f"set_token_usage() does not know {clean_text(name, 60)!r}")
                continue
            whole = _whole(count)
            if whole is None:
                self.warn(f"set_token_usage(): {name} must be a whole number from 0 up")
                continue
            checked[name] = whole
        if not checked:
            return None
        if "total_tokens" not in checked and {"input_tokens", "output_tokens"} <= checked.keys():
            checked["total_tokens"] = checked["input_tokens"] + checked["output_tokens"]
        return Usage(**checked)

    def _cost(
        self,
        ctx: InferenceContext,
        read: Reading | None,
        usage: Usage | None,
        fields: Mapping[str, Any],
    ) -> Cost | None:
        if ctx._cost is not None:
            amounts = [None if a is None else _money(a) for a in ctx._cost]
            if amounts[0] is not None and amounts[0] >= 0:
                return Cost(
                    amount_usd=amounts[0],
                    source="caller",
                    input_usd=amounts[1],
                    output_usd=amounts[2],
                )
            self.warn("set_cost() takes an amount in US dollars from 0 up")
        if read is not None and read.cost_usd is not None:
            return Cost(amount_usd=read.cost_usd, source="provider")
        if usage is None:
            return None
        models = (fields.get("response_model"), fields["request_model"])
        tier = None if read is None else read.service_tier
        return self.cost(fields["provider"], models, usage, fields["start_time_ns"], tier)

    def cost(
        self,
        provider: str,
        models: tuple[str | None, ...],
        usage: Usage,
        at_ns: int | None = None,
        service_tier: str | None = None,
    ) -> Cost | None:
        """Return the cost by the first of `models` that has a price, or None; any thread."""
        at_ns = time.time_ns() if at_ns is None else at_ns
        for model in dict.fromkeys(models):
            if model:
                cost = self._prices.cost(
                    provider, model, usage, at_ns=at_ns, service_tier=service_tier
                )
                if cost is not None:
                    return cost
        return None

    def warm(self) -> None:
        """Load the pricing library now, so that the first inference need not wait for it."""
        self._prices.warm()

    # -- scores ----------------------------------------------------------------------------------

    def _own_scores(self, ctx: InferenceContext, event: Event) -> list[ScoreEvent]:
        made = []
        for name, value, comment, data_type, score_id in ctx._scores or ():
            request = ScoreRequest(
                name,
                value,
                event.trace_id,
                event.span_id,
                event.completion_id,
                comment,
                data_type,
                score_id,
                event.end_time_ns or event.start_time_ns,
            )
            score = self.score(request)
            if score is not None:
                made.append(score)
        # The same name twice is one score, the last one.
        return list({s.score.score_id: s for s in made}.values())

    def target(self, completion_id: str) -> tuple[str, str] | None:
        """Return the trace and span ids of a completion seen here, or None; any thread."""
        return self._completions.get(completion_id)

    def score(self, request: ScoreRequest) -> ScoreEvent | None:
        """Return the score's event; None, with a warning, for one that makes no sense."""
        trace_id, span_id = request.trace_id, request.span_id
        if trace_id is None and request.completion_id is not None:
            target = self.target(request.completion_id)
            if target is None:
                self.warn(
                    f"score(): completion id {clean_text(request.completion_id, 80)!r} is not known here"
                )
                return None
            trace_id, span_id = target[0], span_id or target[1]
        if not _is_hex(trace_id, 32) or (span_id is not None and not _is_hex(span_id, 16)):
            self.warn("score() needs a trace_id of 32 hex digits (span_id: 16), or a completion_id")
            return None
        name = clean_text(request.name, _NAME_CHARS)
        valued = _score_value(request.value, request.data_type)
        if not name or valued is None:
            self.warn(
                "score() needs a name and a number, a boolean or a text that fits its data_type"
            )
            return None
        value, data_type = valued
        trace_id = str(trace_id).lower()
        span_id = None if span_id is None else span_id.lower()
        seed = f"{trace_id}\0{span_id or ''}\0{name}".encode("utf-8", "replace")
        chosen = clean_text(request.score_id, _NAME_CHARS) if request.score_id else ""
        comment = None if request.comment is None else clean_text(request.comment, _ERROR_CHARS)
        return ScoreEvent(
            trace_id=trace_id,
            span_id=span_id,
            time_ns=request.time_ns,
            environment=self._settings.environment,
            completion_id=_short(request.completion_id),
            score=Score(
                name=name,
                value=redact_text(value) if isinstance(value, str) else value,
                data_type=data_type,
                score_id=chosen or hashlib.sha256(seed).hexdigest()[:32],
                comment=None if comment is None else redact_text(comment),
            ),
        )

    # -- the mask hook, and warnings -------------------------------------------------------------

    def _apply_mask(self, mask: Callable[[dict[str, Any]], Any], fields: dict[str, Any]) -> None:
        names = {"input": "input_json", "output": "output_json", "tools": "tools_json"}
        content = {
            short: msgspec.json.decode(fields[name])
            for short, name in names.items()
            if fields.get(name) is not None
        }
        content["metadata"] = as_json(fields.get("metadata", {}))
        try:
            masked = dict(mask(content))
            encoded = {name: to_content(masked.get(short))[0] for short, name in names.items()}
            metadata = freeze(clean_metadata(masked.get("metadata") or {}))
        except Exception as error:  # noqa: BLE001 - imports the operator's own module
            self.warn(f"GATEWAYZ_MASK failed ({type(error).__name__}); content was left out")
            encoded = {
                n: b'"[masking failed]"' for n in names.values() if fields.get(n) is not None
            }
            metadata = freeze({})
        for name in names.values():
            fields[name] = encoded.get(name) if fields.get(name) is not None else None
        fields["metadata"] = metadata

    def warn(self, words: str) -> None:
        """Count a warning; log the same words once a minute at most."""
        self.warnings += 1
        now = time.monotonic()
        if len(self._warned) > 1000:
            self._warned.clear()
        if now - self._warned.get(words, -_WARN_EVERY_S) >= _WARN_EVERY_S:
            self._warned[words] = now
            logger.warning("%s", words)


def _resolve(path: str) -> Callable[[dict[str, Any]], Any]:
    module, colon, name = path.partition(":")
    if not colon:
        msg = "GATEWAYZ_MASK must be module:function"
        raise SettingsError(msg)
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # noqa: BLE001 - imports the operator's own module
        msg = f"GATEWAYZ_MASK: cannot import {path}: {type(error).__name__}: {error}"
        raise SettingsError(msg) from None
    if not callable(found):
        msg = f"GATEWAYZ_MASK: {path} is not a function"
        raise SettingsError(msg)
    return found  # type: ignore[no-any-return]


def _short(value: Any) -> str | None:
    if value is None:
        return None
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


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or not 0 <= value < _MAX_TOKENS:
        return None
    return value


def _money(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        # A float means what it prints: 0.0023 is 0.0023 dollars.
        amount = Decimal(str(value))
    except (InvalidOperation, ValueError):
        return None
    return amount if amount.is_finite() else None


def _is_hex(value: Any, digits: int) -> bool:
    if not isinstance(value, str) or len(value) != digits or not value.isalnum():
        return False
    try:
        return int(value, 16) != 0
    except ValueError:
        return False


def _score_value(value: Any, data_type: Any) -> tuple[float | bool | str, Any] | None:
    if data_type is None:
        kind = (
            "boolean"
            if isinstance(value, bool)
            else "categorical"
            if isinstance(value, str)
            else "numeric"
        )
    else:
        kind = str(data_type).lower()
    if kind == "categorical" and isinstance(value, (str, bool, int, float)):
        text = clean_text(value, _NAME_CHARS)
        return (text, kind) if text else None
    if kind == "boolean" and value in (0, 1):
        return bool(value), kind
    if kind == "numeric" and isinstance(value, (int, float, Decimal)):
        try:
            number = float(value)
        except (OverflowError, ValueError):
            return None
        return (number, kind) if number - number == 0 else None
    return None
