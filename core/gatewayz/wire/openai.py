"""Reads what an OpenAI-compatible chat completion answered, whole or streamed.

Streams are merged into the message that a non-streamed answer would have held, by the rules of
https://platform.openai.com/docs/api-reference/chat-streaming, and leniently: other servers leave
out choices, deltas, indices and ids, repeat names, or send arguments as objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayz.wire.failure import error_from
from gatewayz.wire.jsontext import join_text, mapping, sequence, text
from gatewayz.wire.usage import cost_from, usage_from

if TYPE_CHECKING:
    from gatewayz.wire.reading import Reading

__all__ = ["ChatStream", "read_completion", "usage_of"]

# Streamed in pieces that are put together; every other text of a delta is whole.
_PIECES = frozenset({"content", "refusal", "reasoning", "reasoning_content"})


def usage_of(answer: dict[str, Any]) -> dict[str, Any] | None:
    """Return the usage object of an answer or chunk, Groq's place for it included, if any."""
    usage = answer.get("usage")
    if not usage and "x_groq" in answer:
        usage = mapping(answer["x_groq"]).get("usage")
    return usage if usage and isinstance(usage, dict) else None


def read_completion(answer: dict[str, Any], reading: Reading) -> None:
    """Fill in what a whole answer says: a chat completion, a text completion or embeddings."""
    reading.completion_id = text(answer.get("id"))
    reading.response_model = text(answer.get("model"))
    reading.service_tier = text(answer.get("service_tier"))
    usage = usage_of(answer)
    reading.usage = usage_from(usage)
    reading.cost_usd = cost_from(usage)
    if answer.get("error"):
        reading.error = error_from(answer)
    messages: list[Any] = []
    reasons: list[str] = []
    for choice in sequence(answer.get("choices")):
        if not isinstance(choice, dict):
            continue
        message = choice.get("message")
        if message is None and "text" in choice:
            message = {"role": "assistant", "content": choice["text"]}
        if message is not None:
            messages.append(message)
        if reason := text(choice.get("finish_reason")):
            reasons.append(reason)
        if choice.get("error") and reading.error is None:
            reading.error = error_from(choice)
    reading.output = _one_or_all(messages)
    reading.finish_reasons = tuple(reasons)


def _one_or_all(messages: list[Any]) -> Any:
    if not messages:
        return None
    return messages[0] if len(messages) == 1 else messages


class ChatStream:
    """Puts the chunks of one streamed chat completion together."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._choices: dict[int, _Choice] = {}
        self._usage: dict[str, Any] | None = None
        self.keep_content = True
        self.done = False

    def add(self, name: str | None, chunk: dict[str, Any]) -> bool:
        """Take one event's JSON; tell whether a generated token was in it."""
        reading = self._reading
        if reading.completion_id is None:
            reading.completion_id = text(chunk.get("id"))
        if reading.response_model is None:
            reading.response_model = text(chunk.get("model"))
        if tier := chunk.get("service_tier"):
            reading.service_tier = text(tier)
        # Running totals: the last one counts, none is added. Some servers send one with each chunk.
        self._usage = usage_of(chunk) or self._usage
        if (name == "error" or chunk.get("error")) and reading.error is None:
            reading.error = error_from(chunk)
        generated = False
        choices = chunk.get("choices")
        if type(choices) is not list:
            return False
        for position, part in enumerate(choices):
            if type(part) is not dict:
                continue
            index = part.get("index")
            if type(index) is not int:
                index = position
            choice = self._choices.get(index)
            if choice is None:
                choice = self._choices[index] = _Choice()
            if reason := part.get("finish_reason"):
                choice.finish_reason = text(reason)
            if part.get("error") and reading.error is None:
                reading.error = error_from(part)
            if not self.keep_content:
                continue
            delta = part.get("delta")
            if type(delta) is dict:
                generated |= choice.add(delta)
            elif text(part.get("text")):
                # The completions of old.
                generated |= choice.add({"content": part["text"]})
        return generated

    def finish(self, wanted_choices: int = 1) -> bool:
        """Fill in the reading; tell whether every choice of the answer said that it is complete."""
        reading = self._reading
        reading.usage = usage_from(self._usage)
        reading.cost_usd = cost_from(self._usage)
        choices = [self._choices[index] for index in sorted(self._choices)]
        messages = [choice.message() for choice in choices]
        reading.output = _one_or_all([m for m in messages if m is not None])
        reading.finish_reasons = tuple(c.finish_reason for c in choices if c.finish_reason)
        return len(choices) >= wanted_choices and len(reading.finish_reasons) == len(choices) > 0


class _Choice:
    __slots__ = (
        "audio",
        "by_id",
        "by_index",
        "calls",
        "finish_reason",
        "function",
        "lists",
        "role",
        "texts",
        "whole",
    )

    def __init__(self) -> None:
        self.role: str | None = None
        self.texts: dict[str, list[Any]] = {}
        self.calls: list[_Call] = []
        self.by_index: dict[int, _Call] = {}
        self.by_id: dict[str, _Call] = {}
        self.function: _Call | None = None
        self.audio: dict[str, Any] = {}
        self.lists: dict[str, list[Any]] = {}
        self.whole: dict[str, Any] = {}
        self.finish_reason: str | None = None

    def add(self, delta: dict[str, Any]) -> bool:
        generated = False
        for key, value in delta.items():
            if value is None:
                continue
            if key in _PIECES:
                pieces = self.texts.get(key)
                if pieces is None:
                    pieces = self.texts[key] = []
                if type(value) is str:
                    pieces.append(value)
                elif type(value) is list:
                    pieces.extend(value)
                generated |= bool(value)
            elif key == "role":
                self.role = self.role or text(value)
            elif key == "tool_calls":
                for piece in sequence(value):
                    generated |= self._add_call(piece)
            elif key == "function_call":
                self.function = self.function or _Call(0)
                self.function.add({"function": value})
                generated = True
            elif key == "reasoning_details":
                details = self.lists.setdefault(key, [])
                for piece in sequence(value):
                    _add_detail(details, piece)
                    generated = True
            elif key == "audio":
                generated |= self._add_audio(mapping(value))
            elif type(value) is list:
                # Annotations, images: each element comes whole.
                self.lists.setdefault(key, []).extend(value)
            else:
                self.whole[key] = value
        return generated

    def _add_call(self, piece: Any) -> bool:
        if type(piece) is not dict:
            return False
        index, call_id = piece.get("index"), text(piece.get("id"))
        call: _Call | None = None
        if type(index) is int:
            call = self.by_index.get(index)
            if call is not None and call_id and call.begins_another(call_id, piece):
                # Gemini numbers parallel calls all 0: a new id with a name is a new call.
                call = None
        else:
            index = self.calls[-1].index + 1 if self.calls else 0
            if call_id:
                call = self.by_id.get(call_id)
            elif self.calls:
                call = self.calls[-1]
        if call is None:
            call = _Call(index)
            self.calls.append(call)
            self.by_index[index] = call
        if call_id:
            self.by_id[call_id] = call
        call.add(piece)
        return True

    def _add_audio(self, piece: dict[str, Any]) -> bool:
        for key, value in piece.items():
            before = self.audio.get(key)
            pieced = key in {"data", "transcript"} and type(value) is str and type(before) is str
            self.audio[key] = before + value if pieced else value
        return bool(piece.get("data") or piece.get("transcript"))

    def message(self) -> dict[str, Any] | None:
        """Return the message, with the fields in the order a non-streamed answer has them."""
        if not (self.role or self.texts or self.calls or self.function or self.lists or self.audio):
            return None
        message: dict[str, Any] = {"role": self.role or "assistant", "content": None}
        for key, pieces in self.texts.items():
            message[key] = _joined(pieces)
        if not message["content"] and (self.calls or self.function or message.get("refusal")):
            message["content"] = None
        message.update(self.lists)
        if self.audio:
            message["audio"] = self.audio
        if self.function is not None:
            message["function_call"] = self.function.value()["function"]
        if self.calls:
            message["tool_calls"] = [c.value() for c in sorted(self.calls, key=lambda c: c.index)]
        message.update(self.whole)
        return message


class _Call:
    __slots__ = ("arguments", "call_id", "index", "kind", "name", "other", "whole")

    def __init__(self, index: int) -> None:
        self.index = index
        self.call_id: str | None = None
        self.kind = "function"
        self.name: str | None = None
        self.arguments: list[str] = []
        self.whole: Any = None
        self.other: dict[str, Any] = {}

    def begins_another(self, call_id: str, piece: dict[str, Any]) -> bool:
        named = mapping(piece.get(self.kind)).get("name")
        return self.call_id is not None and self.call_id != call_id and bool(named)

    def add(self, piece: dict[str, Any]) -> None:
        for key, value in piece.items():
            if key in {"function", "custom"}:
                self.kind = key
                self._add_payload(mapping(value))
            elif key == "id":
                self.call_id = self.call_id or text(value)
            elif key not in {"index", "type"} and value is not None:
                self.other[key] = value

    def _add_payload(self, payload: dict[str, Any]) -> None:
        self.name = self.name or text(payload.get("name"))
        pieces = payload.get("arguments", payload.get("input"))
        if type(pieces) is str:
            self.arguments.append(pieces)
        elif pieces is not None:
            self.whole = pieces

    def value(self) -> dict[str, Any]:
        arguments = self.whole if self.whole is not None else join_text(self.arguments)
        label = "input" if self.kind == "custom" else "arguments"
        payload = {"name": self.name, label: arguments}
        return {"id": self.call_id, "type": self.kind, self.kind: payload, **self.other}


def _add_detail(details: list[Any], piece: Any) -> None:
    # OpenRouter streams each reasoning block in pieces with the same type and index.
    last = details[-1] if details else None
    if (
        type(piece) is not dict
        or type(last) is not dict
        or last.get("type") != piece.get("type")
        or last.get("index") != piece.get("index")
    ):
        details.append(dict(piece) if type(piece) is dict else piece)
        return
    for key, value in piece.items():
        before = last.get(key)
        if key in {"text", "summary", "data"} and type(value) is str and type(before) is str:
            last[key] = before + value
        elif value is not None:
            last[key] = value


def _joined(pieces: list[Any]) -> Any:
    if all(type(piece) is str for piece in pieces):
        return join_text(pieces)
    # Mistral sends text and thinking as parts: neighbouring texts become one part.
    parts: list[Any] = []
    run: list[str] = []
    for piece in [*pieces, None]:
        if type(piece) is str:
            run.append(piece)
            continue
        if run:
            parts.append({"type": "text", "text": join_text(run)})
            run = []
        if piece is not None:
            parts.append(piece)
    return parts
