"""Messages of either wire format become messages of parts; nothing is lost on the way, nothing raises."""

from __future__ import annotations

import copy
import doctest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gatewayz.messages
from gatewayz.events import to_json
from gatewayz.messages import finish_reason, output_parts, parts, tool_definitions

json_value = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(
                ["role", "content", "type", "text", "tool_calls", "function", "arguments", "source", "image_url",
                 "input_audio", "file", "audio", "summary", "name", "reasoning", "url", "data"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=15,
)  # fmt: skip
known_type = st.fixed_dictionaries(
    {"type": st.sampled_from([*gatewayz.messages._BLOCKS, *gatewayz.messages._ITEMS])},
    optional=dict.fromkeys(
        ("text", "source", "image_url", "file", "input_audio", "content", "summary"), json_value
    ),
)

unhurried = settings(deadline=None)


def text(content: str) -> dict:
    return {"type": "text", "content": content}


def only_part(message, **options) -> dict:
    (found,) = parts([message], **options)
    (part,) = found["parts"]
    return part


def test_plain_text_is_a_message_of_its_speaker():
    assert parts("Hello") == [{"role": "user", "parts": [text("Hello")]}]
    assert output_parts("Hi") == [{"role": "assistant", "parts": [text("Hi")]}]


def test_nothing_is_no_message():
    assert parts(None) == []
    assert parts([]) == []


def test_several_plain_texts_are_several_messages():
    assert [m["parts"] for m in parts(["a", "b"])] == [[text("a")], [text("b")]]


def test_a_conversation_keeps_roles_names_and_order():
    given_messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "name": "ann", "content": "Hi"},
        {"role": "assistant", "content": ""},
    ]
    assert parts(given_messages) == [
        {"role": "system", "parts": [text("Be brief.")]},
        {"role": "user", "name": "ann", "parts": [text("Hi")]},
        {"role": "assistant", "parts": []},
    ]


def test_openais_tool_calls_become_parts_with_decoded_arguments():
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city":"Zürich"}'},
    }
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    assert only_part(message) == {
        "type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Zürich"},
    }  # fmt: skip


def test_arguments_cut_off_by_a_broken_stream_stay_text():
    call = {"id": "c1", "function": {"name": "weather", "arguments": '{"city":"Zü'}}
    assert only_part({"role": "assistant", "tool_calls": [call]})["arguments"] == '{"city":"Zü'


def test_openais_older_function_call_is_a_tool_call():
    message = {
        "role": "assistant",
        "content": None,
        "function_call": {"name": "f", "arguments": "{}"},
    }
    assert only_part(message) == {"type": "tool_call", "id": None, "name": "f", "arguments": {}}


def test_a_custom_tool_call_keeps_its_free_text():
    call = {"id": "c1", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
    assert only_part({"role": "assistant", "tool_calls": [call]})["arguments"] == "select 1"


def test_a_tools_answer_is_a_response_to_its_call():
    message = {"role": "tool", "tool_call_id": "c1", "content": "rain"}
    assert only_part(message) == {"type": "tool_call_response", "id": "c1", "response": "rain"}


def test_reasoning_refusals_and_speech_have_their_parts():
    message = {
        "role": "assistant",
        "reasoning_content": "Let me see.",
        "content": "No.",
        "refusal": "I cannot.",
        "audio": {"data": "UklGRg==", "transcript": "No."},
    }
    (found,) = parts([message])
    assert [p["type"] for p in found["parts"]] == ["reasoning", "text", "refusal", "blob", "text"]


def test_anthropics_blocks_become_parts():
    content = [
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "text", "text": "Let me look.", "cache_control": {"type": "ephemeral"}},
        {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Zürich"}},
    ]
    assert parts([{"role": "assistant", "content": content}])[0]["parts"] == [
        {"type": "reasoning", "content": "Hm."},
        text("Let me look."),
        {"type": "tool_call", "id": "t1", "name": "weather", "arguments": {"city": "Zürich"}},
    ]


def test_anthropics_tool_result_is_a_response():
    block = {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": [{"type": "text", "text": "rain"}],
    }
    assert only_part({"role": "user", "content": [block]}) == {
        "type": "tool_call_response", "id": "t1", "response": [{"type": "text", "text": "rain"}],
    }  # fmt: skip


def test_a_list_of_blocks_without_roles_is_one_message():
    blocks = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert parts(blocks, "assistant") == [{"role": "assistant", "parts": [text("a"), text("b")]}]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://h/a.png", "detail": "low"}},
            {"type": "uri", "modality": "image", "uri": "https://h/a.png"},
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}},
            {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "iVBO"},
        ),
        (
            {"type": "input_image", "image_url": "https://h/a.png"},
            {"type": "uri", "modality": "image", "uri": "https://h/a.png"},
        ),
        (
            {"type": "input_image", "file_id": "f1"},
            {"type": "file", "modality": "image", "file_id": "f1"},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
            {"type": "blob", "modality": "audio", "mime_type": "audio/wav", "content": "UklG"},
        ),
        (
            {"type": "file", "file": {"file_id": "f1"}},
            {"type": "file", "modality": "document", "file_id": "f1"},
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE"}},
            {
                "type": "blob",
                "modality": "document",
                "mime_type": "application/pdf",
                "content": "JVBE",
            },
        ),
        (
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"},
            },
            {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "iVBO"},
        ),
        (
            {"type": "image", "source": {"type": "url", "url": "https://h/a.png"}},
            {"type": "uri", "modality": "image", "uri": "https://h/a.png"},
        ),
        (
            {"type": "document", "source": {"type": "file", "file_id": "f1"}},
            {"type": "file", "modality": "document", "file_id": "f1"},
        ),
        ({"type": "document", "source": {"type": "text", "data": "words"}}, text("words")),
        ({"type": "brand_new", "payload": 1}, {"type": "brand_new", "payload": 1}),
    ],
)
def test_what_is_no_text_becomes_the_part_it_is(block, expected):
    assert only_part({"role": "user", "content": [block]}) == expected


def test_items_of_the_responses_api_become_messages():
    items = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Rain."}],
        },
    ]
    assert parts(items) == [
        {"role": "assistant", "parts": [{"type": "reasoning", "content": "Hm."}]},
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "c1", "name": "weather", "arguments": {}}],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "rain"}]},
        {"role": "assistant", "parts": [text("Rain.")]},
    ]


def test_a_value_that_is_no_message_is_kept_as_json():
    assert only_part({"query": [1]}) == text('{"query":[1]}')
    assert only_part(3) == text("3")


def test_several_answers_have_their_own_finish_reasons():
    answers = [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert [m["finish_reason"] for m in output_parts(answers, ("stop", "max_tokens"))] == [
        "stop",
        "length",
    ]
    assert [m["finish_reason"] for m in output_parts(answers, ("end_turn",))] == ["stop", "stop"]
    assert "finish_reason" not in output_parts(answers)[0]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("refusal", "content_filter"),
     ("tool_use", "tool_call"), ("error", "error"), ("pause_turn", "pause_turn")],
)  # fmt: skip
def test_a_finish_reason_is_the_conventions_word(reason, expected):
    assert finish_reason(reason) == expected


def test_tools_of_both_formats_are_defined_alike():
    schema = {"type": "object", "properties": {}}
    openai = [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}}
    ]
    anthropic = [{"name": "f", "description": "d", "input_schema": schema}]
    expected = [{"type": "function", "name": "f", "description": "d", "parameters": schema}]
    assert tool_definitions(openai) == tool_definitions(anthropic) == expected
    assert tool_definitions([{"type": "web_search"}, "odd"]) == [{"type": "web_search"}, "odd"]


@given(st.one_of(json_value, st.lists(known_type, max_size=3)))
@unhurried
def test_any_json_becomes_messages_and_is_left_as_it_was(value):
    before = copy.deepcopy(value)
    for messages in (parts(value), output_parts(value, ("stop",))):
        assert all(isinstance(m["role"], str) and isinstance(m["parts"], list) for m in messages)
        assert all(isinstance(p, dict) for m in messages for p in m["parts"])
        to_json(messages)
    to_json(tool_definitions(value))
    assert value == before


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(gatewayz.messages).failed == 0
