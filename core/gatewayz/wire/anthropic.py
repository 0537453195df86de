"""Reads what an Anthropic message answered, whole or streamed.

Events: https://platform.claude.com/docs/en/build-with-claude/streaming. `ping`, `error` and kinds
unknown here may come anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayz.wire.failure import error_from
from gatewayz.wire.jsontext import decode, join_text, mapping, sequence, text
from gatewayz.wire.usage import cost_from, usage_from

if TYPE_CHECKING:
    from gatewayz.wire.reading import Reading

__all__ = ["MessageStream", "read_message"]

# The field of a delta, and of the block it adds to. All others of a delta are taken whole.
_PIECES = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
_PRELIMINARY = frozenset({"output_tokens", "output_tokens_details"})
_WRITTEN_BLOCKS = frozenset({"text", "thinking"})


def read_message(answer: dict[str, Any], reading: Reading) -> None:
    """Fill in what a whole answer says."""
    reading.completion_id = text(answer.get("id"))
    reading.response_model = text(answer.get("model"))
    if answer.get("content") is not None:
        reading.output = {"role": answer.get("role") or "assistant", "content": answer["content"]}
    if reason := text(answer.get("stop_reason")):
        reading.finish_reasons = (reason,)
    if answer.get("type") == "error" or answer.get("error"):
        reading.error = error_from(answer)
    _read_usage(mapping(answer.get("usage")), reading)


def _read_usage(usage: dict[str, Any], reading: Reading) -> None:
    reading.usage = usage_from(usage)
    reading.cost_usd = cost_from(usage)
    reading.service_tier = tier_of(usage)


def tier_of(usage: dict[str, Any]) -> str | None:
    """Return the tier or speed that a usage object names."""
    # The fast mode is priced apart, and named `speed`; the tier then says nothing more.
    speed = text(usage.get("speed"))
    tier = text(usage.get("service_tier"))
    return speed if speed and speed != "standard" else tier


class MessageStream:
    """Puts the events of one streamed message together."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._role: str | None = None
        self._blocks: dict[int, _Block] = {}
        self._usage: dict[str, Any] = {}
        self.keep_content = True
        self.done = False

    def add(self, name: str | None, chunk: dict[str, Any]) -> bool:
        """Take one event's JSON; tell whether a generated token was in it."""
        kind = text(chunk.get("type")) or name
        if kind == "content_block_delta":
            return self.keep_content and self._block(chunk).add(mapping(chunk.get("delta")))
        if kind == "content_block_start":
            return self.keep_content and self._block(chunk).start(
                mapping(chunk.get("content_block"))
            )
        if kind == "message_start":
            self._start(mapping(chunk.get("message")))
        elif kind == "message_delta":
            if reason := text(mapping(chunk.get("delta")).get("stop_reason")):
                self._reading.finish_reasons = (reason,)
            self._overlay(mapping(chunk.get("usage")))
        elif kind == "message_stop":
            self.done = True
        elif (kind == "error" or chunk.get("error")) and self._reading.error is None:
            self._reading.error = error_from(chunk)
        return False

    def _start(self, message: dict[str, Any]) -> None:
        self._reading.completion_id = text(message.get("id"))
        self._reading.response_model = text(message.get("model"))
        self._role = text(message.get("role"))
        usage = mapping(message.get("usage"))
        # Its output counts are of the first token or so, not of the answer. Only message_delta's
        # are cumulative, so a stream cut before that has none.
        self._usage = {k: v for k, v in usage.items() if k not in _PRELIMINARY}

    def _overlay(self, usage: dict[str, Any]) -> None:
        # Cumulative, and null where unchanged; the 5m/1h split stays from message_start.
        self._usage.update({k: v for k, v in usage.items() if v is not None})

    def _block(self, chunk: dict[str, Any]) -> _Block:
        index = chunk.get("index")
        if type(index) is not int:
            index = 0
        block = self._blocks.get(index)
        if block is None:
            block = self._blocks[index] = _Block()
        return block

    def finish(self, wanted_choices: int = 1) -> bool:
        """Fill in the reading; tell whether the message said why it stopped."""
        del wanted_choices
        reading = self._reading
        if self._blocks or self._role:
            content = [self._blocks[index].value() for index in sorted(self._blocks)]
            reading.output = {"role": self._role or "assistant", "content": content}
        _read_usage(self._usage, reading)
        return bool(reading.finish_reasons)


class _Block:
    __slots__ = ("citations", "fields", "pieces")

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.pieces: dict[str, list[str]] = {}
        self.citations: list[Any] = []

    def start(self, block: dict[str, Any]) -> bool:
        self.fields = dict(block)
        kind = text(block.get("type"))
        if kind in _WRITTEN_BLOCKS:
            return bool(block.get(kind))
        # A tool call's name, redacted thinking, a search result: the block itself is generated.
        return True

    def add(self, delta: dict[str, Any]) -> bool:
        kind = text(delta.get("type"))
        if kind is None:
            return False
        key = _PIECES.get(kind)
        if key is not None:
            piece = delta.get(key)
            if isinstance(piece, str):
                self.pieces.setdefault(key, []).append(piece)
                return bool(piece)
        elif kind == "citations_delta":
            self.citations.append(delta.get("citation"))
        else:
            # signature_delta, compaction_delta, and what may come: whole values, the last one wins.
            self.fields.update({k: v for k, v in delta.items() if k != "type" and v is not None})
        return False

    def value(self) -> dict[str, Any]:
        """Return the block as a non-streamed answer would hold it."""
        block = dict(self.fields)
        for key, pieces in self.pieces.items():
            joined = join_text(pieces)
            if key != "partial_json":
                block.setdefault("type", key)
                before = block.get(key)
                block[key] = before + joined if isinstance(before, str) else joined
            elif joined:
                block.setdefault("type", "tool_use")
                # A call cut in the middle is no JSON: what there is of it is kept as text.
                value = decode(joined.encode("utf-8", "surrogatepass"))
                block["input"] = joined if value is None else value
        if self.citations:
            block["citations"] = [*sequence(block.get("citations")), *self.citations]
        return block
