"""An event -> an OTLP span with the attributes by which Langfuse knows an observation.

Names and forms are those of its SDK 5.0 (`langfuse.observation.*`, `langfuse.trace.*`), read by
servers 3.x and 4.x. Lists and dicts are JSON text, texts are raw. Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003 - a struct's field, resolved at run time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from gatewayz import Event
from gatewayz.events import to_json
from gatewayz.otlp import encoder
from gatewayz.otlp.encoder import EVENT, Key
from gatewayz.otlp.happenings import end_ns
from gatewayz_langfuse.usage import cost_details, usage_details

if TYPE_CHECKING:
    from gatewayz import SpanEvent

__all__ = ["DirectEvent", "clean_environment", "encode", "iso"]

TYPE = Key("langfuse.observation.type")
INPUT = Key("langfuse.observation.input")
OUTPUT = Key("langfuse.observation.output")
LEVEL = Key("langfuse.observation.level")
STATUS_MESSAGE = Key("langfuse.observation.status_message")
MODEL = Key("langfuse.observation.model.name")
PARAMETERS = Key("langfuse.observation.model.parameters")
USAGE = Key("langfuse.observation.usage_details")
COST = Key("langfuse.observation.cost_details")
FIRST_TOKEN = Key("langfuse.observation.completion_start_time")
PROMPT_NAME = Key("langfuse.observation.prompt.name")
PROMPT_VERSION = Key("langfuse.observation.prompt.version")
USER = Key("user.id")
SESSION = Key("session.id")
TRACE_NAME = Key("langfuse.trace.name")
TAGS = Key("langfuse.trace.tags")
ENVIRONMENT = Key("langfuse.environment")
RELEASE = Key("langfuse.release")
VERSION = Key("langfuse.version")
AS_ROOT = Key("langfuse.internal.as_root")
IS_APP_ROOT = Key("langfuse.internal.is_app_root")

# The kinds that Langfuse has another word for; an unknown one is a plain span.
_TYPES = {kind: kind for kind in ("generation", "embedding", "agent", "tool", "chain", "retriever")}
_TYPES |= {"evaluator": "evaluator", "guardrail": "guardrail", "reranker": "retriever"}
_LEVELS = {"error": "ERROR", "cancelled": "WARNING", "abandoned": "WARNING"}
_SCALARS = (str, int, float)
_ENVIRONMENT_CHARS = 40
_WITHOUT_CONTENT = re.compile(
    r"langfuse\.(?!observation\.(input|output)$)|(user|session)\.id$"
    r"|gen_ai\.(system|provider|operation|request|response|usage)\b"
)
_NOT_IN_ENVIRONMENT = re.compile(r"[^a-z0-9_-]+")


class DirectEvent(Event, frozen=True, kw_only=True):
    """An observation from Langfuse's own client, which can say more than a span of ours.

    `attributes` are what only Langfuse knows, by the names it knows them by, texts and numbers
    and lists of texts; they come before what would be made of the other fields.
    """

    attributes: Mapping[str, Any] = {}

    def without_content(self) -> DirectEvent:
        """Return it without what was said: of other libraries' attributes only known ones stay."""
        kept = {k: v for k, v in self.attributes.items() if _WITHOUT_CONTENT.match(k)}
        return msgspec.structs.replace(
            self, input_json=None, output_json=None, tools_json=None, attributes=kept
        )


def encode(event: Event, environment: str | None = None, release: str | None = None) -> bytes:
    """Return an ended span as one field of `encoder.request`.

    `environment` replaces the event's own; `release` is used where the event has none.
    """
    made: list[bytes] = []
    top = event.parent_span_id is None or event.parent_is_remote
    environment = clean_environment(environment or event.environment)
    release = event.release or release
    if isinstance(event, DirectEvent):
        made.append(encoder.attributes(event.attributes))
        taken = event.attributes
        about = dict(event.metadata)
    else:
        taken = {}
        _measured(event, made)
        about = _about(event)
    _content(event, made)
    for key, text in (
        (ENVIRONMENT, environment),
        (RELEASE, release),
        (VERSION, _version(event, release)),
        (USER, event.user_id),
        (SESSION, event.session_id),
        (TRACE_NAME, event.name if top else None),
    ):
        if text and key.name not in taken:
            made.append(key.text(text))
    tags = _tags(event)
    if tags and TAGS.name not in taken:
        made.append(TAGS.texts(tags))
    made += (_observation_key(k).value(_flat(v)) for k, v in about.items())
    if top:
        # The server may never see a remote parent; without these marks the trace had no name,
        # no input and no output.
        made += (AS_ROOT.boolean(True), IS_APP_ROOT.boolean(True))
        made += (_trace_key(k).value(_flat(v)) for k, v in event.metadata.items())
    failed = event.outcome == "error" or event.error is not None
    return encoder.span(
        trace_id=event.trace_id,
        span_id=event.span_id,
        parent_span_id=event.parent_span_id,
        parent_is_remote=event.parent_is_remote,
        name=event.name or event.kind,
        start_ns=event.start_time_ns,
        end_ns=end_ns(event),
        attributes=b"".join(made),
        events=b"".join(_happening(e) for e in event.events),
        status=encoder.STATUS_ERROR if failed else encoder.STATUS_UNSET,
        status_message=event.error.message if event.error is not None else "",
        trace_flags=event.trace_flags,
        trace_state=event.trace_state,
    )


@lru_cache(maxsize=256)
def clean_environment(name: str) -> str:
    """Return an environment as Langfuse takes it: a-z, 0-9, `-` and `_`, at most 40 characters.

    One that it does not take would silently become `default`.

    >>> clean_environment("Production (EU)"), clean_environment("langfuse-test")
    ('production-eu', 'env-langfuse-test')
    """
    clean = _NOT_IN_ENVIRONMENT.sub("-", name.lower()).strip("-")
    # Names that begin with its own are reserved.
    clean = f"env-{clean}" if clean.startswith("langfuse") else clean
    return clean[:_ENVIRONMENT_CHARS] or "default"


def iso(time_ns: int) -> str:
    """Return a time as Langfuse reads it: ISO 8601 in UTC, with microseconds.

    >>> iso(1_760_000_000_123_456_789)
    '2025-10-09T08:53:20.123456Z'
    """
    seconds, rest = divmod(time_ns, 1_000_000_000)
    whole = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000, tzinfo=None)
    return f"{whole.isoformat(timespec='microseconds')}Z"


def _measured(event: Event, made: list[bytes]) -> None:
    made += (TYPE.text(_TYPES.get(event.kind, "span")),)
    made.append(LEVEL.text(_LEVELS.get(event.outcome or "ok", "DEFAULT")))
    if (message := _status_message(event)) is not None:
        made.append(STATUS_MESSAGE.text(message))
    model = event.request_model or event.response_model
    if model:
        made.append(MODEL.text(model))
    if event.model_parameters:
        made.append(PARAMETERS.utf8(to_json(event.model_parameters)))
    if event.usage is not None:
        details = usage_details(event.usage, priced=event.cost is not None)
        if details:
            made.append(USAGE.utf8(to_json(details)))
    if event.cost is not None:
        made.append(COST.utf8(to_json(cost_details(event.cost))))
    first_ns = event.first_token_time_ns
    if first_ns is not None and first_ns >= event.start_time_ns:
        made.append(FIRST_TOKEN.text(iso(first_ns)))
    if event.prompt is not None and event.prompt.name:
        version = str(event.prompt.version)
        made.append(PROMPT_NAME.text(event.prompt.name))
        # Langfuse numbers its versions; a label of another prompt store links to nothing.
        if version.isdecimal():
            made.append(PROMPT_VERSION.integer(int(version)))


def _status_message(event: Event) -> str | None:
    error = event.error
    if error is not None:
        return f"{error.type}: {error.message}" if error.message else error.type or "error"
    return None if event.outcome in {None, "ok"} else event.outcome


def _content(event: Event, made: list[bytes]) -> None:
    raw = event.input_json
    if event.tools_json is not None:
        # Langfuse shows tools where they stand beside the messages, as in a request.
        raw = b'{"messages":%b,"tools":%b}' % (raw or b"[]", event.tools_json)
    for key, content in ((INPUT, raw), (OUTPUT, event.output_json)):
        if content is None:
            continue
        if content[:1] == b'"':
            made.append(key.text(msgspec.json.decode(content)))
        else:
            made.append(key.utf8(content))


def _about(event: Event) -> dict[str, Any]:
    """Return the observation's metadata: what has no place of its own, then the caller's."""
    about: dict[str, Any] = {
        "provider": event.provider or None,
        "operation": event.operation if event.kind in {"generation", "embedding"} else None,
        "outcome": event.outcome,
        "team": event.team,
        "response_model": event.response_model,
        "completion_id": event.completion_id,
        "finish_reasons": list(event.finish_reasons) or None,
        "stream": event.stream,
        "cost_source": None if event.cost is None else event.cost.source,
        "http_status": None if event.error is None else event.error.status,
        "server_address": event.server_address,
        "routing": event.routing or None,
    }
    return {**{k: v for k, v in about.items() if v is not None}, **event.metadata}


def _tags(event: Event) -> list[str]:
    provider = (event.provider,) if event.provider else ()
    return list(dict.fromkeys((*provider, *event.tags)))


def _version(event: Event, release: str | None) -> str | None:
    version = event.metadata.get("version")
    return str(version) if isinstance(version, (str, int)) else release


def _happening(event: SpanEvent) -> bytes:
    flat = {name: _flat(value) for name, value in event.attributes.items()}
    return encoder.event(event.name, event.time_ns, encoder.attributes(flat, EVENT))


def _flat(value: Any) -> Any:
    """Return a value as metadata: what is no text, number or truth value becomes JSON text."""
    return value if value is None or isinstance(value, _SCALARS) else to_json(value).decode()


@lru_cache(maxsize=1024)
def _observation_key(name: str) -> Key:
    return Key(f"langfuse.observation.metadata.{name}")


@lru_cache(maxsize=1024)
def _trace_key(name: str) -> Key:
    return Key(f"langfuse.trace.metadata.{name}")
