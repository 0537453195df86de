"""What an exchange said: the one value that everything behind the wire formats works with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decimal import Decimal

    from gatewayz.events import Error, Prompt, Usage

__all__ = ["Reading"]


@dataclass(slots=True)
class Reading:
    """What one exchange said, whatever its wire format.

    `input` is the list of messages as sent (Anthropic's `system` and the instructions of
    Responses become a first message of role `system`; embeddings: the texts). `output` is the
    assistant message as a non-streamed answer would hold it, a list of them when there are
    several choices, None where none came. `usage` and `cost_usd` are the provider's own numbers,
    never estimates. `terminal`: the answer is known to be complete. `first_token_index` is the
    index into `Capture.chunks` of the first generated token (streams only). `service_tier` is
    the tier or speed the answer was served with. `truncated`: some of the content was not kept.
    """

    request_model: str | None = None
    response_model: str | None = None
    completion_id: str | None = None
    input: Any = None
    output: Any = None
    tools: list[Any] | None = None
    model_parameters: dict[str, Any] = field(default_factory=dict)
    usage: Usage | None = None
    cost_usd: Decimal | None = None
    finish_reasons: tuple[str, ...] = ()
    error: Error | None = None
    stream: bool = False
    terminal: bool = False
    first_token_index: int | None = None
    service_tier: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    omit_input: bool = False
    omit_output: bool = False
    skip_backends: frozenset[str] = frozenset()
    prompt: Prompt | None = None
    truncated: bool = False
