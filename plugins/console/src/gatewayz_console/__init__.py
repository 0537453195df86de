"""Gatewayz backend that prints one readable line for each inference on the terminal."""

from __future__ import annotations

from gatewayz_console.backend import Console, ConsoleSettings

__all__ = ["Console", "ConsoleSettings"]
