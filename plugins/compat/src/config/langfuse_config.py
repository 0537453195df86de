"""`from src.config.langfuse_config import LangfuseConfig, LangfuseTracer`: Langfuse used directly."""

from __future__ import annotations

from gatewayz_langfuse import LangfuseClient, LangfuseConfig, LangfuseTracer

__all__ = ["LangfuseClient", "LangfuseConfig", "LangfuseTracer"]
