"""Who answers behind a base URL: the provider's name, and whether it is a gateway of ours."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Answerers", "provider_of"]

# The host, or the end of it, of those whose address is their own and nobody else's.
_HOSTS: Mapping[str, str] = {
    "api.openai.com": "openai",
    "openai.azure.com": "azure",
    "cognitiveservices.azure.com": "azure",
    "services.ai.azure.com": "azure",
    "models.ai.azure.com": "azure",
    "api.anthropic.com": "anthropic",
    "amazonaws.com": "aws",
    "api.aws": "aws",
    "aiplatform.googleapis.com": "google",
    "generativelanguage.googleapis.com": "google",
    "api.cerebras.ai": "cerebras",
    "api.cohere.ai": "cohere",
    "api.cohere.com": "cohere",
    "api.deepseek.com": "deepseek",
    "api.fireworks.ai": "fireworks",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral",
    "api.moonshot.ai": "moonshotai",
    "api.perplexity.ai": "perplexity",
    "api.together.ai": "together",
    "api.together.xyz": "together",
    "api.x.ai": "x-ai",
    "openrouter.ai": "openrouter",
    "router.huggingface.co": "huggingface",
}
_REGIONAL = "-aiplatform.googleapis.com"
_OPENAI_REGIONS = ".api.openai.com"


def provider_of(host: str) -> str:
    """Return the provider's name for a host; an unknown host is its own name.

    >>> provider_of("acme.openai.azure.com"), provider_of("llm.acme.internal")
    ('azure', 'llm.acme.internal')
    """
    host = host.lower().rstrip(".")
    if host.endswith(_REGIONAL):
        return "google"
    if host.endswith(_OPENAI_REGIONS):
        return "openai"
    name = host
    while name:
        known = _HOSTS.get(name)
        if known is not None:
            return known
        name = name.partition(".")[2]
    return host


class Answerers:
    """Remembers, for hosts whose name tells nothing, whether a gateway of ours answered there.

    Until one has answered, nobody can know. Bounded; the oldest is forgotten. Any thread.
    """

    def __init__(self, max_hosts: int = 256) -> None:
        self._seen: OrderedDict[str, bool] = OrderedDict()
        self._max_hosts = max_hosts

    def is_provider(self, host: str) -> bool:
        """Tell whether it is certain that this `host:port` is no gateway of ours."""
        known = self._seen.get(host)
        return known is False or (known is None and provider_of(_name(host)) != _name(host))

    def note(self, host: str, *, gateway: bool) -> None:
        """Note who answered at `host:port`."""
        if self._seen.get(host) is not gateway:
            self._seen[host] = gateway
            if len(self._seen) > self._max_hosts:
                self._seen.popitem(last=False)


def _name(host: str) -> str:
    return host.rpartition(":")[0]
