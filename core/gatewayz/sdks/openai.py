"""The official OpenAI SDK (https://github.com/openai/openai-python), checked with 1.60 and 3.54."""

from __future__ import annotations

from gatewayz.sdks.sdk import Sdk

__all__ = ["OPENAI"]

OPENAI = Sdk(
    name="openai",
    api="openai",
    # Azure's and Bedrock's clients and the module's own (`openai.chat…`) inherit from these.
    clients=("OpenAI", "AsyncOpenAI"),
    operations={
        "/chat/completions": "chat",
        "/responses": "responses",
        "/embeddings": "embeddings",
        "/completions": "text_completion",
    },
    providers={
        "AzureOpenAI": "azure",
        "AsyncAzureOpenAI": "azure",
        "BedrockOpenAI": "aws",
        "AsyncBedrockOpenAI": "aws",
    },
)
