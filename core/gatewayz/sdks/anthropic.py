"""The official Anthropic SDK (https://github.com/anthropics/anthropic-sdk-python), checked with 0.60 and 2.12."""

from __future__ import annotations

from gatewayz.sdks.sdk import Sdk

__all__ = ["ANTHROPIC"]

ANTHROPIC = Sdk(
    name="anthropic",
    api="anthropic",
    # Those of Foundry, AWS and Google Cloud inherit from the first two. Not among them:
    # AnthropicBedrock, whose streams are no server-sent events.
    clients=(
        "Anthropic",
        "AsyncAnthropic",
        "AnthropicVertex",
        "AsyncAnthropicVertex",
        "AnthropicBedrockMantle",
        "AsyncAnthropicBedrockMantle",
    ),
    # The legacy `/v1/complete` is another wire format, `count_tokens` and batches no inference.
    operations={"/v1/messages": "chat"},
    providers={
        "AnthropicVertex": "google",
        "AsyncAnthropicVertex": "google",
        "AnthropicGoogleCloud": "google",
        "AsyncAnthropicGoogleCloud": "google",
        "AnthropicBedrockMantle": "aws",
        "AsyncAnthropicBedrockMantle": "aws",
        "AnthropicAWS": "aws",
        "AsyncAnthropicAWS": "aws",
        "AnthropicFoundry": "azure",
        "AsyncAnthropicFoundry": "azure",
    },
)
