"""Reads a request body of any of the wire formats: model, input, tools and parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayz.wire.jsontext import sequence, text

if TYPE_CHECKING:
    from gatewayz.wire.reading import Reading

__all__ = ["read_request"]

# Parameters with text or structure in them. Any other field is kept only when it is a number or
# a boolean: parameters reach backends that must not see content, and an unknown field may hold it
# (`prediction`, `documents`) or a credential (`mcp_servers`).
_PARAMETERS = frozenset({
    "audio",
    "effort",
    "encoding_format",
    "logit_bias",
    "modalities",
    "models",
    "output_config",
    "output_format",
    "provider",
    "reasoning",
    "reasoning_effort",
    "reasoning_format",
    "response_format",
    "route",
    "service_tier",
    "speed",
    "stop",
    "stop_sequences",
    "stream_options",
    "thinking",
    "tool_choice",
    "transforms",
    "truncation",
    "verbosity",
})  # fmt: skip
_MAX_PARAMETERS = 64


def read_request(request: dict[str, Any], reading: Reading) -> None:
    """Fill in what a request says of itself."""
    reading.request_model = text(request.get("model"))
    reading.stream = request.get("stream") is True
    reading.input = _input(request)
    tools = sequence(request.get("tools") or request.get("functions"))
    reading.tools = tools or None
    reading.model_parameters = model_parameters(request)


def model_parameters(request: dict[str, Any]) -> dict[str, Any]:
    """Return the sampling and output parameters of a request; never content or credentials."""
    found: dict[str, Any] = {}
    for name, value in request.items():
        if value is None or name == "stream":
            continue
        if (isinstance(value, (int, float)) and name != "no-log") or name in _PARAMETERS:
            found[name] = value
            if len(found) == _MAX_PARAMETERS:
                break
    return found


def _input(request: dict[str, Any]) -> Any:
    messages = request.get("messages")
    system = request.get("system")
    if messages is None:
        # Responses and embeddings, then the completions of old.
        messages = request.get("input", request.get("prompt"))
        system = system or request.get("instructions")
    if not system:
        return messages
    first = {"role": "system", "content": system}
    if isinstance(messages, list):
        return [first, *messages]
    return [first] if messages is None else [first, {"role": "user", "content": messages}]
