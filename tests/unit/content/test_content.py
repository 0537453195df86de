"""Any value becomes valid, bounded JSON that keeps its shape; nothing raises, nothing hangs."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import fractions
import json
import math
import pathlib
import sys
import types
import uuid
from decimal import Decimal
from typing import NamedTuple

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayz.content import (
    MAX_CONTENT_BYTES,
    MAX_DEPTH,
    clean_metadata,
    clean_text,
    to_content,
)


def decoded(value, max_bytes=MAX_CONTENT_BYTES):
    raw, cut = to_content(value, max_bytes)
    assert not cut
    return json.loads(raw)


def cut_to(value, max_bytes=MAX_CONTENT_BYTES):
    raw, cut = to_content(value, max_bytes)
    assert cut
    assert len(raw) <= max_bytes
    return json.loads(raw)


MESSAGES = [
    {"role": "system", "content": "Sei kurz."},
    {"role": "user", "content": [{"type": "text", "text": "Grüße 😀 \n"}, {"type": "image_url"}]},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "n": 1.5, "ok": True}]},
]


def test_plain_content_is_encoded_as_it_is():
    assert decoded(MESSAGES) == MESSAGES
    assert to_content("text") == (b'"text"', False)
    assert to_content([]) == (b"[]", False)
    assert to_content(0) == (b"0", False)


def test_none_is_no_content():
    assert to_content(None) == (None, False)


class Colour(enum.Enum):
    RED = "red"


class Role(str, enum.Enum):  # noqa: UP042 - the older form is the one SDKs have
    USER = "user"


@dataclasses.dataclass
class Point:
    x: int
    inner: list


class Record(msgspec.Struct):
    name: str
    at: dt.datetime


class Message(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    role: str
    key: pydantic.SecretStr = pydantic.SecretStr("sk-canary")
    at: dt.date = dt.date(2026, 1, 2)


class Exchange(pydantic.BaseModel):
    messages: list[Message]


class Holder:
    def __init__(self):
        self.api_key = "sk-canary"

    def __repr__(self):
        return f"Holder({self.api_key})"


class Pair(NamedTuple):
    a: int
    b: int


DAY = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        ([math.inf, -math.inf, 1.5], [None, None, 1.5]),
        (2**63, 2**63),
        (2**64, str(2**64)),
        (-(2**63) - 1, str(-(2**63) - 1)),
        (1 << 100_000, "<int of 100001 bits>"),
        ("a\0b", "ab"),
        ({"k\0": "\0"}, {"k": ""}),
        ("\\u0000", "\\u0000"),
        ("\ud83d\ude00 \ud800!", "😀 �!"),
        ({"\udcff": 1}, {"�": 1}),
        (b"text", "text"),
        (b"\xff\xfe\x00", "<3 bytes>"),
        (bytearray(b"ab"), "ab"),
        (memoryview(b"ab"), "ab"),
        (bytes(5_000_000), "<5000000 bytes>"),
        ({"b", "a", "c"}, ["a", "b", "c"]),
        (frozenset({2, 1}), [1, 2]),
        ((1, (2, 3)), [1, [2, 3]]),
        (collections.deque([1, 2]), [1, 2]),
        ({"a": 1}.values(), [1]),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.items(), [["a", 1]]),
        (range(3), [0, 1, 2]),
        (
            {1: "a", None: "b", False: "c", 2.5: "d"},
            {"1": "a", "null": "b", "false": "c", "2.5": "d"},
        ),
        ({(1, 2): "x"}, {"[1,2]": "x"}),
        ({2.5: "a", "2.5": "b"}, {"2.5": "a", "2.5~1": "b"}),
        (types.MappingProxyType({"a": (1,)}), {"a": [1]}),
        (collections.OrderedDict(a=1), {"a": 1}),
        (DAY, "2026-01-02T03:04:05+00:00"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (dt.timedelta(seconds=90), "0:01:30"),
        (Decimal("0.10"), "0.10"),
        (Decimal("NaN"), "NaN"),
        (fractions.Fraction(1, 4), 0.25),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.PurePosixPath("/tmp/x"), "/tmp/x"),
        (Colour.RED, "red"),
        (Role.USER, "user"),
        (Point(1, [Point(2, [])]), {"x": 1, "inner": [{"x": 2, "inner": []}]}),
        (Record("a", DAY), {"name": "a", "at": "2026-01-02T03:04:05+00:00"}),
        (Pair(1, 2), [1, 2]),
        (ValueError("no such thing"), "ValueError: no such thing"),
        (ValueError, "<ValueError>"),
        (object(), "<object>"),
        (len, "<builtin_function_or_method>"),
        ((i for i in "ab"), "<generator>"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_json_does_not_know_becomes_its_nearest(value, expected):
    assert decoded({"deep": [value]}) == {"deep": [expected]}
    assert expected is None or decoded(value) == expected


def test_pydantic_objects_are_dumped_with_their_extra_fields_and_masked_secrets():
    exchange = Exchange(messages=[Message(role="user", reasoning="because")])
    assert decoded([exchange]) == [
        {
            "messages": [
                {"role": "user", "key": "**********", "at": "2026-01-02", "reasoning": "because"}
            ]
        }
    ]


def test_an_object_that_is_not_data_shows_its_type_and_never_its_repr():
    assert decoded([Holder()]) == [f"<{__name__}.Holder>"]
    assert decoded([Holder]) == [f"<{__name__}.Holder>"]


def test_an_object_with_a_text_of_its_own_shows_that():
    class Shown:
        def __str__(self):
            return "shown\0"

    assert decoded(Shown()) == "shown"
    assert decoded([pydantic.SecretStr("sk-canary")]) == ["**********"]


def test_objects_that_raise_show_their_type():
    class Raises:
        def __str__(self):
            raise RuntimeError("sk-canary")

    class RaisesDump:
        def model_dump(self, **_):
            raise KeyError("sk-canary")

    class DumpsItself:
        def model_dump(self, **_):
            return self

    class Lies:
        @property
        def __class__(self):
            raise RuntimeError("sk-canary")

    class Broken(collections.abc.Mapping):
        def __len__(self):
            raise RuntimeError

        def __iter__(self):
            yield "a"
            raise RuntimeError("sk-canary")

        def __getitem__(self, key):
            return 1

    raw, _ = to_content([Raises(), RaisesDump(), DumpsItself(), Lies(), {"x": Lies()}, Broken()])
    assert b"canary" not in raw
    names = ["Raises", "RaisesDump", "DumpsItself", "Lies"]
    shown = json.loads(raw)
    assert [s.rpartition(".")[2].rstrip(">") for s in shown[:4]] == names
    assert shown[5] == {"a": 1}
    assert clean_metadata(Lies()) == {}
    assert "Lies" in clean_text(Lies())


def test_endless_containers_end():
    class Endless(list):
        def __iter__(self):
            while True:
                yield "x"

    class EndlessMapping(collections.abc.Mapping):
        def __len__(self):
            return sys.maxsize

        def __iter__(self):
            number = 0
            while True:
                number += 1
                yield number

        def __getitem__(self, key):
            return "v"

    assert len(cut_to([Endless(), EndlessMapping()])) == 2


def test_a_cycle_is_marked_where_it_closes():
    first: dict = {"name": "a"}
    first["self"] = [first]
    assert decoded(first) == {"name": "a", "self": ["…[cycle]"]}
    point = Point(1, [])
    point.inner.append(point)
    assert decoded(point) == {"x": 1, "inner": ["…[cycle]"]}


def test_one_value_held_twice_is_no_cycle():
    part = {"type": "text", "at": DAY}
    assert decoded([part, part])[0] == decoded([part, part])[1] != "…[cycle]"


def nested(levels, leaf="leaf"):
    for _ in range(levels):
        leaf = [leaf]
    return leaf


def test_sixteen_levels_stay_and_deeper_ones_are_marked():
    assert decoded(nested(MAX_DEPTH)) == nested(MAX_DEPTH)
    assert cut_to(nested(MAX_DEPTH + 1)) == nested(MAX_DEPTH, "…[truncated: nested too deeply]")
    assert cut_to(nested(100_000)) == nested(MAX_DEPTH, "…[truncated: nested too deeply]")


def test_only_the_longest_text_is_cut_and_the_mark_counts_its_bytes():
    messages = [*MESSAGES, {"role": "user", "content": "é" * 1_000_000}]
    cut = cut_to(messages)
    assert cut[:3] == MESSAGES
    content = cut[3]["content"]
    head, _, mark = content.partition("…[truncated ")
    assert head == "é" * len(head)
    assert mark == f"{2_000_000 - 2 * len(head)} bytes]"
    assert len(to_content(messages)[0]) > MAX_CONTENT_BYTES - 50


def test_long_texts_are_cut_to_one_length_and_short_ones_stay():
    value = {"a": "x" * 5000, "b": "y" * 9000, "c": "z" * 100, "d": "w" * 400}
    cut = cut_to(value, 2000)
    assert cut["c"] == value["c"]
    assert cut["d"] == value["d"]
    assert abs(len(cut["a"]) - len(cut["b"])) < 10
    assert cut["a"].startswith("xxxx")


def test_texts_of_escapes_and_wide_characters_fit_too():
    for char in ('"', "\n", "\x01", "é", "語", "😀", "\ud800"):
        for size in (60, 200, 1000):
            cut = cut_to({"a": char * 5000, "b": 1}, size)
            assert cut["b"] == 1
            assert "…" in cut["a"]


def test_many_messages_all_stay_while_each_can_keep_enough():
    messages = [{"role": "user", "content": f"{n} " + "x" * 2000} for n in range(500)]
    cut = cut_to(messages)
    assert len(cut) == 500
    assert all(c["content"].startswith(f"{n} ") for n, c in enumerate(cut))


def test_a_list_that_is_too_long_keeps_its_head_and_tail():
    messages = [{"role": "user", "content": f"{n} " + "x" * 2000} for n in range(20_000)]
    cut = cut_to(messages)
    mark = next(i for i, m in enumerate(cut) if isinstance(m, str))
    assert cut[mark] == f"…[truncated {20_000 - len(cut) + 1} items]"
    assert cut[0]["content"].startswith("0 ")
    assert cut[-1]["content"].startswith("19999 ")
    assert abs(mark - len(cut) / 2) <= 1


def test_a_mapping_with_too_many_keys_says_how_many_are_missing():
    cut = cut_to({f"key {n}": "x" * 50 for n in range(100_000)})
    kept = len(cut) - 1
    assert cut["…"] == f"[truncated {100_000 - kept} keys]"
    assert kept >= 512


def test_a_key_that_is_too_long_is_cut():
    cut = cut_to({"k" * 5000: 1, "k" * 5001: 2})
    assert sorted(cut.values()) == [1, 2]
    assert all(len(key) < 210 for key in cut)


def test_the_same_value_gives_the_same_bytes():
    def value():
        return [{"s": {"b", "a", "ü"}, "t": "x" * n, "at": DAY} for n in range(3000)]

    assert to_content(value()) == to_content(value())


def test_a_small_value_that_unfolds_to_an_endless_one_is_bounded():
    value: list = ["x" * 1000]
    for _ in range(15):
        value = [value] * 100
    cut_to(value)
    cut_to(["s" * 300_000] * 100_000)
    cut_to({str(n): "s" * 300_000 for n in range(1000)})


def test_a_bound_too_small_for_any_mark_gives_nothing():
    assert to_content("x" * 100, 4) == (None, True)
    assert to_content("x" * 100, 5) == ('"…"'.encode(), True)
    assert to_content([[1, 2, 3]], 6)[1] is True


SURROGATES = st.text(alphabet=st.characters(categories=["Cs", "Cc", "L", "So", "P"]))
KEYS = st.one_of(
    SURROGATES, st.integers(), st.none(), st.booleans(), st.floats(), st.tuples(st.integers())
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**60, max_value=2**80),
    st.floats(),
    SURROGATES,
    SURROGATES.map(lambda t: t * 50),
    st.binary(),
    st.decimals(),
    st.datetimes(),
    st.timedeltas(),
    st.uuids(),
    st.complex_numbers(),
    st.fractions(),
    st.sampled_from([Colour.RED, Role.USER, object(), Holder(), ValueError("x"), len, int, ...]),
    st.frozensets(st.one_of(st.integers(), st.text())),
    st.builds(Point, st.integers(), st.lists(st.text())),
    st.builds(Message, role=st.text()),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.lists(inner).map(collections.deque),
        st.dictionaries(KEYS, inner),
        st.dictionaries(st.text(), inner).map(types.MappingProxyType),
        st.builds(Point, st.integers(), st.lists(inner)),
        inner.map(lambda v: [v] * 9),
    ),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(VALUES, st.one_of(st.integers(0, 500), st.just(MAX_CONTENT_BYTES)))
def test_any_value_becomes_valid_json_within_the_bound(value, max_bytes):
    raw, cut = to_content(value, max_bytes)
    if raw is None:
        assert value is None or cut
        return
    assert len(raw) <= max_bytes
    assert b"\\u0000" not in raw.replace(b"\\\\", b"")
    parsed = json.loads(raw.decode("utf-8"), parse_constant=pytest.fail)
    msgspec.json.decode(raw)
    if isinstance(value, (list, tuple)) and max_bytes > 100:
        assert isinstance(parsed, list)
    if isinstance(value, dict) and max_bytes > 100:
        assert isinstance(parsed, dict)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text().map(lambda t: t.replace("\0", "")),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(max_size=20).map(lambda t: t.replace("\0", "")), inner)
    ),
    max_leaves=30,
)


@given(JSON_VALUES.filter(lambda v: v is not None))
def test_a_json_value_comes_through_unchanged(value):
    assert decoded(value) == value
    # The long way, which a date forces, gives the same.
    assert decoded([value, DAY])[0] == value


@settings(deadline=None)
@given(VALUES)
def test_any_value_becomes_clean_text(value):
    for most in (0, 1, 5, 200):
        text = clean_text(value, most)
        assert type(text) is str
        assert len(text) <= most
        text.encode()
        assert "\0" not in text


@settings(deadline=None)
@given(VALUES | st.dictionaries(KEYS, VALUES))
def test_anything_becomes_clean_metadata(value):
    cleaned = clean_metadata(value)
    assert len(cleaned) <= 129
    assert all(type(key) is str and len(key) <= 210 for key in cleaned)
    assert len(json.dumps(cleaned, ensure_ascii=False, allow_nan=False).encode()) < 80_000


def test_text_is_kept_cut_and_spelled():
    assert clean_text("user-1") == "user-1"
    assert clean_text(None) == ""
    assert clean_text(True) == "true"
    assert clean_text(1.5) == "1.5"
    assert clean_text(["a", 1]) == '["a",1]'
    assert clean_text(Role.USER) == "user"
    assert clean_text("a\0b\ud800") == "ab�"
    assert clean_text("x" * 300, 200) == "x" * 199 + "…"
    assert clean_text({"a": "x" * 10_000}, 50).endswith("…")


def test_metadata_keeps_json_values_and_spells_its_keys():
    given_metadata = {"tenant": "t", 1: 2, "deep": {"list": [1, None]}, "at": DAY, "none": None}
    assert clean_metadata(given_metadata) == {
        "tenant": "t",
        "1": 2,
        "deep": {"list": [1, None]},
        "at": "2026-01-02T03:04:05+00:00",
        "none": None,
    }
    assert clean_metadata(None) == clean_metadata([("a", 1)]) == clean_metadata("a") == {}


def test_metadata_under_a_secret_name_is_masked_at_any_depth():
    cleaned = clean_metadata(
        {
            "api_key": "canary",
            "password": {"old": "canary"},
            "max_tokens": 5,
            "token": None,
            "headers": {"Authorization": "canary", "accept": "*/*"},
            "list": [{"client_secret": "canary"}],
            "schema": {"password": {"type": "string"}},
        }
    )
    assert "canary" not in json.dumps(cleaned)
    assert cleaned["api_key"] == cleaned["password"] == "***"
    assert cleaned["max_tokens"] == 5
    assert cleaned["token"] is None
    assert cleaned["headers"] == {"Authorization": "***", "accept": "*/*"}
    assert cleaned["schema"] == {"password": {"type": "string"}}


def test_metadata_is_bounded_in_keys_and_bytes():
    cleaned = clean_metadata({f"key {n}": n for n in range(100_000)})
    assert list(cleaned) == [f"key {n}" for n in range(128)]
    wide = clean_metadata({f"{n}" + "é" * 500: "x" * 100_000 for n in range(200)})
    assert len(wide) <= 129
    assert len(json.dumps(wide, ensure_ascii=False).encode()) < 70_000
