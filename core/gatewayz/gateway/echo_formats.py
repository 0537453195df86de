"""What echo says, in the words of both wire formats.

Shapes as the official SDKs (openai 3.54, anthropic 2.12) read them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayz.gateway.upstreams import WireFormat

__all__ = ["FORMATS", "Said", "models", "read_request"]

_encode = msgspec.json.encode
_MAX_CHOICES = 8

Events = tuple[Iterable[bytes], Iterable[bytes], Iterable[bytes]]
"""A stream's events: those that open it, the content, those that close it."""


class ToolCall(NamedTuple):
    """A tool that echo calls, and with what."""

    name: str
    arguments: dict[str, Any]


class Said(NamedTuple):
    """What echo makes of a request: the words it answers with, and what it counted."""

    words: list[str]
    call: ToolCall | None
    full: bool
    input_words: int
    cached_words: int
    written_words: int
    written_1h_words: int
    reasoning_words: int

    @property
    def text(self) -> str:
        """The words of the answer."""
        return " ".join(self.words)

    @property
    def output_words(self) -> int:
        """Return what is counted as output, reasoning included."""
        said = _count(_encode(self.call.arguments).decode()) if self.call else len(self.words)
        return said + self.reasoning_words


def _count(text: str) -> int:
    return len(text.split())


def _texts(content: Any) -> Iterator[str]:
    """Yield the texts in a message's content, of either format."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, str):
                yield part
            elif isinstance(part, dict):
                yield from _texts(part.get("text"))
                if part.get("type") == "tool_result":
                    yield from _texts(part.get("content"))


def _words_of(content: Any) -> int:
    return sum(_count(text) for text in _texts(content))


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def read_request(
    api: WireFormat, request: Mapping[str, Any], *, call_tool: bool, words: int | None
) -> Said:
    """Return what echo answers.

    `call_tool`: the model's name asks for a tool call; `words`: for exactly so many words.
    """
    messages = _dicts(request.get("messages"))
    last: dict[str, Any] = messages[-1] if messages else {}
    asked: dict[str, Any] = next(
        (m for m in reversed(messages) if m.get("role") in {"user", "tool"}), {}
    )
    text = " ".join(_texts(asked.get("content"))) or "(nothing)"
    said = text.split()
    if words is not None:
        said = [said[i % len(said)] for i in range(words)]
    limit = request.get("max_completion_tokens") or request.get("max_tokens")
    full = isinstance(limit, int) and 0 < limit < len(said)
    earlier = _words_of(request.get("system")) + sum(
        _words_of(m.get("content")) for m in messages[:-1]
    )
    written, written_1h = _marked(last.get("content")) if api == "anthropic" else (0, 0)
    return Said(
        words=said[:limit] if full else said,
        call=_tool_call(request, text, wanted=call_tool) if not _is_tool_result(last) else None,
        full=full,
        input_words=earlier + _words_of(last.get("content")),
        cached_words=earlier,
        written_words=written,
        written_1h_words=written_1h,
        reasoning_words=_count(text) if _reasons(request) else 0,
    )


def _marked(content: Any) -> tuple[int, int]:
    """Return the words that cache_control marks, and those of them for an hour."""
    written = for_an_hour = 0
    for part in _dicts(content):
        control = part.get("cache_control")
        if isinstance(control, dict):
            count = _words_of([part])
            written += count
            for_an_hour += count if control.get("ttl") == "1h" else 0
    return written, for_an_hour


def _reasons(request: Mapping[str, Any]) -> bool:
    thinking = request.get("thinking")
    enabled = isinstance(thinking, dict) and thinking.get("type") in {"enabled", "adaptive"}
    return enabled or request.get("reasoning_effort") not in {None, "none"}


def _is_tool_result(message: Mapping[str, Any]) -> bool:
    return message.get("role") == "tool" or any(
        part.get("type") == "tool_result" for part in _dicts(message.get("content"))
    )


def _tool_call(request: Mapping[str, Any], text: str, *, wanted: bool) -> ToolCall | None:
    """Return the call of the tool that `tool_choice` demands, or of the first where one is wanted."""
    tools = []
    for tool in _dicts(request.get("tools")):
        function = tool.get("function") if isinstance(tool.get("function"), dict) else tool
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            tools.append(
                (function["name"], function.get("parameters") or function.get("input_schema"))
            )
    choice = request.get("tool_choice")
    name = None
    if isinstance(choice, dict):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else choice.get("name")
        wanted = wanted or name is not None or choice.get("type") == "any"
        if choice.get("type") == "none":
            return None
    elif choice == "none":
        return None
    elif choice == "required":
        wanted = True
    if not wanted or not tools:
        return None
    chosen, schema = next((t for t in tools if t[0] == name), tools[0])
    return ToolCall(chosen, _arguments(schema, text))


def _arguments(schema: Any, text: str) -> dict[str, Any]:
    """Return arguments that fit a JSON schema's required properties, made of the text."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return {}
    required = schema.get("required") or list(properties)
    return {name: _value(properties.get(name), text) for name in required if isinstance(name, str)}


def _value(schema: Any, text: str) -> Any:
    if not isinstance(schema, dict):
        return text
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object":
        return _arguments(schema, text)
    values: dict[Any, Any] = {
        "integer": _count(text),
        "number": _count(text),
        "boolean": True,
        "array": [],
        "null": None,
    }
    return values.get(kind, text)


def models(api: WireFormat) -> dict[str, Any]:
    """Return echo's list of models."""
    names = ("echo", "echo-tools")
    if api == "anthropic":
        rows: list[dict[str, Any]] = [
            {"type": "model", "id": n, "display_name": n, "created_at": "2026-01-01T00:00:00Z"}
            for n in names
        ]
        return {"data": rows, "has_more": False, "first_id": names[0], "last_id": names[-1]}
    rows = [
        {"id": n, "object": "model", "created": 1767225600, "owned_by": "gatewayz"} for n in names
    ]
    return {"object": "list", "data": rows}


def _pieces(said: Said) -> list[str]:
    """Return the answer's text in pieces of one word each; joined they are the text."""
    return [word if i == 0 else f" {word}" for i, word in enumerate(said.words)]


class _OpenAI:
    """Chat completions."""

    def whole(self, request: Mapping[str, Any], said: Said) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": None}
        if said.call is not None:
            message["content"] = None
            message["tool_calls"] = [self._call(said.call)]
        choice = {"message": message, "logprobs": None, "finish_reason": self._reason(said)}
        return {
            **self._head(request, "chat.completion"),
            "choices": [{"index": i, **choice} for i in range(self._n(request))],
            "usage": self._usage(request, said),
        }

    def stream(self, request: Mapping[str, Any], said: Said) -> Events:
        head = self._head(request, "chat.completion.chunk")
        options = request.get("stream_options")
        asked = isinstance(options, dict) and options.get("include_usage") is True

        def chunk(index: int, delta: dict[str, Any], reason: str | None = None) -> bytes:
            value = {
                **head,
                "choices": [
                    {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
                ],
            }
            if asked:
                value["usage"] = None
            return b"data: " + _encode(value) + b"\n\n"

        choices = range(self._n(request))
        opening = [
            chunk(i, {"role": "assistant", "content": None if said.call else ""}) for i in choices
        ]
        if said.call is not None:
            call = {"index": 0, **self._call(said.call)}
            arguments = call["function"]["arguments"]
            call["function"] = {**call["function"], "arguments": ""}
            half = len(arguments) // 2
            deltas: list[dict[str, Any]] = [{"tool_calls": [call]}]
            deltas += [
                {"tool_calls": [{"index": 0, "function": {"arguments": part}}]}
                for part in (arguments[:half], arguments[half:])
            ]
        else:
            deltas = [{"content": piece} for piece in _pieces(said)]
        content = (chunk(i, delta) for delta in deltas for i in choices)
        closing = [chunk(i, {}, self._reason(said)) for i in choices]
        if asked:
            usage = {**head, "choices": [], "usage": self._usage(request, said)}
            closing.append(b"data: " + _encode(usage) + b"\n\n")
        closing.append(b"data: [DONE]\n\n")
        return opening, content, closing

    def _n(self, request: Mapping[str, Any]) -> int:
        n = request.get("n")
        return max(1, min(n, _MAX_CHOICES)) if isinstance(n, int) else 1

    def _head(self, request: Mapping[str, Any], kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{uuid4().hex}",
            "object": kind,
            "created": int(time.time()),
            "model": request.get("model"),
            "system_fingerprint": "echo",
        }

    def _reason(self, said: Said) -> str:
        return "tool_calls" if said.call else "length" if said.full else "stop"

    def _call(self, call: ToolCall) -> dict[str, Any]:
        function = {"name": call.name, "arguments": _encode(call.arguments).decode()}
        return {"id": f"call_{uuid4().hex[:24]}", "type": "function", "function": function}

    def _usage(self, request: Mapping[str, Any], said: Said) -> dict[str, Any]:
        output = said.output_words * self._n(request)
        return {
            "prompt_tokens": said.input_words,
            "completion_tokens": output,
            "total_tokens": said.input_words + output,
            "prompt_tokens_details": {"cached_tokens": said.cached_words, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": said.reasoning_words * self._n(request),
                "audio_tokens": 0,
            },
        }


class _Anthropic:
    """Messages."""

    def whole(self, request: Mapping[str, Any], said: Said) -> dict[str, Any]:
        block: dict[str, Any] = {"type": "text", "text": said.text, "citations": None}
        if said.call is not None:
            block = self._call(said.call)
        usage = {**self._input_usage(said), **self._output_usage(said)}
        return {**self._head(request), "content": [block], **self._stop(said), "usage": usage}

    def stream(self, request: Mapping[str, Any], said: Said) -> Events:
        message = {
            **self._head(request),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**self._input_usage(said), "output_tokens": 1},
        }
        if said.call is not None:
            block = {**self._call(said.call), "input": {}}
            arguments = _encode(said.call.arguments).decode()
            half = len(arguments) // 2
            deltas = [
                {"type": "input_json_delta", "partial_json": part}
                for part in ("", arguments[:half], arguments[half:])
            ]
        else:
            block = {"type": "text", "text": "", "citations": None}
            deltas = [{"type": "text_delta", "text": piece} for piece in _pieces(said)]
        opening = [
            _event("message_start", {"message": message}),
            _event("content_block_start", {"index": 0, "content_block": block}),
            _event("ping", {}),
        ]
        content = (_event("content_block_delta", {"index": 0, "delta": delta}) for delta in deltas)
        closing = [
            _event("content_block_stop", {"index": 0}),
            _event("message_delta", {"delta": self._stop(said), "usage": self._output_usage(said)}),
            _event("message_stop", {}),
        ]
        return opening, content, closing

    def _head(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "id": f"msg_{uuid4().hex[:24]}",
            "type": "message",
            "role": "assistant",
            "model": request.get("model"),
        }

    def _stop(self, said: Said) -> dict[str, Any]:
        reason = "tool_use" if said.call else "max_tokens" if said.full else "end_turn"
        return {"stop_reason": reason, "stop_sequence": None}

    def _call(self, call: ToolCall) -> dict[str, Any]:
        return {
            "type": "tool_use",
            "id": f"toolu_{uuid4().hex[:24]}",
            "name": call.name,
            "input": call.arguments,
        }

    def _input_usage(self, said: Said) -> dict[str, Any]:
        # Here input_tokens leaves out what a cache holds or was given.
        return {
            "input_tokens": said.input_words - said.cached_words - said.written_words,
            "cache_creation_input_tokens": said.written_words,
            "cache_read_input_tokens": said.cached_words,
            "cache_creation": {
                "ephemeral_5m_input_tokens": said.written_words - said.written_1h_words,
                "ephemeral_1h_input_tokens": said.written_1h_words,
            },
            "service_tier": "standard",
        }

    def _output_usage(self, said: Said) -> dict[str, Any]:
        usage: dict[str, Any] = {"output_tokens": said.output_words}
        if said.reasoning_words:
            usage["output_tokens_details"] = {"thinking_tokens": said.reasoning_words}
        return usage


def _event(name: str, value: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), _encode({"type": name, **value}))


FORMATS: dict[WireFormat, _OpenAI | _Anthropic] = {"openai": _OpenAI(), "anthropic": _Anthropic()}
