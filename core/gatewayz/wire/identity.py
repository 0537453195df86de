"""Who made a request and how they want it traced: read from headers, body and baggage.

Names that users of other gateways and tracers already send are understood beside our own
(`x-gatewayz-*`). Where several are given: a header wins over the body, the body over baggage,
and among headers the first of the lists below. Nothing here chooses a credential or a destination.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from gatewayz.events import Prompt
from gatewayz.wire.jsontext import decode, mapping

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Identity", "asks", "identity"]

_SESSION_HEADERS = (
    "x-gatewayz-session-id",
    "x-claude-code-session-id",
    "x-session-id",
    "session-id",
    "x-litellm-session-id",
    "helicone-session-id",
    "agent-session-id",
    "x-litellm-trace-id",
    "session_id",
    "thread-id",
    "thread_id",
    "conversation-id",
    "conversation_id",
    "langfuse_session_id",
)
_USER_HEADERS = (
    "x-gatewayz-user-id",
    "x-litellm-end-user-id",
    "x-litellm-customer-id",
    "helicone-user-id",
    "x-user-id",
    "langfuse_user_id",
    "langfuse_trace_user_id",
)
_TAG_HEADERS = ("x-gatewayz-tags", "x-litellm-tags", "langfuse_tags")
_JSON_HEADERS = ("x-portkey-metadata", "x-litellm-spend-logs-metadata")
_METADATA_HEADERS = {
    "x-claude-code-agent-id": "agent_id",
    "x-parent-session-id": "parent_session_id",
    "x-portkey-trace-id": "portkey_trace_id",
    "x-request-id": "request_id",
}
_METADATA_PREFIXES = ("helicone-property-", "x-bf-dim-", "langfuse_")
_OMIT_BOTH = (
    "x-gatewayz-omit-content",
    "x-litellm-enable-message-redaction",
    "x-bf-disable-content-logging",
)
_SKIP_HEADERS = ("x-gatewayz-skip-backends", "x-litellm-disable-callbacks")

_NAMED = frozenset({
    *_SESSION_HEADERS,
    *_USER_HEADERS,
    *_TAG_HEADERS,
    *_JSON_HEADERS,
    *_METADATA_HEADERS,
    *_OMIT_BOTH,
    *_SKIP_HEADERS,
    "baggage",
    "helicone-omit-request",
    "helicone-omit-response",
    "helicone-prompt-id",
})  # fmt: skip
# What one request's metadata, tags and ids may at most be; the client chooses them.
_MAX_KEYS = 128
_MAX_TAGS = 64
_MAX_CHARS = 1000

_NO = frozenset({"", "false", "0", "no", "off"})


class Identity(msgspec.Struct):
    """Who made a request, and what they asked of tracing."""

    user_id: str | None = None
    session_id: str | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}
    omit_input: bool = False
    omit_output: bool = False
    skip_backends: frozenset[str] = frozenset()
    prompt: Prompt | None = None


def asks(value: str) -> bool:
    """Return the boolean that a header spells: false, 0, no, off and nothing are false.

    Any other word counts as true: these headers ask for privacy, and a misspelt one must not
    publish what its sender wanted hidden.
    """
    return value.strip().lower() not in _NO


def identity(headers: Mapping[str, str], body: Mapping[str, Any]) -> Identity:
    """Return what a request's headers (lower-case names) and decoded body say about its maker."""
    named = {name: value.strip() for name, value in headers.items() if _tells(name)}
    metadata = mapping(body.get("metadata"))
    if not named and not metadata and body.keys().isdisjoint(_BODY_NAMES):
        return Identity()
    if not named and not metadata:
        # Most requests say at most who asks, in the body: nothing else needs to be looked for.
        return Identity(
            user_id=_text(body.get("safety_identifier")) or _text(body.get("user")),
            session_id=_text(body.get("session_id")) or _text(body.get("litellm_session_id")),
            metadata=dict(list(mapping(body.get("trace")).items())[:_MAX_KEYS]),
        )
    user_in_body, session_in_body = _parse_user_id(_text(metadata.get("user_id")))
    extra: dict[str, Any] = {k: v for k, v in metadata.items() if k not in _CONSUMED}
    extra.update(mapping(body.get("trace")))
    portkey_user = _metadata_of_headers(named, extra) if named else None
    baggage = _baggage(named.get("baggage", ""))
    both = any(asks(named[name]) for name in _OMIT_BOTH if name in named)
    return Identity(
        user_id=_first(named, _USER_HEADERS)
        or portkey_user
        or _text(body.get("safety_identifier"))
        or _text(body.get("user"))
        or user_in_body
        or baggage.get("user.id")
        or baggage.get("langfuse_user_id"),
        session_id=_first(named, _SESSION_HEADERS)
        or _vendor_session(named)
        or _text(body.get("session_id"))
        or _text(body.get("litellm_session_id"))
        or _text(metadata.get("session_id"))
        or session_in_body
        or baggage.get("session.id")
        or baggage.get("langfuse_session_id"),
        tags=_tags(named, metadata.get("tags")),
        metadata=dict(list(extra.items())[:_MAX_KEYS]),
        omit_input=both or asks(named.get("helicone-omit-request", "")),
        omit_output=both or asks(named.get("helicone-omit-response", "")),
        skip_backends=frozenset(
            word.lower() for name in _SKIP_HEADERS for word in _words(named.get(name, ""))
        ),
        prompt=_prompt(named, metadata),
    )


_BODY_NAMES = frozenset({"session_id", "litellm_session_id", "safety_identifier", "user", "trace"})
# Fields of the body's metadata that have a place of their own.
_CONSUMED = frozenset({"user_id", "session_id", "tags", "prompt_name", "prompt_version"})


@lru_cache(maxsize=1024)
def _tells(name: str) -> bool:
    """Return whether a header of this name says anything here; the same few names always come."""
    return name in _NAMED or name.startswith(_METADATA_PREFIXES) or name.endswith("-session-id")


def _text(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        value = str(value)
    if not isinstance(value, str):
        return None
    return value.strip()[:_MAX_CHARS] or None


def _words(value: str) -> list[str]:
    return [word.strip()[:_MAX_CHARS] for word in value.split(",") if word.strip()]


def _first(named: dict[str, str], names: tuple[str, ...]) -> str | None:
    return next((named[name][:_MAX_CHARS] for name in names if named.get(name)), None)


def _vendor_session(named: dict[str, str]) -> str | None:
    # Any x-<vendor>-session-id.
    for name, value in named.items():
        if value and name.startswith("x-") and name.endswith("-session-id"):
            if name == "x-parent-session-id":
                continue
            return value[:_MAX_CHARS]
    return None


def _parse_user_id(value: str | None) -> tuple[str | None, str | None]:
    """Return (user, session) of a `metadata.user_id`, as Claude Code packs both into it.

    Either JSON `{"device_id", "account_uuid", "session_id"}`, or
    `user_<device>_account_<account>_session_<uuid>`; the account is the user, else the device.
    """
    if value is None:
        return None, None
    if value.startswith("{"):
        packed = decode(value.encode("utf-8", "replace"))
        if isinstance(packed, dict):
            user = _text(packed.get("account_uuid")) or _text(packed.get("device_id"))
            return user, _text(packed.get("session_id"))
    before, found, session = value.rpartition("_session_")
    if not found:
        return value, None
    device, _, account = before.partition("_account_")
    return account or device.removeprefix("user_") or None, session or None


def _metadata_of_headers(named: dict[str, str], extra: dict[str, Any]) -> str | None:
    """Add what headers carry as metadata to `extra`; return the user of Portkey's metadata."""
    user: str | None = None
    for name in _JSON_HEADERS:
        if name in named:
            found = mapping(decode(named[name].encode("utf-8", "replace")))
            if name == "x-portkey-metadata":
                user = _text(found.get("_user"))
                found = {k: v for k, v in found.items() if k != "_user"}
            extra.update(found)
    for name, value in named.items():
        key = _METADATA_HEADERS.get(name)
        if key is None and name not in _NAMED:
            prefix = next((p for p in _METADATA_PREFIXES if name.startswith(p)), None)
            key = name[len(prefix) :] if prefix else None
        if key and value:
            extra[key] = value[:_MAX_CHARS]
    return user


def _tags(named: dict[str, str], in_body: Any) -> tuple[str, ...]:
    tags = [word for name in _TAG_HEADERS for word in _words(named.get(name, ""))]
    if isinstance(in_body, str):
        tags += _words(in_body)
    elif isinstance(in_body, list):
        tags += [tag for tag in map(_text, in_body[:_MAX_TAGS]) if tag]
    return tuple(dict.fromkeys(tags))[:_MAX_TAGS]


def _prompt(named: dict[str, str], metadata: dict[str, Any]) -> Prompt | None:
    name = named.get("helicone-prompt-id") or _text(metadata.get("prompt_name"))
    if not name:
        return None
    version = metadata.get("prompt_version")
    if isinstance(version, bool) or not isinstance(version, int):
        version = _text(version)
    return Prompt(name=name[:_MAX_CHARS], version=version)


def _baggage(value: str) -> dict[str, str]:
    """Return the entries of a W3C `baggage` header (https://www.w3.org/TR/baggage/)."""
    found: dict[str, str] = {}
    for entry in value.split(",") if value else ():
        name, equals, rest = entry.partition(";")[0].partition("=")
        if equals and rest.strip():
            found.setdefault(name.strip(), unquote(rest.strip())[:_MAX_CHARS])
    return found
