"""What a service's HTTP answer means for the batch it answers."""

from __future__ import annotations

import email.utils
import math
import time
from typing import TYPE_CHECKING, NamedTuple

from gatewayz.errors import Misconfigured, Refused, Retry, TooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Rejected", "raise_for_answer", "retry_after_s"]

MAX_RETRY_AFTER_S = 900.0
_SHOWN_BODY_BYTES = 300


class Rejected(NamedTuple):
    """One record of a batch that the service refused while taking the others.

    `index` counts from 0 within the `records` that `export` was given.
    """

    index: int  # type: ignore[assignment] # the contract's word; tuple.index is not used
    reason: str


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the wait a service asks for, in seconds, at most 15 minutes; None where it asks none.

    Both forms of RFC 9110, section 10.2.3: a number of seconds, or a date.
    """
    value = next((v for k, v in headers.items() if k.lower() == "retry-after"), None)
    if value is None:
        return None
    try:
        wait_s = float(value)
    except ValueError:
        try:
            wait_s = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    if math.isnan(wait_s):
        return None
    return min(max(wait_s, 0.0), MAX_RETRY_AFTER_S)


def raise_for_answer(status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
    """Return for a 2xx answer; raise the `DeliveryError` that any other answer means.

    | status                  | raised          |
    |-------------------------|-----------------|
    | 2xx                     | nothing         |
    | 408, 425, 429, 5xx      | `Retry`         |
    | 413                     | `TooLarge`      |
    | 3xx, 401, 403, 404, 405, 407, 410 | `Misconfigured` |
    | any other               | `Refused`       |

    `headers` is any mapping with string keys; the case of its keys does not matter.
    """
    if 200 <= status < 300:
        return
    shown = bytes(body[:_SHOWN_BODY_BYTES]).decode("utf-8", "replace")
    reason = f"HTTP {status}: {' '.join(shown.split())}" if shown.strip() else f"HTTP {status}"
    if status in {408, 425, 429} or status >= 500:
        raise Retry(reason, retry_after_s(headers))
    if status == 413:
        raise TooLarge(reason)
    if 300 <= status < 400 or status in {401, 403, 404, 405, 407, 410}:
        raise Misconfigured(reason)
    raise Refused(reason)
