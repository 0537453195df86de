"""The operator's own mask: `GATEWAYZ_MASK=module:function`, called once with each event's content.

    def hide(content: dict) -> dict: ...

`content` has the keys `input`, `output` and `tools` where there are any, and `metadata`; what is
returned is sent instead. A mask that fails lets nothing through.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import msgspec

from gatewayz.content import clean_metadata, to_content
from gatewayz.errors import SettingsError
from gatewayz.events import as_json, freeze

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayz.complaints import Complaints

__all__ = ["apply", "resolve"]


def resolve(path: str) -> Callable[[dict[str, Any]], Any]:
    """Import the function a setting names. Raises SettingsError where it cannot."""
    module, colon, name = path.partition(":")
    if not colon:
        msg = "GATEWAYZ_MASK must be module:function"
        raise SettingsError(msg)
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # noqa: BLE001 - imports the operator's own module
        msg = f"GATEWAYZ_MASK: cannot import {path}: {type(error).__name__}: {error}"
        raise SettingsError(msg) from None
    if not callable(found):
        msg = f"GATEWAYZ_MASK: {path} is not a function"
        raise SettingsError(msg)
    return found  # type: ignore[no-any-return]


def apply(
    mask: Callable[[dict[str, Any]], Any], fields: dict[str, Any], complaints: Complaints
) -> None:
    """Replace an event's content and metadata by what the mask returns; by nothing where it fails."""
    names = {"input": "input_json", "output": "output_json", "tools": "tools_json"}
    content = {
        short: msgspec.json.decode(fields[name])
        for short, name in names.items()
        if fields.get(name) is not None
    }
    content["metadata"] = as_json(fields.get("metadata", {}))
    try:
        masked = dict(mask(content))
        encoded = {name: to_content(masked.get(short))[0] for short, name in names.items()}
        metadata = freeze(clean_metadata(masked.get("metadata") or {}))
    except Exception as error:  # noqa: BLE001 - the operator's own function: fail closed
        complaints.add(f"GATEWAYZ_MASK failed ({type(error).__name__}); content was left out")
        encoded = {n: b'"[masking failed]"' for n in names.values() if fields.get(n) is not None}
        metadata = freeze({})
    for name in names.values():
        fields[name] = encoded.get(name) if fields.get(name) is not None else None
    fields["metadata"] = metadata
