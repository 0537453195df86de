"""What was said -> the content attributes of OpenTelemetry's GenAI conventions, as JSON text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayz.events import to_json
from gatewayz.messages import output_parts, parts, tool_definitions
from gatewayz.otlp.encoder import Key

if TYPE_CHECKING:
    from gatewayz import Event

__all__ = ["content_attributes", "shorten"]

SYSTEM_INSTRUCTIONS = Key("gen_ai.system_instructions")
INPUT_MESSAGES = Key("gen_ai.input.messages")
OUTPUT_MESSAGES = Key("gen_ai.output.messages")
TOOL_DEFINITIONS = Key("gen_ai.tool.definitions")
TOOL_ARGUMENTS = Key("gen_ai.tool.call.arguments")
TOOL_RESULT = Key("gen_ai.tool.call.result")
RETRIEVAL_QUERY = Key("gen_ai.retrieval.query.text")
RETRIEVAL_DOCUMENTS = Key("gen_ai.retrieval.documents")
INPUT = Key("gatewayz.input")
OUTPUT = Key("gatewayz.output")

_CONVERSING = frozenset({"generation", "agent"})
_OF_KIND = {
    "tool": (TOOL_ARGUMENTS, TOOL_RESULT),
    "retriever": (RETRIEVAL_QUERY, RETRIEVAL_DOCUMENTS),
}
_TEXTS = ("content", "arguments", "response")


def content_attributes(event: Event, message_max_bytes: int = 0) -> list[bytes]:
    """Return the captured content as attributes; a message is cut at `message_max_bytes`, 0: never.

    Inferences and agents carry messages; a tool its arguments and result; others what went in and
    out, as `gatewayz.input` and `gatewayz.output`.
    """
    made: list[bytes] = []
    if event.kind in _CONVERSING:
        if event.input_json is not None:
            messages = parts(event.input)
            # Anthropic keeps instructions apart from the conversation; so does the convention then.
            if event.api == "anthropic" and messages and messages[0]["role"] == "system":
                instructions = messages.pop(0)
                shorten([instructions], message_max_bytes)
                made.append(SYSTEM_INSTRUCTIONS.utf8(to_json(instructions["parts"])))
            shorten(messages, message_max_bytes)
            made.append(INPUT_MESSAGES.utf8(to_json(messages)))
        if event.output_json is not None:
            messages = output_parts(event.output, event.finish_reasons)
            shorten(messages, message_max_bytes)
            made.append(OUTPUT_MESSAGES.utf8(to_json(messages)))
        if event.tools_json is not None:
            made.append(TOOL_DEFINITIONS.utf8(to_json(tool_definitions(event.tools))))
        return made
    keys = _OF_KIND.get(event.kind, (INPUT, OUTPUT))
    for key, raw, value in zip(
        keys, (event.input_json, event.output_json), (event.input, event.output), strict=True
    ):
        if raw is not None:
            text = value if isinstance(value, str) else raw.decode()
            made.append(key.text(_cut(text, message_max_bytes) if message_max_bytes else text))
    return made


def shorten(messages: list[dict[str, Any]], max_bytes: int) -> None:
    """Cut, in place, what each message says to `max_bytes` bytes in all; 0 cuts nothing."""
    if max_bytes <= 0:
        return
    for message in messages:
        left = max_bytes
        for part in message["parts"]:
            for field in _TEXTS:
                value = part.get(field)
                if value is None:
                    continue
                text = value if isinstance(value, str) else to_json(value).decode()
                size = len(text.encode("utf-8", "replace"))
                if size > left:
                    part[field] = _cut(text, left)
                left = max(0, left - size)


def _cut(text: str, max_bytes: int) -> str:
    raw = text.encode("utf-8", "replace")
    if len(raw) <= max_bytes:
        return text
    return f"{raw[:max_bytes].decode('utf-8', 'ignore')}…[truncated {len(raw) - max_bytes} bytes]"
