"""Warnings about what callers gave: counted all, the same words logged once a minute."""

from __future__ import annotations

import logging
import time

__all__ = ["Complaints"]

logger = logging.getLogger(__name__)

_EVERY_S = 60.0
_REMEMBERED = 1000


class Complaints:
    """Takes complaints; used by one thread."""

    def __init__(self) -> None:
        self.count = 0
        self._logged: dict[str, float] = {}

    def add(self, words: str) -> None:
        """Count a complaint; log it unless the same words were logged within a minute."""
        self.count += 1
        now = time.monotonic()
        if len(self._logged) > _REMEMBERED:
            self._logged.clear()
        if now - self._logged.get(words, -_EVERY_S) >= _EVERY_S:
            self._logged[words] = now
            logger.warning("%s", words)
