"""An event -> an OTLP span with the attributes of OpenTelemetry's GenAI conventions.

https://github.com/open-telemetry/semantic-conventions-genai 0.1.0 (in development), with the names
it replaced where stores still read those. What has no name there is `gatewayz.*`. Pure functions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gatewayz.events import to_json
from gatewayz.otlp import encoder
from gatewayz.otlp.encoder import EVENT, Key
from gatewayz.otlp.happenings import end_ns, happenings
from gatewayz_otel.content import content_attributes

if TYPE_CHECKING:
    from gatewayz import Event, Score, ScoreEvent, Usage

__all__ = ["encode_score", "encode_span", "provider_name"]

# -- the names: every attribute this backend writes, but content (content.py) ------------------------

OPERATION = Key("gen_ai.operation.name")
PROVIDER = Key("gen_ai.provider.name")
SYSTEM = Key("gen_ai.system")  # replaced by gen_ai.provider.name in 1.37
REQUEST_MODEL = Key("gen_ai.request.model")
REQUEST_STREAM = Key("gen_ai.request.stream")
RESPONSE_MODEL = Key("gen_ai.response.model")
RESPONSE_ID = Key("gen_ai.response.id")
FINISH_REASONS = Key("gen_ai.response.finish_reasons")
TIME_TO_FIRST_CHUNK = Key("gen_ai.response.time_to_first_chunk")  # seconds
INPUT_TOKENS = Key("gen_ai.usage.input_tokens")
OUTPUT_TOKENS = Key("gen_ai.usage.output_tokens")
CACHE_READ_TOKENS = Key("gen_ai.usage.cache_read.input_tokens")
CACHE_WRITE_TOKENS = Key("gen_ai.usage.cache_write.input_tokens")
CACHE_CREATION_TOKENS = Key("gen_ai.usage.cache_creation.input_tokens")  # now cache_write
REASONING_TOKENS = Key("gen_ai.usage.reasoning.output_tokens")
CONVERSATION = Key("gen_ai.conversation.id")
PROMPT_NAME = Key("gen_ai.prompt.name")
USER = Key("user.id")
SESSION = Key("session.id")
ERROR_TYPE = Key("error.type")
HTTP_STATUS = Key("http.response.status_code")
SERVER_ADDRESS = Key("server.address")
SERVER_PORT = Key("server.port")

KIND = Key("gatewayz.kind")
NAME = Key("gatewayz.name")  # the caller's name of a span whose name the convention prescribes
OUTCOME = Key("gatewayz.outcome")
COST_TOTAL = Key("gatewayz.cost.total_usd")
COST_INPUT = Key("gatewayz.cost.input_usd")
COST_OUTPUT = Key("gatewayz.cost.output_usd")
COST_SOURCE = Key("gatewayz.cost.source")
TOTAL_TOKENS = Key("gatewayz.usage.total_tokens")
AUDIO_INPUT_TOKENS = Key("gatewayz.usage.audio.input_tokens")
AUDIO_OUTPUT_TOKENS = Key("gatewayz.usage.audio.output_tokens")
TAGS = Key("gatewayz.tags")
TEAM = Key("gatewayz.team")
PROMPT_VERSION = Key("gatewayz.prompt.version")

SCORE_NAME = "gen_ai.evaluation.name"
SCORE_VALUE = "gen_ai.evaluation.score.value"
SCORE_LABEL = "gen_ai.evaluation.score.label"
SCORE_EXPLANATION = "gen_ai.evaluation.explanation"
SCORE_RESPONSE_ID = "gen_ai.response.id"

# Request parameters, by the names OpenAI and Anthropic give them.
_INTEGERS = {
    "max_tokens": Key("gen_ai.request.max_tokens"),
    "max_completion_tokens": Key("gen_ai.request.max_tokens"),
    "max_output_tokens": Key("gen_ai.request.max_tokens"),
    "seed": Key("gen_ai.request.seed"),
    "n": Key("gen_ai.request.choice.count"),
    "dimensions": Key("gen_ai.embeddings.dimension.count"),
}
_DOUBLES = {
    name: Key(f"gen_ai.request.{name}")
    for name in ("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty")
}
_TEXT_LISTS = {
    "stop": Key("gen_ai.request.stop_sequences"),
    "stop_sequences": Key("gen_ai.request.stop_sequences"),
    "encoding_format": Key("gen_ai.request.encoding_formats"),
}
_OTHER_PARAMETER_CHARS = 200

# kind -> gen_ai.operation.name, and the attribute that holds the name; spans of other kinds have
# no operation in the conventions.
_OPERATIONS = {
    "agent": ("invoke_agent", Key("gen_ai.agent.name")),
    "tool": ("execute_tool", Key("gen_ai.tool.name")),
    "chain": ("invoke_workflow", Key("gen_ai.workflow.name")),
    "retriever": ("retrieval", NAME),
}
# Names in use -> gen_ai.provider.name where it differs.
_PROVIDERS = {
    "azure": "azure.ai.openai",
    "azure-openai": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "vertex": "gcp.vertex_ai",
    "vertex_ai": "gcp.vertex_ai",
    "vertexai": "gcp.vertex_ai",
    "x-ai": "x_ai",
    "xai": "x_ai",
}


def provider_name(provider: str) -> str:
    """Return a provider as the conventions spell it; an unknown one as it is.

    >>> provider_name("bedrock"), provider_name("openrouter")
    ('aws.bedrock', 'openrouter')
    """
    return _PROVIDERS.get(provider.lower(), provider)


def encode_span(event: Event, message_max_bytes: int = 0) -> bytes:
    """Return an ended span, encoded as one field of `encoder.request`.

    `message_max_bytes` cuts each message of captured content; 0 keeps them whole.
    """
    operation, name_key = _OPERATIONS.get(event.kind, ("", None))
    if event.kind == "generation":
        operation = event.operation or "chat"
    elif event.kind == "embedding":
        operation = "embeddings"
    inference = event.kind in {"generation", "embedding"}
    name = event.name or event.kind
    made: list[bytes] = [KIND.text(event.kind)]
    if operation:
        made.append(OPERATION.text(operation))
    if inference and event.request_model:
        conventional = f"{operation} {event.request_model}"
        if name != conventional:
            made.append(NAME.text(name))
        name = conventional
    elif name_key is not None:
        made.append(name_key.text(name))
        name = f"{operation} {name}"
    _model(event, made)
    _parameters(event.model_parameters, made)
    if event.usage is not None:
        _usage(event.usage, made)
    _cost_and_owner(event, made)
    made += (_metadata_key(k).value(_flat(v)) for k, v in event.metadata.items())
    made += (_routing_key(k).value(_flat(v)) for k, v in event.routing.items())
    if (
        event.input_json is not None
        or event.output_json is not None
        or event.tools_json is not None
    ):
        made += content_attributes(event, message_max_bytes)
    failed = event.outcome == "error" or event.error is not None
    error = event.error
    if error is not None:
        made.append(ERROR_TYPE.text(error.type or "_OTHER"))
        if error.status is not None:
            made.append(HTTP_STATUS.integer(error.status))
    elif failed:
        made.append(ERROR_TYPE.text("_OTHER"))
    return encoder.span(
        trace_id=event.trace_id,
        span_id=event.span_id,
        parent_span_id=event.parent_span_id,
        parent_is_remote=event.parent_is_remote,
        name=name,
        kind=encoder.KIND_CLIENT if inference else encoder.KIND_INTERNAL,
        start_ns=event.start_time_ns,
        end_ns=end_ns(event),
        attributes=b"".join(made),
        events=happenings(event, _flat),
        status=encoder.STATUS_ERROR if failed else encoder.STATUS_UNSET,
        status_message=error.message if error is not None else "",
        trace_flags=event.trace_flags,
        trace_state=event.trace_state,
    )


def encode_score(event: ScoreEvent, score: Score) -> bytes:
    """Return a score as an event `gen_ai.evaluation.result` on a span of no duration.

    A span that has ended cannot be given events, so the score has a child span of its own, with
    an id made from the score's: sent again it is the same span. The event's attributes stand on
    the span too, where more stores can search. A score of a whole trace has no parent to name.
    """
    values: dict[str, Any] = {SCORE_NAME: score.name}
    if score.data_type == "categorical":
        values[SCORE_LABEL] = str(score.value)
    else:
        values[SCORE_VALUE] = _double(score.value)
        if score.data_type == "boolean":
            values[SCORE_LABEL] = "true" if score.value else "false"
    if score.comment:
        values[SCORE_EXPLANATION] = score.comment
    if event.completion_id:
        values[SCORE_RESPONSE_ID] = event.completion_id
    identity = f"{event.trace_id}/{event.span_id}/{score.score_id}"
    own = {"gatewayz.kind": "score", "gatewayz.score.id": score.score_id}
    return encoder.span(
        trace_id=event.trace_id,
        span_id=hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:16],
        parent_span_id=event.span_id,
        name=f"evaluation {score.name}".rstrip(),
        kind=encoder.KIND_INTERNAL,
        start_ns=event.time_ns,
        end_ns=event.time_ns,
        attributes=encoder.attributes({**own, **values}),
        events=encoder.event(
            "gen_ai.evaluation.result", event.time_ns, encoder.attributes(values, EVENT)
        ),
        trace_state=event.trace_state,
    )


def _model(event: Event, made: list[bytes]) -> None:
    if event.provider:
        provider = provider_name(event.provider)
        made += (PROVIDER.text(provider), SYSTEM.text(provider))
    if event.request_model:
        made.append(REQUEST_MODEL.text(event.request_model))
    if event.response_model:
        made.append(RESPONSE_MODEL.text(event.response_model))
    if event.completion_id:
        made.append(RESPONSE_ID.text(event.completion_id))
    if event.finish_reasons:
        made.append(FINISH_REASONS.texts(event.finish_reasons))
    if event.stream is not None:
        made.append(REQUEST_STREAM.boolean(event.stream))
    first_ns = event.first_token_time_ns
    if first_ns is not None and first_ns >= event.start_time_ns:
        made.append(TIME_TO_FIRST_CHUNK.double((first_ns - event.start_time_ns) / 1e9))
    if event.server_address:
        made.append(SERVER_ADDRESS.text(event.server_address))
        if event.server_port is not None:
            made.append(SERVER_PORT.integer(event.server_port))


def _parameters(parameters: Mapping[str, Any], made: list[bytes]) -> None:
    written: set[str] = set()
    for name, value in parameters.items():
        key: Key | None = None
        attribute = b""
        if value is None or name == "stream":
            continue
        if (key := _INTEGERS.get(name)) is not None and type(value) is int:
            if name == "n" and value == 1:
                continue
            attribute = key.integer(value)
        elif (key := _DOUBLES.get(name)) is not None and type(value) in {int, float}:
            attribute = key.double(_double(value))
        elif (key := _TEXT_LISTS.get(name)) is not None and isinstance(value, (str, tuple, list)):
            items = (value,) if isinstance(value, str) else value
            attribute = key.texts([v for v in items if isinstance(v, str)])
        elif isinstance(value, (str, int, float)) and len(str(value)) <= _OTHER_PARAMETER_CHARS:
            key = _parameter_key(name)
            attribute = key.value(value)
        # Two spellings of one parameter must not become the same attribute twice.
        if key is not None and attribute and key.name not in written:
            written.add(key.name)
            made.append(attribute)


def _usage(usage: Usage, made: list[bytes]) -> None:
    if usage.input_tokens is not None:
        made.append(INPUT_TOKENS.integer(usage.input_tokens))
    if usage.output_tokens is not None:
        made.append(OUTPUT_TOKENS.integer(usage.output_tokens))
    if usage.total_tokens is not None:
        made.append(TOTAL_TOKENS.integer(usage.total_tokens))
    if usage.cache_read_tokens:
        made.append(CACHE_READ_TOKENS.integer(usage.cache_read_tokens))
    if usage.cache_write_tokens:
        made.append(CACHE_WRITE_TOKENS.integer(usage.cache_write_tokens))
        made.append(CACHE_CREATION_TOKENS.integer(usage.cache_write_tokens))
    if usage.reasoning_tokens:
        made.append(REASONING_TOKENS.integer(usage.reasoning_tokens))
    if usage.audio_input_tokens:
        made.append(AUDIO_INPUT_TOKENS.integer(usage.audio_input_tokens))
    if usage.audio_output_tokens:
        made.append(AUDIO_OUTPUT_TOKENS.integer(usage.audio_output_tokens))


def _cost_and_owner(event: Event, made: list[bytes]) -> None:
    cost = event.cost
    if cost is not None:
        made += (COST_TOTAL.double(float(cost.amount_usd)), COST_SOURCE.text(cost.source))
        if cost.input_usd is not None:
            made.append(COST_INPUT.double(float(cost.input_usd)))
        if cost.output_usd is not None:
            made.append(COST_OUTPUT.double(float(cost.output_usd)))
    if event.outcome is not None:
        made.append(OUTCOME.text(event.outcome))
    if event.user_id:
        made.append(USER.text(event.user_id))
    if event.session_id:
        made += (SESSION.text(event.session_id), CONVERSATION.text(event.session_id))
    if event.team:
        made.append(TEAM.text(event.team))
    if event.tags:
        made.append(TAGS.texts(event.tags))
    if event.prompt is not None:
        made.append(PROMPT_NAME.text(event.prompt.name))
        if event.prompt.version is not None:
            made.append(PROMPT_VERSION.text(str(event.prompt.version)))


def _flat(value: Any) -> Any:
    """Return a value stores can search: nested ones become JSON text, lists of texts stay lists."""
    if isinstance(value, Mapping):
        return to_json(value).decode()
    if isinstance(value, (list, tuple)) and not all(isinstance(item, str) for item in value):
        return to_json(value).decode()
    return value


def _double(value: Any) -> float:
    try:
        return float(value)
    except (OverflowError, TypeError, ValueError):
        return float("nan")


@lru_cache(maxsize=1024)
def _metadata_key(name: str) -> Key:
    return Key(f"gatewayz.metadata.{name}")


@lru_cache(maxsize=256)
def _routing_key(name: str) -> Key:
    return Key(f"gatewayz.routing.{name}")


@lru_cache(maxsize=256)
def _parameter_key(name: str) -> Key:
    return Key(f"gatewayz.request.{name}")
