"""What was said -> OpenInference's content attributes: messages, parts, tools, documents.

Lists are flattened with their index in the name, `llm.input_messages.0.message.role`, and each
index has its key encoded once. Takes any JSON value and never raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gatewayz.events import to_json
from gatewayz.messages import parts
from gatewayz.otlp.encoder import Key, clean_utf8

if TYPE_CHECKING:
    from gatewayz import Event

__all__ = ["content_attributes"]

INPUT = Key("input.value")
INPUT_MIME = Key("input.mime_type")
OUTPUT = Key("output.value")
OUTPUT_MIME = Key("output.mime_type")
TOOL_PARAMETERS = Key("tool.parameters")
RERANKER_QUERY = Key("reranker.query")

JSON_MIME = "application/json"
TEXT_MIME = "text/plain"

_MESSAGES = {"in": "llm.input_messages", "out": "llm.output_messages"}
_DOCUMENT_TEXTS = ("content", "page_content", "text")
# Integers that a double holds; a larger one is no score.
_EXACT = 2**53
_RESULTS = ("documents", "results", "matches", "data")


@lru_cache(maxsize=2048)
def _key(name: str) -> Key:
    return Key(name)


@lru_cache(maxsize=2048)
def _plain_keys(prefix: str, index: int) -> tuple[Key, Key]:
    """Return the keys of a message that is a role and a text, as most are."""
    at = f"{prefix}.{index}.message."
    return Key(f"{at}role"), Key(f"{at}content")


def _text(name: str, value: Any) -> bytes:
    """Return a free text under an indexed name; what is no text becomes JSON."""
    raw = clean_utf8(value) if isinstance(value, str) else to_json(value)
    return _key(name).utf8(raw)


def content_attributes(event: Event, kind: str) -> list[bytes]:
    """Return the captured content of a span of OpenInference's `kind` as attributes."""
    made: list[bytes] = []
    given, got = event.input, event.output
    if event.input_json is not None:
        made += _value(INPUT, INPUT_MIME, given, event.input_json)
    if event.output_json is not None:
        made += _value(OUTPUT, OUTPUT_MIME, got, event.output_json)
    if kind in {"LLM", "AGENT"}:
        # An agent's input is a conversation or anything else; only messages look like messages.
        if kind == "LLM" or _are_messages(given):
            _messages(_MESSAGES["in"], parts(given), made)
        if kind == "LLM" or _are_messages(got):
            _messages(_MESSAGES["out"], parts(got, "assistant"), made)
    elif kind == "TOOL" and event.input_json is not None:
        made.append(TOOL_PARAMETERS.utf8(event.input_json))
    elif kind == "RETRIEVER":
        _documents("retrieval.documents", got, made)
    elif kind == "RERANKER":
        if isinstance(given, Mapping):
            if isinstance(given.get("query"), str):
                made.append(RERANKER_QUERY.utf8(clean_utf8(given["query"])))
            _documents("reranker.input_documents", given, made)
        _documents("reranker.output_documents", got, made)
    elif kind == "EMBEDDING" and given is not None:
        for n, item in enumerate(given if isinstance(given, list) else [given]):
            made.append(_text(f"embedding.embeddings.{n}.embedding.text", item))
    tools = event.tools
    if tools is not None:
        for n, tool in enumerate(tools if isinstance(tools, list) else [tools]):
            made.append(_key(f"llm.tools.{n}.tool.json_schema").utf8(to_json(tool)))
    return made


def _value(key: Key, mime: Key, value: Any, raw: bytes) -> tuple[bytes, bytes]:
    if isinstance(value, str):
        return key.utf8(clean_utf8(value)), mime.text(TEXT_MIME)
    return key.utf8(raw), mime.text(JSON_MIME)


def _are_messages(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return bool(items) and all(isinstance(item, Mapping) and "role" in item for item in items)


def _messages(prefix: str, messages: list[dict[str, Any]], made: list[bytes]) -> None:
    index = 0
    for message in messages:
        said = message["parts"]
        if len(said) == 1 and said[0].get("type") == "text" and "name" not in message:
            role, content = _plain_keys(prefix, index)
            index += 1
            made += (role.text(str(message["role"])), content.utf8(clean_utf8(said[0]["content"])))
            continue
        answers = [part for part in said if part.get("type") == "tool_call_response"]
        # A result is a message of its own: only a message has a tool_call_id.
        for part in answers:
            at = f"{prefix}.{index}.message."
            index += 1
            made.append(_key(f"{at}role").text("tool"))
            if part.get("id") is not None:
                made.append(_text(f"{at}tool_call_id", part["id"]))
            if part.get("response") is not None:
                made.append(_text(f"{at}content", _joined(part["response"])))
        rest = [part for part in said if part.get("type") != "tool_call_response"]
        if rest or not answers:
            at = f"{prefix}.{index}.message."
            index += 1
            made.append(_key(f"{at}role").text(str(message["role"])))
            if isinstance(message.get("name"), str):
                made.append(_text(f"{at}name", message["name"]))
            _parts(at, rest, made)


def _joined(response: Any) -> Any:
    """Return a tool's result as text where it is nothing but text blocks."""
    if isinstance(response, list) and response:
        texts = [
            block.get("text")
            if isinstance(block, Mapping) and block.get("type") == "text"
            else None
            for block in response
        ]
        if all(isinstance(text, str) for text in texts):
            return "\n".join(str(text) for text in texts)
    return response


def _parts(at: str, said: list[dict[str, Any]], made: list[bytes]) -> None:
    calls = [part for part in said if part.get("type") == "tool_call"]
    contents = [part for part in said if part.get("type") != "tool_call"]
    if len(contents) == 1 and contents[0].get("type") in {"text", "refusal"}:
        made.append(_text(f"{at}content", contents[0].get("content", "")))
    else:
        for n, part in enumerate(contents):
            _content(f"{at}contents.{n}.message_content.", part, made)
    for n, call in enumerate(calls):
        where = f"{at}tool_calls.{n}.tool_call."
        if call.get("id") is not None:
            made.append(_text(f"{where}id", call["id"]))
        if call.get("name") is not None:
            made.append(_text(f"{where}function.name", call["name"]))
        arguments = call.get("arguments")
        if arguments is not None:
            made.append(_text(f"{where}function.arguments", arguments))


def _content(at: str, part: Mapping[str, Any], made: list[bytes]) -> None:
    """Add one part of a message: text, reasoning, image, audio, video or document."""
    kind = part.get("type")
    if kind in {"text", "refusal", "reasoning"}:
        shown = "reasoning" if kind == "reasoning" else "text"
        made.append(_key(f"{at}type").text(shown))
        made.append(_text(f"{at}text", part.get("content", "")))
        return
    if kind == "redacted_thinking":
        made.append(_key(f"{at}type").text("reasoning"))
        made.append(_text(f"{at}data", part.get("data", "")))
        return
    modality = part.get("modality")
    if kind not in {"blob", "uri", "file"}:
        made.append(_key(f"{at}type").text("text"))
        made.append(_text(f"{at}text", dict(part)))
        return
    mime_type = part.get("mime_type")
    if kind == "file" or modality not in {"image", "audio", "video"}:
        modality = "document"
    made.append(_key(f"{at}type").text(modality))
    where = f"{at}{modality}.{modality}."
    if kind == "file":
        if part.get("file_id") is not None:
            made.append(_text(f"{where}id", part["file_id"]))
        return
    url = part.get("uri")
    if kind == "blob":
        url = f"data:{mime_type or 'application/octet-stream'};base64,{part.get('content', '')}"
    made.append(_text(f"{where}url", url))
    if mime_type and modality in {"audio", "document"}:
        made.append(_text(f"{where}mime_type", mime_type))


def _documents(prefix: str, value: Any, made: list[bytes]) -> None:
    """Add the documents found in a list, or in the list that an answer holds under a usual name."""
    if isinstance(value, Mapping):
        value = next((value[name] for name in _RESULTS if isinstance(value.get(name), list)), None)
    if not isinstance(value, list):
        return
    for n, found in enumerate(value):
        at = f"{prefix}.{n}.document."
        if not isinstance(found, Mapping):
            made.append(_text(f"{at}content", found))
            continue
        inner = found.get("document")
        document = {**found, **inner} if isinstance(inner, Mapping) else dict(found)
        if isinstance(inner, str):
            document["content"] = inner
        text = next((document[name] for name in _DOCUMENT_TEXTS if name in document), None)
        made.append(_text(f"{at}content", dict(found) if text is None else text))
        if document.get("id") is not None:
            made.append(_text(f"{at}id", document["id"]))
        score = document.get("score", document.get("relevance_score"))
        if isinstance(score, float) or (type(score) is int and abs(score) < _EXACT):
            made.append(_key(f"{at}score").double(float(score)))
        if isinstance(document.get("metadata"), Mapping):
            made.append(_key(f"{at}metadata").utf8(to_json(document["metadata"])))
