"""One backend on the bench: built from settings that point at a sink, called as a lane calls it."""

from __future__ import annotations

import difflib
import threading
import time
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin
from urllib.parse import urlsplit

import pluggy
from pydantic import SecretStr

from gatewayz.events import Event
from gatewayz.hookspecs import PROJECT, Backend
from gatewayz.registry import Instance, bound_hooks, discover, register
from gatewayz.settings import BackendSettings, Config, env_names, instance_prefix, load

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayz.events import ScoreEvent

__all__ = ["Bench", "Result", "canaries", "environ_for", "find_class", "same", "texts_in", "within"]

_ADDRESS_NAMES = frozenset({"url", "uri", "host", "endpoint", "address", "server"})


class Result(NamedTuple):
    """How one call ended: it returned `value`, raised `error`, or was still running (`stuck`)."""

    value: Any
    error: BaseException | None
    stuck: bool
    took_s: float


def within(call: Callable[[], Any], limit_s: float) -> Result:
    """Run `call` on a daemon thread of its own, as a lane does, and wait `limit_s` for it."""
    value: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            value.append(call())
        except BaseException as error:  # noqa: BLE001 - a SystemExit is one of the outcomes to report
            errors.append(error)

    thread = threading.Thread(target=run, name="conformance", daemon=True)
    began = time.monotonic()
    thread.start()
    thread.join(limit_s)
    took_s = time.monotonic() - began
    return Result(
        value[0] if value else None,
        errors[0] if errors else None,
        thread.is_alive() and not value and not errors,
        took_s,
    )


def find_class(backend: str | type[Backend]) -> tuple[str, type[Backend]]:
    """Return the name and class of a backend given by entry-point name or as the class itself."""
    if isinstance(backend, str):
        found = discover()
        if backend not in found:
            close = difflib.get_close_matches(backend, found, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            msg = (
                f"no installed distribution has an entry point {backend!r} in the group "
                f"gatewayz.backends{hint} Install your project (pip install -e .) first."
            )
            raise LookupError(msg)
        return backend, found[backend].load()
    return backend.__name__.lower().replace("_", "-"), backend


class Bench:
    """A backend built and registered exactly as a running process does it, without its lane."""

    def __init__(self, name: str, cls: type[Backend], environ: Mapping[str, str]) -> None:
        self.name = name
        self.environ = environ
        self.settings, self.origins = load(
            cls.Settings, Config(environ, {}), instance=name, known=lambda key: key == "enabled"
        )
        self.backend = cls(self.settings)
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(Backend)
        register(Instance(name), self.backend, self.settings, manager)
        self.hooks = bound_hooks(manager, name)

    @property
    def exports(self) -> bool:
        """Tell whether the backend has an `export`."""
        return "export" in self.hooks

    def translate(self, event: Event | ScoreEvent) -> list[Any]:
        """Return the records of an ended span or a score, in the order a lane asks for them."""
        made: list[Any] = []
        if isinstance(event, Event):
            if event.usage is not None:
                self._run(made, "on_usage", event, event.usage)
            if event.cost is not None:
                self._run(made, "on_cost", event, event.cost)
            self._run(made, "on_end", event)
        else:
            self._run(made, "on_score", event, event.score)
        return made

    def translate_beginning(self, event: Event) -> list[Any]:
        """Return the records of a span that begins."""
        made: list[Any] = []
        self._run(made, "on_start", event)
        return made

    def _run(self, made: list[Any], hook: str, *arguments: Any) -> None:
        if hook in self.hooks:
            answer = self.hooks[hook](*arguments)
            if type(answer) is list:
                made += answer
            elif answer is not None:
                made.append(answer)

    def export(self, records: Sequence[Any], timeout_s: float, grace_s: float = 1.0) -> Result:
        """Export on a thread of its own and wait `timeout_s + grace_s` for it."""
        return within(lambda: self.hooks["export"](records, timeout_s), timeout_s + grace_s)


# -- settings ------------------------------------------------------------------------------------


def environ_for(
    cls: type[Backend], name: str, address: str, env: Mapping[str, str], timeout_s: float
) -> tuple[dict[str, str], bool]:
    """Return an environment that builds the backend, and whether `address` is in it.

    `env` wins: `{sink}`, `{sink_host}` and `{sink_port}` in its values stand for the address.
    Otherwise settings that look like an address get it, secrets get canaries, and whatever else
    is required gets a value of its type.
    """
    fields = cls.Settings.model_fields
    prefix = instance_prefix(name)
    parts = urlsplit(address)
    replaced = {
        "{sink}": address,
        "{sink_host}": parts.hostname or "",
        "{sink_port}": str(parts.port),
    }
    variables = {f: env_names(cls.Settings, f, prefix) for f in fields}
    known = {v for names in variables.values() for v in names} | {f"{prefix}ENABLED"}
    environ: dict[str, str] = {}
    placed = False
    for variable, template in env.items():
        if variable not in known:
            close = difflib.get_close_matches(variable, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(known))}"
            msg = f"env names {variable}, which no setting of {name!r} reads; {hint}"
            raise LookupError(msg)
        value = template
        for placeholder, real in replaced.items():
            placed = placed or placeholder in value
            value = value.replace(placeholder, real)
        environ[variable] = value
    fill_addresses = not placed
    for field, info in fields.items():
        if field in BackendSettings.model_fields or any(v in environ for v in variables[field]):
            continue
        kinds = _kinds(info.annotation)
        value = ""
        if SecretStr in kinds:
            value = f"kit-canary-{field.replace('_', '-')}-4f1d2c9a"
        elif fill_addresses and str in kinds and _is_address(field):
            value, placed = address, True
            if field == "host" and "port" in fields:
                value = parts.hostname or ""
        elif fill_addresses and field == "port" and "host" in fields and int in kinds:
            value = str(parts.port)
        elif info.is_required():
            value = _any_value(name, variables[field][0], field, kinds, info.annotation)
        if value:
            environ[variables[field][0]] = value
    environ.setdefault(f"{prefix}CAPTURE_CONTENT", "true")
    environ.setdefault(f"{prefix}TIMEOUT_S", str(timeout_s))
    environ.setdefault(f"{prefix}FLUSH_INTERVAL", "0.05")
    return environ, placed


def _is_address(field: str) -> bool:
    return field.rpartition("_")[2] in _ADDRESS_NAMES and "proxy" not in field


def _kinds(annotation: Any) -> set[Any]:
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        return set().union(*(_kinds(a) for a in get_args(annotation)))
    return {annotation}


def _any_value(name: str, variable: str, field: str, kinds: set[Any], annotation: Any) -> str:
    simple = {str: f"kit-{field.replace('_', '-')}", int: "1", float: "1", bool: "true"}
    for kind, value in simple.items():
        if kind in kinds:
            return value
    if get_origin(annotation) is Literal:
        return str(get_args(annotation)[0])
    example = f'env = {{"{variable}": …}}'
    msg = f"{name}: {variable} is required and not of a simple type: give it in {example}"
    raise LookupError(msg)


def canaries(settings: BackendSettings) -> dict[str, str]:
    """Return the secret values in `settings` by field, those too short to search for left out."""
    secrets = {f: getattr(settings, f) for f in type(settings).model_fields}
    values = {f: s.get_secret_value() for f, s in secrets.items() if isinstance(s, SecretStr)}
    return {f: v for f, v in values.items() if len(v) >= 8}


# -- records -------------------------------------------------------------------------------------


def same(one: Any, other: Any) -> bool:
    """Tell whether two records are equal, by value also where their class defines no equality."""
    if one is other or type(one) is not type(other):
        return one is other
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return one == other or (one != one and other != other)  # noqa: PLR0124 - NaN equals NaN here
    if _compares_by_identity(type(one)) and _parts(one) is not None:
        return same(_parts(one), _parts(other))
    return bool(one == other)


def _compares_by_identity(cls: type) -> bool:
    own: object = cls.__eq__
    return own is object.__eq__


def _parts(value: Any) -> dict[str, Any] | None:
    if hasattr(value, "__dict__"):
        return dict(vars(value))
    slots = [s for c in type(value).__mro__ for s in _as_tuple(getattr(c, "__slots__", ()))]
    return {s: getattr(value, s, None) for s in slots} if slots else None


def _as_tuple(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def texts_in(value: Any, depth: int = 12) -> str:
    """Return all the text and bytes found in a record, joined, for searching."""
    if depth == 0:
        return repr(value)
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("latin-1")
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return "\n".join(texts_in(x, depth - 1) for pair in value.items() for x in pair)
    if isinstance(value, (list, tuple, set, frozenset)):
        return "\n".join(texts_in(x, depth - 1) for x in value)
    parts = _parts(value)
    return repr(value) + ("\n" + texts_in(parts, depth - 1) if parts else "")
