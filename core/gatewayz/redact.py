r"""Masks what looks like a credential in text and JSON, without ever making JSON invalid.

Two signs give a credential away: its own form (`sk-…`, `AKIA…`, `Bearer …`, a private key block) and
the name it stands under (`"password": "…"`). Both are looked for in UTF-8 bytes; a cheap search for
a literal comes before any pattern. Every pattern takes time linear in its input: runs are
possessive or bounded, and none starts twice within one run.

In JSON a string holds escapes (`\n`, `\"`), so no mask ever begins or ends within one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

__all__ = ["MASK", "is_secret_key", "redact_json", "redact_text"]

MASK = "***"
"""What stands where a credential stood; a known prefix (`sk-`) stays, so that one sees its kind."""

_MASK = MASK.encode()
_BARE_TOKEN_CHARS = 20
_MAX_PASSES = 5


# -- names -----------------------------------------------------------------------------------------

_NAME_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SECRET_WORDS = _words(
    "password passwords passwd passphrase secret secrets credential credentials authorization"
    " cookie cookies jwt apikey apikeys accesskey privatekey secretkey authtoken accesstoken"
    " refreshtoken"
)
_KEY_OWNERS = _words(
    "api access private secret auth signing encryption master service admin account storage"
    " subscription"
)
_TOKEN_OWNERS = _words(
    "api access refresh id auth bearer session csrf xsrf security oauth bot personal private"
    " secret github gitlab slack hf"
)


@lru_cache(maxsize=2048)
def is_secret_key(name: str) -> bool:
    """Return whether a key, header or variable of this name holds a credential as a rule.

    Words are told apart in snake, kebab and camel case; `max_tokens` and `prompt_cache_key` are none.
    """
    words = [word.lower() for word in _NAME_WORD.findall(name[:200])]
    if words == ["token"]:
        return True
    for index, word in enumerate(words):
        if word in _SECRET_WORDS:
            return True
        owner = words[index - 1] if index else ""
        if word in {"key", "keys"} and owner in _KEY_OWNERS:
            return True
        if word in {"token", "tokens"} and owner in _TOKEN_OWNERS:
            return True
    return False


# -- forms -----------------------------------------------------------------------------------------


class _Rule(NamedTuple):
    """A pattern, tried where any of `needles` occurs; its group `keep` stays, the rest is masked."""

    needles: tuple[bytes, ...]
    pattern: re.Pattern[bytes]


class _Group(NamedTuple):
    """Rules whose forms share a rare character; where it is, a search for `sign` rules most out."""

    rare: bytes
    sign: re.Pattern[bytes]
    rules: tuple[_Rule, ...]


def _after_break(prefix: str) -> str:
    r"""Return a pattern for `prefix` (of fixed width) where no letter or digit comes before it.

    The letter of a JSON escape is no letter: in `\nsk-…` a key begins a line. The prefix comes
    first in the pattern, so that `re` finds it with a plain search.
    """
    return (
        rf"(?P<keep>{prefix})"
        rf"(?:(?<![A-Za-z0-9]{prefix})|(?<=\\[nrtbf]{prefix})|(?<=\\u[0-9A-Fa-f]{{4}}{prefix}))"
    )


def _rule(needles: str, pattern: str) -> _Rule:
    return _Rule(tuple(n.encode() for n in needles.split()), re.compile(pattern.encode()))


def _group(sign: str, *rules: _Rule) -> _Group:
    return _Group(sign[:1].encode(), re.compile(sign.encode()), rules)


_GROUPS = (
    _group(
        r"-(?:(?<=sk-)|(?<=pk-)|(?<=glpat-)|(?<=xox.-)|(?<=xapp-)|(?<=xai-)|----BEGIN)",
        # A private key block; without its end (cut content) as far as it looks like one.
        _rule(
            "-----BEGIN",
            r"(?P<keep>-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)"
            r"(?:(?!-----END)(?:[A-Za-z0-9+/=\s:,.\-]|\\[nrt\\]))++"
            r"(?:-----END [A-Z0-9 ]{0,60}-----)?",
        ),
        # OpenAI, Anthropic, OpenRouter, Langfuse and their imitators. A capital or a digit tells
        # a key from a name like sk-toggleable__content-button.
        _rule(
            "sk-",
            _after_break("sk-") + r"(?:(?:ant|or|lf|proj|svcacct|admin)-[A-Za-z0-9_-]{8,}+"
            r"|(?=[a-z_-]{0,40}+[A-Z0-9])[A-Za-z0-9_-]{20,}+)",
        ),
        _rule("pk-lf-", _after_break("pk-lf-") + r"[A-Za-z0-9_-]{8,}+"),
        _rule("glpat-", _after_break("glpat-") + r"[A-Za-z0-9_-]{16,}+"),
        _rule("xox", _after_break("xox[abceoprs]-") + r"[A-Za-z0-9-]{10,}+"),
        _rule("xapp-", _after_break("xapp-") + r"[A-Za-z0-9-]{10,}+"),
        _rule("xai-", _after_break("xai-") + r"[A-Za-z0-9]{40,}+"),
    ),
    _group(
        r"_(?:(?<=gh[pousr]_)|(?<=github_)|(?<=gsk_)|(?<=hf_)|(?<=[rs]k_))",
        _rule("ghp_ gho_ ghu_ ghs_ ghr_", _after_break("gh[pousr]_") + r"[A-Za-z0-9]{20,}+"),
        _rule("github_pat_", _after_break("github_pat_") + r"[A-Za-z0-9_]{20,}+"),
        _rule("sk_live_ rk_live_", _after_break("[rs]k_live_") + r"[A-Za-z0-9]{16,}+"),
        _rule("gsk_", _after_break("gsk_") + r"[A-Za-z0-9]{30,}+"),
        _rule("hf_", _after_break("hf_") + r"[A-Za-z0-9]{30,}+"),
    ),
    _group(
        r"A(?:KIA|SIA|Iza)",
        _rule("AKIA ASIA", _after_break("A[KS]IA") + r"[0-9A-Z]{16}(?![0-9A-Z])"),
        _rule("AIza", _after_break("AIza") + r"[A-Za-z0-9_-]{30,}+"),
    ),
    _group(
        r"J(?<=eyJ)",
        # A JSON web token. It begins only where a run of its characters begins: linear.
        _rule(
            "eyJ",
            r"(?P<keep>eyJ)(?:(?<![A-Za-z0-9_-]eyJ)|(?<=\\[nrtbf]eyJ)|(?<=\\u[0-9A-Fa-f]{4}eyJ))"
            r"[A-Za-z0-9_-]{5,}+\.[A-Za-z0-9_-]{5,}+(?:\.[A-Za-z0-9_-]*+){1,3}+",
        ),
    ),
    _group(
        r"@",
        # A password within a URL.
        _rule("://", r'(?P<keep>://[^/\s:@"\\?#<>]{0,100}+:)[^/\s:@"\\?#<>]{1,200}+(?=@)'),
    ),
)

# Of any case: the word that each group's forms share is looked for in lower case first, then the
# needles of a rule.
_CASELESS_RULES: tuple[tuple[bytes, tuple[_Rule, ...]], ...] = (
    (
        b"authorization",
        (
            _rule(
                "authorization",
                r"(?P<keep>(?i:authorization)[\"'\\]{0,4}+\s{0,4}+[:=]\s{0,4}+[\"'\\]{0,4}+"
                r"(?i:basic|bearer|token|apikey)\s{1,4}+)[A-Za-z0-9._~+/=-]{6,}+",
            ),
            # Without a scheme a digit tells a credential from a word: "Authorization: required".
            _rule(
                "authorization",
                r"(?P<keep>(?i:authorization)[\"'\\]{0,4}+\s{0,4}+[:=]\s{0,4}+[\"'\\]{0,4}+)"
                r"(?=[A-Za-z._~+/=-]{0,60}+[0-9])[A-Za-z0-9._~+/=-]{8,}+",
            ),
        ),
    ),
    (
        b"bearer",
        (
            _rule(
                "bearer",
                r"(?P<keep>(?i:bearer)\s{1,4}+)(?=[A-Za-z._~+/=-]{0,60}+[0-9])[A-Za-z0-9._~+/=-]{16,}+",
            ),
        ),
    ),
    (
        b"secret",
        (
            _rule(
                "secret_access_key secretaccesskey",
                r"(?P<keep>(?i:secret_?access_?key)[\"'\\\s:=]{1,12}+)[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])",
            ),
        ),
    ),
)

# What the cap on content has cut (`content.py`) can be too short for the patterns above.
_CUT = "…[truncated ".encode()
_CUT_RULE = re.compile(
    rb"(?P<keep>(?<![A-Za-z0-9_-])(?:sk-|pk-lf-|A[KS]IA|gh[pousr]_|github_pat_|glpat-|AIza"
    rb"|xox[abceoprs]-|xapp-|[rs]k_live_|gsk_|hf_|xai-|eyJ)|(?i:bearer)\s{1,4}+)"
    rb"[A-Za-z0-9._~+/=-]++(?=" + re.escape(_CUT) + rb")"
)

# -- names and values in JSON ----------------------------------------------------------------------

_NAME = rb"[A-Za-z_$][A-Za-z0-9_.$ -]{1,63}+"
# Names of string values, of both kinds below.
_NAMES = re.compile(rb'"(' + _NAME + rb')\\?"\s*+:\s*+\\?"')
_PAIR = re.compile(rb'"(?P<name>' + _NAME + rb')"\s*+:\s*+"(?P<value>(?:[^"\\]|\\.)++)', re.DOTALL)
# The same within a string that itself holds JSON, like the arguments of a tool call: there a quote
# is \" and an escape begins with \\.
_INNER_PAIR = re.compile(
    rb'\\"(?P<name>' + _NAME + rb')\\"\s*+:\s*+\\"'
    rb'(?P<value>(?:[^"\\]|\\\\(?:\\["\\]|[^"\\])|\\[^"\\])++)',
    re.DOTALL,
)


def redact_json(raw: bytes) -> bytes:
    """Return UTF-8 JSON with credentials masked; valid JSON stays valid, its shape unchanged.

    Also right for JSON that was cut, and for text that is none. Never raises on any bytes. The
    result can be two bytes longer for each short value under a secret name.
    """
    for _ in range(_MAX_PASSES):
        masked = _masked_once(raw)
        if masked == raw:
            break
        # A credential may have stood right behind another one, like a part of the same word.
        raw = masked
    return raw


def _masked_once(raw: bytes) -> bytes:
    if any(map(_is_secret_name, set(_NAMES.findall(raw)))):
        raw = _INNER_PAIR.sub(_mask_value, _PAIR.sub(_mask_value, raw))
    lowered = raw.lower()
    for word, rules in _CASELESS_RULES:
        if word in lowered:
            raw = _applied(rules, lowered, raw)
    for rare, sign, rules in _GROUPS:
        if rare in raw and sign.search(raw):
            raw = _applied(rules, raw, raw)
    if not raw.isascii() and _CUT in raw:
        raw = _CUT_RULE.sub(_mask_rest, raw)
    return raw


def _applied(rules: tuple[_Rule, ...], searched: bytes, raw: bytes) -> bytes:
    for needles, pattern in rules:
        if any(needle in searched for needle in needles):
            raw = pattern.sub(_mask_rest, raw)
    return raw


def redact_text(text: str) -> str:
    """Return text with credentials masked, as `redact_json` does; the same object where none is."""
    raw = text.encode("utf-8", "surrogatepass")
    masked = redact_json(raw)
    return text if masked == raw else masked.decode("utf-8", "surrogatepass")


@lru_cache(maxsize=2048)
def _is_secret_name(name: bytes) -> bool:
    return is_secret_key(name.decode("ascii"))


def _mask_rest(match: re.Match[bytes]) -> bytes:
    return match["keep"] + _MASK


def _mask_value(match: re.Match[bytes]) -> bytes:
    name, value = match["name"], match["value"]
    if not _is_secret_name(name):
        return match[0]
    # `"token": "Hello"` is a log probability; a credential is longer and has no spaces.
    if name.lower() == b"token" and (len(value) < _BARE_TOKEN_CHARS or b" " in value):
        return match[0]
    return match[0][: match.start("value") - match.start()] + _MASK
