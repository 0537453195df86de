"""The langfuse backend keeps the contract of a backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayz.testing import BackendConformance

if TYPE_CHECKING:
    from collections.abc import Mapping


class TestLangfuse(BackendConformance):
    backend = "langfuse"
    env: Mapping[str, str] = {"LANGFUSE_HOST": "{sink}"}
    total_deadline = True
