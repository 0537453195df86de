"""An event -> an OTLP span with OpenInference's attributes, as Arize and Phoenix read them.

https://github.com/Arize-ai/openinference, openinference-semantic-conventions 0.1.42. What has no
name there is `gen_ai.*` or `gatewayz.*`. Pure functions; what was said is in `content.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gatewayz.events import to_json
from gatewayz.otlp import encoder
from gatewayz.otlp.encoder import Key
from gatewayz.otlp.happenings import end_ns, happenings
from gatewayz_arize.content import content_attributes

if TYPE_CHECKING:
    from gatewayz import Event, Usage

__all__ = ["encode_span", "span_kind"]

# -- the names: every attribute this backend writes, but content (content.py) ------------------------

KIND = Key("openinference.span.kind")
MODEL = Key("llm.model_name")  # the one that answered, else the one asked for
REQUEST_MODEL = Key("llm.request.model_name")
RESPONSE_MODEL = Key("llm.response.model_name")
PROVIDER = Key("llm.provider")  # the host
SYSTEM = Key("llm.system")  # whose API it speaks
PARAMETERS = Key("llm.invocation_parameters")  # JSON text
FINISH_REASON = Key("llm.finish_reason")
PROMPT_TOKENS = Key("llm.token_count.prompt")  # cache reads and writes included
COMPLETION_TOKENS = Key("llm.token_count.completion")  # reasoning included
TOTAL_TOKENS = Key("llm.token_count.total")
CACHE_READ_TOKENS = Key("llm.token_count.prompt_details.cache_read")
CACHE_WRITE_TOKENS = Key("llm.token_count.prompt_details.cache_write")
AUDIO_PROMPT_TOKENS = Key("llm.token_count.prompt_details.audio")
REASONING_TOKENS = Key("llm.token_count.completion_details.reasoning")
AUDIO_COMPLETION_TOKENS = Key("llm.token_count.completion_details.audio")
COST_PROMPT = Key("llm.cost.prompt")
COST_COMPLETION = Key("llm.cost.completion")
COST_TOTAL = Key("llm.cost.total")
PROMPT_ID = Key("prompt.id")
PROMPT_VERSION = Key("llm.prompt_template.version")
SESSION = Key("session.id")
USER = Key("user.id")
METADATA = Key("metadata")  # text of a JSON object
TAGS = Key("tag.tags")  # list
AGENT_NAME = Key("agent.name")
TOOL_NAME = Key("tool.name")
EMBEDDING_MODEL = Key("embedding.model_name")
EMBEDDING_PARAMETERS = Key("embedding.invocation_parameters")
RERANKER_MODEL = Key("reranker.model_name")
ERROR_TYPE = Key("error.type")
HTTP_STATUS = Key("http.response.status_code")

COMPLETION_ID = Key("gen_ai.response.id")
TIME_TO_FIRST_CHUNK = Key("gen_ai.response.time_to_first_chunk")  # seconds
COST_SOURCE = Key("gatewayz.cost.source")
OUTCOME = Key("gatewayz.outcome")
TEAM = Key("gatewayz.team")
ROUTING = Key("gatewayz.routing")  # JSON text

_KINDS = {
    "generation": "LLM",
    "chain": "CHAIN",
    "agent": "AGENT",
    "tool": "TOOL",
    "retriever": "RETRIEVER",
    "embedding": "EMBEDDING",
    "reranker": "RERANKER",
    "guardrail": "GUARDRAIL",
    "evaluator": "EVALUATOR",
}
# Names in use -> OpenInferenceLLMProviderValues where it differs.
_PROVIDERS = {
    "aws.bedrock": "aws",
    "azure-openai": "azure",
    "azure.ai.openai": "azure",
    "bedrock": "aws",
    "gcp.gemini": "google",
    "gcp.vertex_ai": "google",
    "gemini": "google",
    "mistral": "mistralai",
    "mistral_ai": "mistralai",
    "vertex": "google",
    "vertex_ai": "google",
    "vertexai": "google",
    "x-ai": "xai",
    "x_ai": "xai",
}
_SYSTEMS = frozenset({"openai", "anthropic", "cohere", "mistralai", "vertexai"})


def span_kind(event: Event) -> str:
    """Return OpenInference's kind of a span; one that we do not know is a CHAIN."""
    if event.kind == "generation" and event.operation == "embeddings":
        return "EMBEDDING"
    return _KINDS.get(event.kind, "CHAIN")


def encode_span(event: Event, *, keep_remote_parent: bool = False) -> bytes:
    """Return an ended span, encoded as one field of `encoder.request`.

    A parent that was made elsewhere is left out, so that the span is a root there; the trace id
    stays. `keep_remote_parent` keeps it.
    """
    kind = span_kind(event)
    made: list[bytes] = [KIND.text(kind)]
    _model(event, kind, made)
    if event.usage is not None:
        _usage(event.usage, made)
    _cost_and_owner(event, made)
    if (
        event.input_json is not None
        or event.output_json is not None
        or event.tools_json is not None
    ):
        made += content_attributes(event, kind)
    failed = event.outcome == "error" or event.error is not None
    error = event.error
    if failed:
        made.append(ERROR_TYPE.text((error and error.type) or "_OTHER"))
        if error is not None and error.status is not None:
            made.append(HTTP_STATUS.integer(error.status))
    remote = event.parent_is_remote and not keep_remote_parent
    status = encoder.STATUS_OK if event.outcome == "ok" else encoder.STATUS_UNSET
    return encoder.span(
        trace_id=event.trace_id,
        span_id=event.span_id,
        parent_span_id=None if remote else event.parent_span_id,
        parent_is_remote=event.parent_is_remote and not remote,
        name=event.name or event.kind,
        kind=encoder.KIND_CLIENT if kind in {"LLM", "EMBEDDING"} else encoder.KIND_INTERNAL,
        start_ns=event.start_time_ns,
        end_ns=end_ns(event),
        attributes=b"".join(made),
        events=happenings(event, _flat),
        status=encoder.STATUS_ERROR if failed else status,
        status_message=error.message or error.type if error is not None else "",
        trace_flags=event.trace_flags,
        trace_state=event.trace_state,
    )


def _model(event: Event, kind: str, made: list[bytes]) -> None:
    model = event.response_model or event.request_model
    if model:
        made.append(MODEL.text(model))
        if kind == "EMBEDDING":
            made.append(EMBEDDING_MODEL.text(model))
        elif kind == "RERANKER":
            made.append(RERANKER_MODEL.text(model))
    if event.request_model:
        made.append(REQUEST_MODEL.text(event.request_model))
    if event.response_model:
        made.append(RESPONSE_MODEL.text(event.response_model))
    provider = event.provider.lower()
    if provider:
        provider = _PROVIDERS.get(provider, provider)
        made.append(PROVIDER.text(provider))
    system = event.api or provider
    if system in _SYSTEMS:
        made.append(SYSTEM.text(system))
    if event.model_parameters:
        parameters = to_json(event.model_parameters)
        made.append(PARAMETERS.utf8(parameters))
        if kind == "EMBEDDING":
            made.append(EMBEDDING_PARAMETERS.utf8(parameters))
    if event.finish_reasons:
        made.append(FINISH_REASON.text(event.finish_reasons[0]))
    if event.completion_id:
        made.append(COMPLETION_ID.text(event.completion_id))
    first_ns = event.first_token_time_ns
    if first_ns is not None and first_ns >= event.start_time_ns:
        made.append(TIME_TO_FIRST_CHUNK.double((first_ns - event.start_time_ns) / 1e9))
    if kind == "AGENT" and event.name:
        made.append(AGENT_NAME.text(event.name))
    elif kind == "TOOL" and event.name:
        made.append(TOOL_NAME.text(event.name))


def _usage(usage: Usage, made: list[bytes]) -> None:
    """Add what was counted. Both sides and the total: a total alone is shown as 0 tokens."""
    given, got, total = usage.input_tokens, usage.output_tokens, usage.total_tokens
    if total is not None and given is None and got is not None:
        given = max(0, total - got)
    elif total is not None and got is None and given is not None:
        got = max(0, total - given)
    elif total is None and given is not None and got is not None:
        total = given + got
    if given is not None:
        made.append(PROMPT_TOKENS.integer(given))
    if got is not None:
        made.append(COMPLETION_TOKENS.integer(got))
    if total is not None:
        made.append(TOTAL_TOKENS.integer(total))
    if usage.cache_read_tokens:
        made.append(CACHE_READ_TOKENS.integer(usage.cache_read_tokens))
    if usage.cache_write_tokens:
        made.append(CACHE_WRITE_TOKENS.integer(usage.cache_write_tokens))
    if usage.audio_input_tokens:
        made.append(AUDIO_PROMPT_TOKENS.integer(usage.audio_input_tokens))
    if usage.reasoning_tokens:
        made.append(REASONING_TOKENS.integer(usage.reasoning_tokens))
    if usage.audio_output_tokens:
        made.append(AUDIO_COMPLETION_TOKENS.integer(usage.audio_output_tokens))


def _cost_and_owner(event: Event, made: list[bytes]) -> None:
    cost = event.cost
    if cost is not None:
        made += (COST_TOTAL.double(float(cost.amount_usd)), COST_SOURCE.text(cost.source))
        if cost.input_usd is not None:
            made.append(COST_PROMPT.double(float(cost.input_usd)))
        if cost.output_usd is not None:
            made.append(COST_COMPLETION.double(float(cost.output_usd)))
    if event.outcome is not None:
        made.append(OUTCOME.text(event.outcome))
    if event.session_id:
        made.append(SESSION.text(event.session_id))
    if event.user_id:
        made.append(USER.text(event.user_id))
    if event.team:
        made.append(TEAM.text(event.team))
    if event.metadata:
        made.append(METADATA.utf8(to_json(event.metadata)))
    if event.tags:
        made.append(TAGS.texts(event.tags))
    if event.routing:
        made.append(ROUTING.utf8(to_json(event.routing)))
    if event.prompt is not None:
        made.append(PROMPT_ID.text(event.prompt.name))
        if event.prompt.version is not None:
            made.append(PROMPT_VERSION.text(str(event.prompt.version)))


def _flat(value: Any) -> Any:
    """Return an attribute without nesting, which stands as JSON text instead."""
    return to_json(value).decode() if isinstance(value, (Mapping, list, tuple)) else value
