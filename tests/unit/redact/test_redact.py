"""What looks like a credential is masked, everything else and all JSON stays as it was."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.redact import is_secret_key, redact_json, redact_text

RANDOM = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0U1v2W3x4"
UUID = "0b5c1d2e-3f4a-4b6c-8d7e-9f0a1b2c3d4e"

CREDENTIALS = {
    "openai": f"sk-{RANDOM}",
    "openai project": f"sk-proj-{RANDOM}_{RANDOM}-{RANDOM}",
    "anthropic": f"sk-ant-api03-{RANDOM}-{RANDOM}_AA",
    "openrouter": f"sk-or-v1-{RANDOM.lower()}",
    "langfuse secret": f"sk-lf-{UUID}",
    "langfuse public": f"pk-lf-{UUID}",
    "aws": "AKIAIOSFODNN7EXAMPLE",
    "aws session": "ASIAIOSFODNN7EXAMPLE",
    "github": f"ghp_{RANDOM[:36]}",
    "github server": f"ghs_{RANDOM[:36]}",
    "github fine-grained": f"github_pat_{RANDOM[:22]}_{RANDOM}",
    "gitlab": "glpat-A1b2C3d4E5f6G7h8I9j0",
    "google": f"AIza{RANDOM[:35]}",
    "slack bot": f"xoxb-123456789012-1234567890123-{RANDOM[:24]}",
    "slack app": f"xapp-1-A0123456789-1234567890123-{RANDOM.lower()}",
    "stripe": f"sk_live_{RANDOM[:24]}",
    "groq": f"gsk_{RANDOM}",
    "hugging face": f"hf_{RANDOM[:34]}",
    "xai": f"xai-{RANDOM}{RANDOM}",
    "json web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
    "pem": f"-----BEGIN RSA PRIVATE KEY-----\n{RANDOM}\n{RANDOM}+/==\n-----END RSA PRIVATE KEY-----",
    "pem of windows": f"-----BEGIN PRIVATE KEY-----\r\n{RANDOM}\r\n-----END PRIVATE KEY-----",
    "openssh": f"-----BEGIN OPENSSH PRIVATE KEY-----\n{RANDOM}\n-----END OPENSSH PRIVATE KEY-----",
    "bearer": f"Bearer {RANDOM}",
    "bearer in lower case": f"bearer {RANDOM}",
    "basic": "Authorization: Basic dXNlcjpwYXNzd29yZA==",
    "basic in quotes": '"Authorization": "Basic dXNlcjpwYXNzd29yZA=="',
    "authorization without a scheme": f"authorization: {RANDOM}",
    "aws secret": f"aws_secret_access_key = {RANDOM[:40]}",
    "password in a URL": "postgres://app:hunter2-is-secret@db.internal:5432/app",
}
SECRETS = {
    **dict.fromkeys(CREDENTIALS, ""),
    "basic": "dXNlcjpwYXNzd29yZA",
    "basic in quotes": "dXNlcjpwYXNzd29yZA",
    "password in a URL": "hunter2-is-secret",
}

HARMLESS = [
    "",
    "Hello, world.",
    "Use the sk-learn-like API of task-management-system-2024-10-21 for risk-assessment-2024.",
    "css: sk-toggleable__content-and-label-arrow",
    "The bearer of good news rang twice. Bearer authentication-mechanisms are described below.",
    "Basic authentication sends dXNlcjpwYXNz in a header.",
    "Authorization: required for all endpoints",
    "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkq\n-----END PUBLIC KEY-----",
    "see https://example.com:8080/path@version and mailto:me@example.com",
    "MAKIAVELLI AKIA eyJ xoxo hf_model gsk_ AIza",
    '{"max_tokens": "5", "prompt_tokens": "12", "stop_token": "<eos>", "token": " responsibility"}',
    '{"prompt_cache_key": "tenant-1-2024", "primary_key": "id", "key": "C major", "keys": "abc"}',
    "Zwölf Boxkämpfer 🥊 jagen Viktor quer über den großen Sylter Deich",
]


@pytest.mark.parametrize("kind", CREDENTIALS)
@pytest.mark.parametrize("frame", ["{}", "my key:\n{}\nthanks", "key={}", "({})", "\t{}, ", "é{}é"])
def test_a_credential_is_masked_wherever_it_stands(kind, frame):
    text = frame.format(CREDENTIALS[kind])
    secret = SECRETS[kind]
    masked = redact_text(text)
    assert "***" in masked
    for part in (
        (secret,) if secret else (RANDOM[:16], RANDOM.lower()[:16], UUID, "IOSFODNN7", "dozjgNryP4")
    ):
        assert part not in masked
    head, _, tail = frame.partition("{}")
    assert masked.startswith(head)
    assert masked.endswith(tail)


@pytest.mark.parametrize("kind", CREDENTIALS)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_credential_in_json_is_masked_and_the_json_stays_valid(kind, ascii_only):
    text = f'Zwölf "quotes" \\ and\n{CREDENTIALS[kind]}\nend'
    value = {"messages": [{"role": "user", "content": text}], "n": [1, 2.5, None, True]}
    masked = json.loads(redact_json(json.dumps(value, ensure_ascii=ascii_only).encode()))
    content = masked["messages"][0].pop("content")
    assert content.startswith('Zwölf "quotes" \\ and\n')
    assert content.endswith("\nend")
    assert content == redact_text(text)
    value["messages"][0].pop("content")
    assert masked == value


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_credential_stays_the_same_object(text):
    assert redact_text(text) is text


def test_the_prefix_stays_so_that_one_sees_what_it_was():
    assert redact_text(f"export KEY=sk-ant-api03-{RANDOM}") == "export KEY=sk-***"
    assert redact_text("AKIAIOSFODNN7EXAMPLE") == "AKIA***"
    assert redact_text("redis://:s3cret@cache/0") == "redis://:***@cache/0"


def test_every_credential_of_a_text_is_masked():
    text = "\n".join(CREDENTIALS.values())
    masked = redact_text(text)
    assert masked.count("***") == len(CREDENTIALS)
    assert RANDOM[:12] not in masked


def test_a_value_under_a_secret_name_is_masked_whatever_its_form():
    value = {
        "password": "hunter2",
        "clientSecret": 'with "quotes" and \\ and ü',
        "x-api-key": "short",
        "token": RANDOM,
        "user": "ann",
        "password_hint": "",
        "api_key": None,
        "credentials": {"user": "ann"},
    }
    masked = json.loads(redact_json(json.dumps(value).encode()))
    assert masked == {
        **value,
        "password": "***",
        "clientSecret": "***",
        "x-api-key": "***",
        "token": "***",
    }


def test_json_within_a_string_like_tool_arguments_is_masked_too():
    arguments = {"password": 'hun"t\\er\n2 ü', "path": "C:\\keys", "api_key": "abc", "n": 1}
    for separators in ((",", ":"), (", ", ": ")):
        inner = json.dumps(arguments, separators=separators)
        call = {"function": {"name": "login", "arguments": inner}}
        masked = json.loads(redact_json(json.dumps(call).encode()))
        assert json.loads(masked["function"]["arguments"]) == {
            **arguments,
            "password": "***",
            "api_key": "***",
        }


def test_log_probabilities_are_not_taken_for_tokens():
    raw = json.dumps({"logprobs": [{"token": "Hello"}, {"token": " secret things, all of them"}]})
    assert redact_json(raw.encode()) == raw.encode()


def test_a_schema_that_names_a_password_is_left_alone():
    tool = {"properties": {"password": {"type": "string"}}, "required": ["password"]}
    raw = json.dumps(tool).encode()
    assert redact_json(raw) == raw


def test_a_credential_that_the_cap_has_cut_is_masked():
    for cut in ("sk-ant", "sk-A1b2", "Bearer A1b2", "ghp_A1", "eyJhbGci"):
        text = f"x {cut}…[truncated 9000 bytes]"
        assert cut not in redact_text(text)
        assert redact_text(text).endswith("***…[truncated 9000 bytes]")
    block = f"-----BEGIN PRIVATE KEY-----\n{RANDOM}\n{RANDOM[:9]}…[truncated 900 bytes]"
    assert redact_text(block) == "-----BEGIN PRIVATE KEY-----***…[truncated 900 bytes]"


def test_a_key_block_cut_before_a_quote_leaves_the_json_valid():
    value = {"content": f'-----BEGIN PRIVATE KEY-----\n{RANDOM}"and a quote \\" more'}
    masked = json.loads(redact_json(json.dumps(value).encode()))
    assert masked == {"content": '-----BEGIN PRIVATE KEY-----***"and a quote \\" more'}


_PIECES = st.sampled_from(
    [
        *CREDENTIALS.values(),
        *(
            "sk-",
            "pk-lf-",
            "AKIA",
            "ghp_",
            "eyJ",
            "xoxb-",
            "Bearer ",
            "bearer\n",
            "authorization: ",
        ),
        *("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "://", "u:p@", "AIza"),
        *('"', "\\", "\n", "\\n", "\\u0041", "é", "😀", "\0", "\x1b", ":", '"password":"', '\\"'),
        *('{"api_key": "', '"}', "…[truncated 3 bytes]", "aA1", "secret_access_key="),
    ]
)
_TEXTS = st.lists(_PIECES, max_size=12).map("".join) | st.text()


@given(
    st.recursive(
        _TEXTS | st.integers() | st.none() | st.booleans(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                _TEXTS | st.sampled_from(["password", "api_key", "token"]), inner, max_size=4
            )
        ),
        max_leaves=8,
    ),
    st.booleans(),
)
def test_any_json_stays_valid_and_keeps_its_shape(value, ascii_only):
    raw = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    masked = redact_json(raw)

    assert_same_shape(
        json.loads(raw.decode("utf-8", "surrogatepass")),
        json.loads(masked.decode("utf-8", "surrogatepass")),
    )


def assert_same_shape(before, after):
    assert type(after) is type(before)
    if isinstance(before, list):
        assert len(after) == len(before)
        for one, other in zip(before, after, strict=True):
            assert_same_shape(one, other)
    elif isinstance(before, dict):
        # A name can be a credential itself; then it was masked, and two can have become one.
        assert before.keys() == after.keys() or "***" in str(list(after))
        for name in before.keys() & after.keys():
            assert_same_shape(before[name], after[name])
    else:
        assert after == before or "***" in after


@given(st.binary() | _TEXTS.map(lambda t: t.encode()))
def test_any_bytes_pass_without_an_error(raw):
    assert isinstance(redact_json(raw), bytes)


@given(_TEXTS)
def test_masking_twice_masks_nothing_more(text):
    once = redact_text(text)
    assert redact_text(once) == once


@given(st.text(alphabet=st.characters(categories=["Cs", "Lu"])))
def test_lone_surrogates_survive_redaction(text):
    assert redact_text(text) == text


HOSTILE = [
    *(
        "sk-",
        "-sk-",
        "sk-a",
        "sk-sk_",
        "eyJ",
        "-eyJ",
        "eyJ.",
        "eyJaaaaa.",
        "-eyJaaaaa.aaaaaa",
        "AKIA",
    ),
    *("bearer ", "Bearer a", "authorization: ", "Authorization", "://", "://a:", "@://a", "@://:a"),
    *("-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----a ", "-----END"),
    *("xoxb-", "ghp_", "github_pat_", "secret_access_key ", "secret_access_key=", "AIza"),
    *('"aa":"', '\\"aa\\":\\"', '"password":"', '"password":', '"password" ', '"k" : "', '":"'),
    *('\\"password\\":\\"\\', "…[truncated -sk-", "…[truncated sk-a", "…[truncated Bearer "),
    *('"', "\\", "\\n", " ", "a", '"a', '\\\\"', '{"password":"\\\\\\"', '"password":"' + " " * 99),
]


@pytest.mark.parametrize("unit", HOSTILE)
@pytest.mark.parametrize(
    "start", ["", "Bearer sk-", '{"password":"', "-----BEGIN PRIVATE KEY-----"]
)
def test_a_megabyte_of_anything_takes_linear_time(unit, start):
    text = start + unit * (1_000_000 // len(unit))
    began = time.process_time()
    redact_text(text)
    # Measured: at most 0.2 s. What is not linear takes minutes.
    assert time.process_time() - began < 5


SECRET_NAMES = """
    password PASSWORD db_password passwd passphrase secret client_secret clientSecret api_key
    apiKey API_KEY APIKey X-Api-Key OPENAI_API_KEY GATEWAYZ_API_KEYS LANGFUSE_SECRET_KEY
    Authorization proxy-authorization cookie Set-Cookie token access_token accessToken id_token
    refresh-token x-amz-security-token session_token private_key aws_secret_access_key jwt
    credentials apikey
"""
OTHER_NAMES = """
    max_tokens max_completion_tokens input_tokens cache_read_tokens reasoning_tokens stop_token
    eos_token next_page_token prompt_cache_key key keys primary_key public_key user session_id
    tokenizer keyboard secretary model temperature role content authority pwd 1 _ é
"""


@pytest.mark.parametrize("name", SECRET_NAMES.split())
def test_a_name_that_holds_a_credential_is_known(name):
    assert is_secret_key(name)


@pytest.mark.parametrize("name", [*OTHER_NAMES.split(), "", "\0"])
def test_a_name_that_holds_none_is_not_taken_for_one(name):
    assert not is_secret_key(name)
