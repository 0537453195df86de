"""Chat content of either wire format -> messages of parts, the shape of OpenTelemetry's GenAI conventions.

A message is `{"role": …, "parts": […]}`. The parts: `text`, `reasoning`, `tool_call` (id, name,
arguments), `tool_call_response` (id, response), `blob` (modality, mime_type, content in base64),
`uri`, `file` (file_id); a part of a type not known here is passed on as it came.
https://github.com/open-telemetry/semantic-conventions-genai, version 0.1.0.

Reads OpenAI chat messages and Responses items, Anthropic messages and plain text; takes any JSON
value and never raises. Pure; the value given is not changed, but may be shared by the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gatewayz.events import to_json

__all__ = ["finish_reason", "output_parts", "parts", "tool_definitions"]

Message = dict[str, Any]
Part = dict[str, Any]

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "completed": "stop",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
    "tool_calls": "tool_call",
    "tool_use": "tool_call",
    "function_call": "tool_call",
}
_PLAIN = {"role", "content"}
_SPEAKERS = ("system", "user", "assistant", "developer")
_MODALITIES = {"image", "audio", "video"}


def parts(value: Any, role: str = "user") -> list[Message]:
    """Return content as messages; `role` is whose it is where it does not say."""
    if value is None:
        return []
    items = value if isinstance(value, (list, tuple)) else [value]
    if items and all(map(_is_plain, items)):
        return [
            {"role": item["role"], "parts": [{"type": "text", "content": item["content"]}]}
            for item in items
        ]
    # A list of content blocks without roles is one message, not one each.
    if items and all(_is_block(item) for item in items):
        return [{"role": role, "parts": [part for item in items for part in _block(item)]}]
    return [_message(item, role) for item in items]


def output_parts(value: Any, finish_reasons: tuple[str, ...] = ()) -> list[Message]:
    """Return an answer as messages, each with the convention's `finish_reason` where it is known."""
    messages = parts(value, "assistant")
    for index, message in enumerate(messages):
        if finish_reasons:
            reason = finish_reasons[min(index, len(finish_reasons) - 1)]
            message["finish_reason"] = finish_reason(reason)
    return messages


def tool_definitions(value: Any) -> list[Any]:
    """Return the tools offered, each flat: `type`, `name`, `description`, `parameters`.

    OpenAI nests a function's under `function`; Anthropic calls the parameters `input_schema`.
    """
    found: list[Any] = []
    for tool in value if isinstance(value, (list, tuple)) else [value]:
        if not isinstance(tool, Mapping):
            found.append(tool)
            continue
        inner = tool.get("function")
        flat = {**tool, **inner} if isinstance(inner, Mapping) else dict(tool)
        if isinstance(inner, Mapping):
            del flat["function"]
        if "input_schema" in flat:
            flat["parameters"] = flat.pop("input_schema")
        flat.setdefault("type", "function")
        found.append(flat)
    return found


def finish_reason(reason: str) -> str:
    """Return a provider's word as the convention's: stop, length, content_filter, tool_call, error.

    >>> finish_reason("end_turn"), finish_reason("tool_calls"), finish_reason("pause_turn")
    ('stop', 'tool_call', 'pause_turn')
    """
    return _FINISH.get(reason, reason)


def _is_plain(item: Any) -> bool:
    """Tell whether somebody just says a text, as in most messages there are."""
    return (
        type(item) is dict
        and item.keys() == _PLAIN
        and item["role"] in _SPEAKERS
        and type(item["content"]) is str
        and item["content"] != ""
    )


def _is_block(item: Any) -> bool:
    return isinstance(item, Mapping) and "role" not in item and _type(item) in _BLOCKS


def _type(item: Mapping[str, Any]) -> str:
    kind = item.get("type")
    return kind if isinstance(kind, str) else ""


def _message(item: Any, role: str) -> Message:
    if not isinstance(item, Mapping):
        return {"role": role, "parts": [_text(item)]}
    read = _ITEMS.get(_type(item))
    if read is not None and "role" not in item:
        return read(item)
    role = str(item.get("role") or role)
    found: list[Part] = []
    for field in ("reasoning_content", "reasoning"):
        if isinstance(item.get(field), str) and item[field]:
            found.append({"type": "reasoning", "content": item[field]})
            break
    content = item.get("content")
    call_id = item.get("tool_call_id")
    if role in {"tool", "function"}:
        found.append(_response(call_id if call_id is not None else item.get("name"), content))
    elif isinstance(content, (list, tuple)):
        found += [part for block in content for part in _block(block)]
    elif content is not None and content != "":
        found.append(_text(content))
    if isinstance(item.get("refusal"), str) and item["refusal"]:
        found.append({"type": "refusal", "content": item["refusal"]})
    found += _spoken(item.get("audio"))
    found += _calls(item)
    if not found and "content" not in item and "role" not in item:
        found.append(_text(item))
    message: Message = {"role": role, "parts": found}
    if isinstance(item.get("name"), str) and role not in {"tool", "function"}:
        message["name"] = item["name"]
    return message


def _calls(item: Mapping[str, Any]) -> list[Part]:
    """Return the tool calls an OpenAI message carries beside its content."""
    calls = item.get("tool_calls")
    found = []
    for call in calls if isinstance(calls, (list, tuple)) else ():
        if not isinstance(call, Mapping):
            continue
        called = call.get("function") or call.get("custom")
        called = called if isinstance(called, Mapping) else {}
        arguments = called.get("arguments", called.get("input"))
        found.append(_call(call.get("id"), called.get("name"), arguments))
    legacy = item.get("function_call")
    if isinstance(legacy, Mapping):
        found.append(_call(None, legacy.get("name"), legacy.get("arguments")))
    return found


def _spoken(audio: Any) -> list[Part]:
    if not isinstance(audio, Mapping):
        return []
    found: list[Part] = []
    if isinstance(audio.get("data"), str):
        found.append({"type": "blob", "modality": "audio", "content": audio["data"]})
    if isinstance(audio.get("transcript"), str):
        found.append(_text(audio["transcript"]))
    return found


def _call(call_id: Any, name: Any, arguments: Any) -> Part:
    return {"type": "tool_call", "id": call_id, "name": name, "arguments": _decoded(arguments)}


def _response(call_id: Any, response: Any) -> Part:
    return {"type": "tool_call_response", "id": call_id, "response": response}


def _text(value: Any) -> Part:
    return {"type": "text", "content": value if isinstance(value, str) else to_json(value).decode()}


def _decoded(arguments: Any) -> Any:
    """Return arguments as the value they spell; a cut-off stream leaves text that spells none."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return msgspec.json.decode(arguments)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return arguments


# -- content blocks --------------------------------------------------------------------------------


def _block(block: Any) -> list[Part]:
    if not isinstance(block, Mapping):
        return [_text(block)]
    read = _BLOCKS.get(_type(block))
    return [dict(block) if read is None else read(block)]


def _text_block(block: Mapping[str, Any]) -> Part:
    return _text(block.get("text", ""))


def _refusal_block(block: Mapping[str, Any]) -> Part:
    return {"type": "refusal", "content": block.get("refusal", "")}


def _thinking_block(block: Mapping[str, Any]) -> Part:
    return {"type": "reasoning", "content": block.get("thinking", "")}


def _tool_use(block: Mapping[str, Any]) -> Part:
    return _call(block.get("id"), block.get("name"), block.get("input"))


def _tool_result(block: Mapping[str, Any]) -> Part:
    return _response(block.get("tool_use_id"), block.get("content"))


def _image_url(block: Mapping[str, Any]) -> Part:
    image = block.get("image_url")
    url = image.get("url") if isinstance(image, Mapping) else image
    if url is None:
        return {"type": "file", "modality": "image", "file_id": block.get("file_id")}
    return _located(url, "image")


def _input_audio(block: Mapping[str, Any]) -> Part:
    audio = block.get("input_audio")
    audio = audio if isinstance(audio, Mapping) else {}
    part: Part = {"type": "blob", "modality": "audio", "content": audio.get("data", "")}
    if isinstance(audio.get("format"), str):
        part["mime_type"] = f"audio/{audio['format']}"
    return part


def _file(block: Mapping[str, Any]) -> Part:
    file = block.get("file")
    file = file if isinstance(file, Mapping) else block
    if file.get("file_data") is not None:
        return _located(file["file_data"], "document")
    if file.get("file_url") is not None:
        return _located(file["file_url"], "document")
    return {"type": "file", "modality": "document", "file_id": file.get("file_id")}


def _source(block: Mapping[str, Any]) -> Part:
    """Return an Anthropic image or document."""
    modality = _type(block)
    source = block.get("source")
    source = source if isinstance(source, Mapping) else {}
    kind = source.get("type")
    if kind == "url":
        return _located(source.get("url", ""), modality)
    if kind == "file":
        return {"type": "file", "modality": modality, "file_id": source.get("file_id")}
    if kind == "text":
        return _text(source.get("data", ""))
    if kind == "base64":
        return {
            "type": "blob",
            "modality": modality,
            "mime_type": source.get("media_type"),
            "content": source.get("data", ""),
        }
    return dict(block)


def _located(url: Any, modality: str) -> Part:
    """Return what is behind an address; a `data:` URL holds it itself."""
    if not isinstance(url, str) or not url.startswith("data:"):
        return {"type": "uri", "modality": modality, "uri": url}
    head, _, content = url[5:].partition(",")
    mime_type = head.partition(";")[0]
    if (family := mime_type.partition("/")[0]) in _MODALITIES:
        modality = family
    return {"type": "blob", "modality": modality, "mime_type": mime_type, "content": content}


_BLOCKS = {
    "text": _text_block,
    "input_text": _text_block,
    "output_text": _text_block,
    "refusal": _refusal_block,
    "thinking": _thinking_block,
    "tool_use": _tool_use,
    "server_tool_use": _tool_use,
    "tool_result": _tool_result,
    "image_url": _image_url,
    "input_image": _image_url,
    "input_audio": _input_audio,
    "file": _file,
    "input_file": _file,
    "image": _source,
    "document": _source,
}


# -- items of OpenAI's Responses that are no messages -----------------------------------------------


def _call_item(item: Mapping[str, Any]) -> Message:
    arguments = item.get("arguments", item.get("input"))
    part = _call(item.get("call_id", item.get("id")), item.get("name"), arguments)
    return {"role": "assistant", "parts": [part]}


def _call_output_item(item: Mapping[str, Any]) -> Message:
    return {"role": "tool", "parts": [_response(item.get("call_id"), item.get("output"))]}


def _reasoning_item(item: Mapping[str, Any]) -> Message:
    lists = [item.get(field) for field in ("summary", "content")]
    blocks = [block for found in lists if isinstance(found, (list, tuple)) for block in found]
    texts = [block.get("text") for block in blocks if isinstance(block, Mapping)]
    said = [{"type": "reasoning", "content": text} for text in texts if isinstance(text, str)]
    return {"role": "assistant", "parts": said}


_ITEMS = {
    "function_call": _call_item,
    "custom_tool_call": _call_item,
    "function_call_output": _call_output_item,
    "custom_tool_call_output": _call_output_item,
    "reasoning": _reasoning_item,
}
