"""The headers of an export: which ones may be sent, and never showing their values."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

from gatewayz.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

__all__ = ["Mask", "check_headers", "sendable", "user_agent"]


_UNSENDABLE = "has a line break or another character that no header may have; remove it"


def user_agent() -> str:
    """Return how the senders introduce themselves."""
    try:
        return f"gatewayz/{metadata.version('gatewayz')}"
    except metadata.PackageNotFoundError:  # a source tree that was never installed
        return "gatewayz"


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise SettingsError for a header that cannot be sent: line breaks, other control characters."""
    for name, value in headers.items():
        token = name.isascii() and name.replace("-", "").replace("_", "").replace(".", "").isalnum()
        if not token:
            msg = f"header name {name[:40]!r} must be letters, digits, '-', '_' or '.'"
            raise SettingsError(msg)
        if not _is_sendable(value):
            msg = f"the value of header {name!r} {_UNSENDABLE}"
            raise SettingsError(msg)


def sendable(value: str | SecretStr | None) -> str | SecretStr | None:
    """Return a setting that becomes a header's value; ValueError where it cannot be sent."""
    if value is not None:
        text = value if isinstance(value, str) else value.get_secret_value()
        if not _is_sendable(text):
            raise ValueError(_UNSENDABLE)
    return value


def _is_sendable(value: str) -> bool:
    return all(" " <= c <= "~" or c == "\t" for c in value)


class Mask:
    """Hides header values in what a server answers, should it echo them."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        """Remember each value and each word of it (`Basic …`) of eight characters and more."""
        found = {word for value in headers.values() for word in (value, *value.split())}
        words = sorted((word for word in found if len(word) >= 8), key=len, reverse=True)
        self._words = [word.encode() for word in words]

    def __call__(self, text: bytes) -> bytes:
        """Return `text` with every such word as `***`."""
        for word in self._words:
            text = text.replace(word, b"***")
        return text
