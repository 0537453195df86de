"""Whether a backend is worth asking now: consecutive failures, back-off, and what to show of it."""

from __future__ import annotations

import random

__all__ = ["Breaker"]


class Breaker:
    """Counts one backend's failures and says how long to leave it alone. Not thread-safe.

    States: `closed`, `open` (failed `failures_to_open` times in a row), `half_open` (the probe
    after an open pause is under way), `misconfigured` (wrong key or host).
    """

    def __init__(
        self, first_s: float, longest_s: float, probe_s: float, failures_to_open: int
    ) -> None:
        self.state = "closed"
        self._first_s = first_s
        self._longest_s = longest_s
        self._probe_s = probe_s
        self._failures_to_open = failures_to_open
        self._failures = 0

    def success(self) -> None:
        """Close it."""
        self.state = "closed"
        self._failures = 0

    def failure(self) -> float:
        """Count a failure; return the pause before the next try, in seconds, jittered."""
        self._failures += 1
        if self._failures >= self._failures_to_open or self.state == "misconfigured":
            self.state = "open"
        pause = min(self._longest_s, self._first_s * 2.0 ** min(self._failures - 1, 30))
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret

    def misconfigured(self) -> float:
        """Note wrong credentials or a wrong host; return the pause before the next probe."""
        self.state = "misconfigured"
        return self._probe_s

    def probing(self) -> None:
        """Note that the pause is over and the next try is under way."""
        if self.state == "open":
            self.state = "half_open"
