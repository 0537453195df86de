"""Reads what the OpenAI Responses API answered, whole or streamed, as a chat message.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayz.events import Error
from gatewayz.wire.failure import error_from
from gatewayz.wire.jsontext import join_text, mapping, sequence, text
from gatewayz.wire.usage import cost_from, usage_from

if TYPE_CHECKING:
    from gatewayz.wire.reading import Reading

__all__ = ["ResponseStream", "read_response"]

_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})
# Which deltas make up which part of the message.
_PIECES = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "input",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.reasoning_text.delta": "reasoning",
}


def read_response(answer: dict[str, Any], reading: Reading) -> None:
    """Fill in what a whole answer says.

    Its items become one message: texts joined as `content`, calls as `tool_calls`, summaries as
    `reasoning`; every other item (searches, images) is kept in `output_items`.
    """
    reading.completion_id = text(answer.get("id"))
    reading.response_model = text(answer.get("model"))
    reading.service_tier = text(answer.get("service_tier"))
    usage = mapping(answer.get("usage"))
    reading.usage = usage_from(usage)
    reading.cost_usd = cost_from(usage)
    reason = mapping(answer.get("incomplete_details")).get("reason")
    if finish := text(reason) or text(answer.get("status")):
        reading.finish_reasons = (finish,)
    if answer.get("error"):
        reading.error = error_from(answer)
    elif answer.get("status") == "failed":
        reading.error = Error(type="failed", message="the response failed")
    if items := sequence(answer.get("output")):
        reading.output = _message(items)


def _message(items: list[Any]) -> dict[str, Any]:
    texts: list[str] = []
    refusals: list[str] = []
    reasoning: list[str] = []
    calls: list[dict[str, Any]] = []
    others: list[Any] = []
    for item in items:
        kind = mapping(item).get("type")
        if kind == "message":
            for part in sequence(item.get("content")):
                fields = mapping(part)
                if found := text(fields.get("text")):
                    texts.append(found)
                if found := text(fields.get("refusal")):
                    refusals.append(found)
        elif kind in ("function_call", "custom_tool_call"):
            calls.append(_call(item))
        elif kind == "reasoning":
            parts = [*sequence(item.get("summary")), *sequence(item.get("content"))]
            reasoning += [found for part in parts if (found := text(mapping(part).get("text")))]
        else:
            others.append(item)
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or None}
    if refusals:
        message["refusal"] = "".join(refusals)
    if reasoning:
        message["reasoning"] = "\n".join(reasoning)
    if calls:
        message["tool_calls"] = calls
    if others:
        message["output_items"] = others
    return message


def _call(item: dict[str, Any]) -> dict[str, Any]:
    call_id = item.get("call_id") or item.get("id")
    if item.get("type") == "custom_tool_call":
        payload = {"name": item.get("name"), "input": item.get("input")}
        return {"id": call_id, "type": "custom", "custom": payload}
    payload = {"name": item.get("name"), "arguments": item.get("arguments")}
    return {"id": call_id, "type": "function", "function": payload}


class ResponseStream:
    """Puts the events of one streamed response together; its terminal event holds all of it."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._response: dict[str, Any] = {}
        self._items: dict[int, dict[str, Any]] = {}
        self._pieces: dict[tuple[int, str], list[str]] = {}
        self._error: Error | None = None
        self.keep_content = True
        self.done = False

    def add(self, name: str | None, chunk: dict[str, Any]) -> bool:
        """Take one event's JSON; tell whether a generated token was in it."""
        kind = text(chunk.get("type")) or name or ""
        response = chunk.get("response")
        if isinstance(response, dict):
            self._response = response
            self.done = self.done or kind in _TERMINAL
        elif kind == "error" or chunk.get("error"):
            self._error = self._error or error_from(chunk)
        elif self.keep_content:
            index = chunk.get("output_index")
            if type(index) is not int:
                index = 0
            piece = text(chunk.get("delta"))
            if piece is not None and kind in _PIECES:
                self._pieces.setdefault((index, _PIECES[kind]), []).append(piece)
            elif kind in {"response.output_item.added", "response.output_item.done"}:
                self._items[index] = mapping(chunk.get("item"))
                if kind.endswith("done"):
                    for part in set(_PIECES.values()):
                        self._pieces.pop((index, part), None)
            return piece is not None
        return False

    def finish(self, wanted_choices: int = 1) -> bool:
        """Fill in the reading; tell whether a terminal event came."""
        del wanted_choices
        response = self._response
        if not self.done:
            # Cut: the items that ended, and the others as far as they came.
            response = {**response, "status": None, "output": self._seen()}
        read_response(response, self._reading)
        self._reading.error = self._reading.error or self._error
        return self.done

    def _seen(self) -> list[Any]:
        items = {index: dict(item) for index, item in self._items.items()}
        for (index, part), pieces in self._pieces.items():
            joined = join_text(pieces)
            item = items.setdefault(index, {})
            if part == "reasoning":
                item.update(type="reasoning", summary=[{"text": joined}])
            elif part in {"text", "refusal"}:
                item.setdefault("type", "message")
                item["content"] = [*sequence(item.get("content")), {part: joined}]
            else:
                item.setdefault(
                    "type", "function_call" if part == "arguments" else "custom_tool_call"
                )
                item[part] = joined
        return [items[index] for index in sorted(items)]
