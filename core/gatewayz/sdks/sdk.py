"""What is to know of an official SDK to trace it; `openai` and `anthropic` fill it in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Sdk"]


class Sdk(NamedTuple):
    """One official SDK.

    `clients` are the classes at its top level that are wrapped; every other client inherits from
    one of them. `operations` are the paths whose POST is an inference, and its operation.
    `providers` are clients that name their provider whatever the address. `api` is the wire format.
    """

    name: str
    api: Literal["openai", "anthropic"]
    clients: tuple[str, ...]
    operations: Mapping[str, str]
    providers: Mapping[str, str]

    def operation(self, url: str) -> str | None:
        """Return what a POST to a URL or path does, or None where it is no inference.

        >>> from gatewayz.sdks.openai import OPENAI
        >>> OPENAI.operation("/chat/completions?x=1"), OPENAI.operation("/files")
        ('chat', None)
        """
        path = url.partition("?")[0].partition("#")[0].rstrip("/")
        for ending, operation in self.operations.items():
            if path.endswith(ending):
                return operation
        return None
