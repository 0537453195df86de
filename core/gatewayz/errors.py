"""Every exception of Gatewayz, and what an export may answer.

    GatewayzError
    ├── SettingsError        a setting is wrong; names the variable, never its value
    ├── BackendRefused       a backend cannot be registered; says what to change
    └── DeliveryError        raised by `Backend.export`; the lane acts on it
        ├── Retry            ask again with the same records
        ├── TooLarge         the batch is too big: the lane halves it
        ├── Refused          something in it is unacceptable: the lane bisects, then dead-letters
        └── Misconfigured    wrong key, wrong host: probe slowly, and say so

None of them crosses the facade into a caller's request.
"""

from __future__ import annotations

__all__ = [
    "BackendRefused",
    "DeliveryError",
    "GatewayzError",
    "Misconfigured",
    "Refused",
    "Retry",
    "SettingsError",
    "TooLarge",
]


class GatewayzError(Exception):
    """Base of everything Gatewayz raises on purpose."""


class SettingsError(GatewayzError):
    """A setting is missing or wrong. The message names the variable and the cure."""


class BackendRefused(GatewayzError):  # noqa: N818 - says what happened, as in every message
    """A backend breaks the contract and was not registered. The message says what to change."""


class DeliveryError(GatewayzError):
    """Why a batch was not delivered. Raise one of the subclasses from `export`."""


class Retry(DeliveryError):  # noqa: N818 - an answer of the contract, named as authors read it
    """Nothing is wrong with the records: the lane asks again with the same ones.

    `after_s` is the wait the service asked for (Retry-After), in seconds; with it the answer
    does not count against the backend's breaker.
    """

    def __init__(
        self, reason: str | float = "asked to try again", after_s: float | None = None
    ) -> None:
        if not isinstance(reason, str):
            # Retry(30) and Retry(after_s=30) mean the same.
            reason, after_s = "asked to try again", float(reason)
        super().__init__(reason)
        self.after_s = after_s


class TooLarge(DeliveryError):  # noqa: N818 - as above
    """The service takes no batch of this size (413): the lane halves it."""


class Refused(DeliveryError):  # noqa: N818 - as above
    """The service will never take this batch (400, 422): the lane bisects it."""


class Misconfigured(DeliveryError):  # noqa: N818 - as above
    """Key, host or path are wrong (401, 403, 404): held, probed once a minute, shown in status."""
