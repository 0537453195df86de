"""Who made a request: the names others use are understood, the order of trust is kept."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.events import Prompt
from gatewayz.wire import identity

CLAUDE_CODE = "user_f00d_account_6f1e_session_1b2c-3d"
CLAUDE_CODE_JSON = json.dumps({"device_id": "d1", "account_uuid": "acc", "session_id": "ses"})


@pytest.mark.parametrize(
    ("headers", "body", "session"),
    [
        ({"x-gatewayz-session-id": "a", "x-claude-code-session-id": "b"}, {}, "a"),
        ({"x-claude-code-session-id": "b", "x-session-id": "c"}, {}, "b"),
        ({"x-session-id": "c", "session-id": "d"}, {}, "c"),
        ({"session-id": "d", "x-litellm-session-id": "e"}, {}, "d"),
        ({"x-litellm-session-id": "e", "helicone-session-id": "f"}, {}, "e"),
        ({"helicone-session-id": "f"}, {"session_id": "g"}, "f"),
        ({"x-litellm-trace-id": "t"}, {}, "t"),
        ({"thread-id": "t"}, {}, "t"),
        ({"session_id": "t"}, {}, "t"),
        ({"conversation_id": "t"}, {}, "t"),
        ({"agent-session-id": "t"}, {}, "t"),
        ({"x-acme-session-id": "v", "baggage": "session.id=w"}, {}, "v"),
        ({"x-acme-session-id": "v", "x-session-id": "c"}, {}, "c"),
        ({"x-parent-session-id": "p"}, {}, None),
        ({}, {"session_id": "g", "litellm_session_id": "h"}, "g"),
        ({}, {"litellm_session_id": "h", "metadata": {"session_id": "i"}}, "h"),
        ({}, {"metadata": {"session_id": "i", "user_id": CLAUDE_CODE}}, "i"),
        ({}, {"metadata": {"user_id": CLAUDE_CODE}}, "1b2c-3d"),
        ({}, {"metadata": {"user_id": CLAUDE_CODE_JSON}}, "ses"),
        ({"baggage": "session.id=w"}, {"metadata": {"user_id": CLAUDE_CODE_JSON}}, "ses"),
        ({"baggage": "a=b, session.id=w%20x;p=1, langfuse_session_id=y"}, {}, "w x"),
        ({"baggage": "langfuse_session_id=y"}, {}, "y"),
        ({}, {"prompt_cache_key": "a bucket, no session"}, None),
        ({"x-session-id": "  "}, {"session_id": 7}, "7"),
        ({}, {"session_id": ["x"], "metadata": {"session_id": None}}, None),
    ],
)
def test_the_session_is_the_most_trusted_one_given(headers, body, session):
    assert identity(headers, body).session_id == session


@pytest.mark.parametrize(
    ("headers", "body", "user"),
    [
        ({"x-gatewayz-user-id": "a", "x-litellm-end-user-id": "b"}, {}, "a"),
        ({"x-litellm-end-user-id": "b", "x-litellm-customer-id": "c"}, {}, "b"),
        ({"x-litellm-customer-id": "c", "helicone-user-id": "d"}, {}, "c"),
        ({"helicone-user-id": "d", "x-user-id": "e"}, {}, "d"),
        ({"x-user-id": "e", "x-portkey-metadata": '{"_user":"f"}'}, {}, "e"),
        ({"x-portkey-metadata": '{"_user":"f"}'}, {"user": "h"}, "f"),
        ({"x-portkey-metadata": "no json"}, {"user": "h"}, "h"),
        ({}, {"safety_identifier": "g", "user": "h"}, "g"),
        ({}, {"user": "h", "metadata": {"user_id": "i"}}, "h"),
        ({}, {"metadata": {"user_id": "i"}}, "i"),
        ({}, {"metadata": {"user_id": 42}}, "42"),
        ({}, {"metadata": {"user_id": CLAUDE_CODE}}, "6f1e"),
        ({}, {"metadata": {"user_id": "user_f00d_account__session_1b2c"}}, "f00d"),
        ({}, {"metadata": {"user_id": CLAUDE_CODE_JSON}}, "acc"),
        (
            {},
            {"metadata": {"user_id": '{"device_id":"d1","account_uuid":"","session_id":"s"}'}},
            "d1",
        ),
        ({}, {"metadata": {"user_id": "{no json"}}, "{no json"),
        ({"baggage": "user.id=j"}, {"metadata": {"user_id": "i"}}, "i"),
        ({"baggage": "user.id=j%40k"}, {}, "j@k"),
        ({"baggage": "langfuse_user_id=l"}, {}, "l"),
        ({"authorization": "Bearer x", "x-api-key": "y"}, {}, None),
    ],
)
def test_the_user_is_the_most_trusted_one_given(headers, body, user):
    assert identity(headers, body).user_id == user


def test_tags_are_the_union_of_all_places_each_once():
    headers = {"x-gatewayz-tags": "a, b,,", "x-litellm-tags": "b,c"}
    assert identity(headers, {"metadata": {"tags": ["c", "d", 5, None, {}]}}).tags == (
        "a",
        "b",
        "c",
        "d",
        "5",
    )
    assert identity({}, {"metadata": {"tags": "x, y"}}).tags == ("x", "y")


def test_metadata_comes_from_body_and_headers_without_what_has_its_own_place():
    who = identity(
        {
            "x-portkey-metadata": '{"_user":"u","env":"prod"}',
            "x-litellm-spend-logs-metadata": '{"job":"j1"}',
            "helicone-property-plan": "gold",
            "x-bf-dim-region": "eu",
            "langfuse_release": "r1",
            "x-claude-code-agent-id": "agent-7",
            "x-parent-session-id": "p",
            "x-request-id": "req-1",
            "authorization": "Bearer secret",
        },
        {
            "metadata": {
                "k": {"deep": [1]},
                "user_id": "u",
                "session_id": "s",
                "tags": [],
                "prompt_name": "n",
            },
            "trace": {"trace_name": "t"},
        },
    )
    assert who.metadata == {
        "k": {"deep": [1]},
        "trace_name": "t",
        "env": "prod",
        "job": "j1",
        "plan": "gold",
        "region": "eu",
        "release": "r1",
        "agent_id": "agent-7",
        "parent_session_id": "p",
        "request_id": "req-1",
    }


def test_metadata_is_bounded():
    who = identity({}, {"metadata": {f"k{n}": n for n in range(10_000)}})
    assert len(who.metadata) == 128


@pytest.mark.parametrize(
    ("headers", "omit"),
    [
        ({}, (False, False)),
        ({"x-gatewayz-omit-content": "true"}, (True, True)),
        ({"x-litellm-enable-message-redaction": "True"}, (True, True)),
        ({"x-litellm-enable-message-redaction": "false"}, (False, False)),
        ({"x-bf-disable-content-logging": "1"}, (True, True)),
        ({"x-bf-disable-content-logging": "0"}, (False, False)),
        ({"helicone-omit-request": "true"}, (True, False)),
        ({"helicone-omit-response": "yes"}, (False, True)),
        ({"helicone-omit-response": "FALSE", "helicone-omit-request": " off "}, (False, False)),
        # a misspelt wish for privacy is granted
        ({"helicone-omit-request": "ture"}, (True, False)),
    ],
)
def test_the_wish_for_privacy_is_parsed_as_a_boolean(headers, omit):
    who = identity(headers, {})
    assert (who.omit_input, who.omit_output) == omit


def test_backends_to_skip_are_named_in_any_case():
    headers = {
        "x-litellm-disable-callbacks": "Langfuse, otel,",
        "x-gatewayz-skip-backends": "langfuse/team-a",
    }
    assert identity(headers, {}).skip_backends == {"langfuse", "otel", "langfuse/team-a"}


@pytest.mark.parametrize(
    ("headers", "metadata", "prompt"),
    [
        ({"helicone-prompt-id": "p"}, {"prompt_name": "q"}, Prompt(name="p")),
        ({}, {"prompt_name": "q", "prompt_version": 3}, Prompt(name="q", version=3)),
        ({}, {"prompt_name": "q", "prompt_version": "v3"}, Prompt(name="q", version="v3")),
        ({}, {"prompt_name": "q", "prompt_version": [1]}, Prompt(name="q")),
        ({}, {"prompt_version": 3}, None),
    ],
)
def test_the_managed_prompt_is_named_by_header_or_metadata(headers, metadata, prompt):
    assert identity(headers, {"metadata": metadata}).prompt == prompt


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "baggage",
                "x-portkey-metadata",
                "x-litellm-tags",
                "langfuse_",
                "x--session-id",
                "x-user-id",
            ]
        ),
        st.text(max_size=30),
    ),
    st.dictionaries(
        st.sampled_from(["metadata", "user", "trace", "session_id"]),
        st.recursive(
            st.none()
            | st.booleans()
            | st.floats()
            | st.text(max_size=9)
            | st.just("a_session_b")
            | st.just("{}"),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["user_id", "session_id", "tags", "prompt_name", "k"]), inner
                )
            ),
            max_leaves=8,
        ),
    ),
)
def test_no_header_or_body_raises(headers, body):
    who = identity(headers, body)
    assert who.user_id is None or who.user_id
    assert who.session_id is None or who.session_id
