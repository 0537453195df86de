"""Which upstream a request goes to."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from gatewayz.gateway.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayz.gateway.upstreams import Upstream, WireFormat

__all__ = ["Router", "checked_path", "format_of"]

_FORMAT_NAMES = {"openai": "OpenAI's", "anthropic": "Anthropic's"}
_PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}


class Router:
    """Knows the configured upstreams, in order of preference, `echo` last."""

    def __init__(self, upstreams: Mapping[str, Upstream], default: str | None) -> None:
        self._upstreams = upstreams
        self._default = default
        self._first = {api: self._first_of(api) for api in ("openai", "anthropic")}

    def _first_of(self, api: str) -> Upstream:
        explicit = self._upstreams.get(self._default or "")
        if explicit is not None and api in explicit.formats:
            return explicit
        return next(u for u in self._upstreams.values() if api in u.formats)

    def default(self, api: WireFormat) -> Upstream:
        """Return who answers where a request names nobody.

        The configured default where it speaks the request's wire format, else the first upstream
        that does. Refusal 400 where only `echo` would be left instead of a default of the
        operator's choosing.
        """
        chosen = self._first[api]
        if chosen.in_process and self._default not in {None, chosen.name}:
            raise self._mismatch(str(self._default), api, "")
        return chosen

    def resolve(self, api: WireFormat, model: str) -> tuple[Upstream, str]:
        """Return who answers for a model, and what the model is called there; Refusal 400 else."""
        prefix, slash, rest = model.partition("/")
        if slash and rest:
            upstream = self._upstreams.get(prefix) or self._upstreams.get(prefix.replace("_", "-"))
            if upstream is not None:
                if api not in upstream.formats:
                    raise self._mismatch(upstream.name, api, model)
                return upstream, rest
        return self.default(api), model

    def _mismatch(self, name: str, api: WireFormat, model: str) -> Refusal:
        spoken = self._upstreams[name].formats[0]
        words = (
            f"upstream {name!r} speaks {_FORMAT_NAMES[spoken]} wire format, and nothing is translated: "
            f"ask it through {_PATHS[spoken]}"
        )
        other = self._first[api]
        if model and not other.in_process:
            words += f", or write {other.name}/{model} if {other.name!r} is meant to answer"
        elif not model:
            words += ", or name another upstream, like echo/echo"
        return Refusal(400, words, code="wire_format_mismatch", param="model")


def format_of(path: str, headers: Mapping[bytes, bytes]) -> WireFormat:
    """Return the wire format of a request for any path under /v1/."""
    if b"anthropic-version" in headers or path.startswith(("/v1/messages", "/v1/complete")):
        return "anthropic"
    return "openai"


@lru_cache(maxsize=256)
def checked_path(raw_path: bytes) -> str:
    """Return a path as it came; Refusal 400 for one that would leave /v1/ at the upstream."""
    plain = unquote_to_bytes(raw_path)
    if (
        not raw_path.isascii()
        or any(part in {b".", b".."} for part in plain.split(b"/"))
        or b"\\" in plain
    ):
        raise Refusal(400, "the path must be plain: no '.' or '..' segments")
    return raw_path.decode("ascii")
