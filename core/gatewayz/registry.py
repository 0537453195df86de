"""From entry points and flags to backends: `disabled`, `active`, or `failed` with a reason.

An entry point is chosen by its name and loaded only when its flag is on, so a disabled backend's
code is never imported. Whatever goes wrong with one backend stays with that one.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import logging
import re
from typing import TYPE_CHECKING, Any

import pluggy

from gatewayz.errors import BackendRefused, GatewayzError, SettingsError
from gatewayz.hookspecs import HOOKS, PROJECT, Backend
from gatewayz.redact import redact_text
from gatewayz.settings import (
    BackendSettings,
    Config,
    Origin,
    instance_prefix,
    load,
    parse_flag,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gatewayz.lane import Lane

__all__ = ["GROUP", "Found", "Instance", "bound_hooks", "discover", "open_instances", "validate"]

logger = logging.getLogger(__name__)

GROUP = "gatewayz.backends"
FIRST_PARTY = ("arize", "console", "langfuse", "loki", "otel", "prometheus", "viewer")
FLAG_ALIASES: Mapping[str, tuple[str, ...]] = {"otel": ("TEMPO_ENABLED",)}
_NAME = re.compile(r"[a-z][a-z0-9-]*")
_LABEL = re.compile(r"[a-z0-9-]+")
# GATEWAYZ_<X>_ENABLED that are switches of our own, not backends.
_OWN_FLAGS = frozenset({"tracing"})


class Found:
    """One entry point: a backend that is installed. Nothing of it is loaded."""

    def __init__(self, name: str, points: list[importlib.metadata.EntryPoint]) -> None:
        self.name = name
        self._points = points
        dist = points[0].dist
        self.distribution = dist.name if dist is not None else ""
        self.version = dist.version if dist is not None else ""

    def load(self) -> type[Backend]:
        """Import the backend's class. Raises whatever the import raises, or BackendRefused."""
        places = sorted({p.value for p in self._points})
        if len(places) > 1:
            owners = sorted({p.dist.name for p in self._points if p.dist is not None})
            msg = f"two distributions call a backend {self.name!r} ({', '.join(owners)}); uninstall one"
            raise BackendRefused(msg)
        if not _NAME.fullmatch(self.name):
            msg = f"the entry-point name {self.name!r} must match [a-z][a-z0-9-]*"
            raise BackendRefused(msg)
        found = self._points[0].load()
        if not (isinstance(found, type) and issubclass(found, Backend)):
            msg = f"the entry point {places[0]!r} must name a subclass of gatewayz.Backend"
            raise BackendRefused(msg)
        return found


class Instance:
    """One backend as configured, and how it is doing. `reason` is set when `failed`."""

    def __init__(self, name: str, found: Found | None = None) -> None:
        self.name = name
        self.distribution = found.distribution if found else ""
        self.version = found.version if found else ""
        self.enabled = False
        self.backend: Backend | None = None
        self.lane: Lane | None = None
        self.hooks: tuple[str, ...] = ()
        self.origins: Mapping[str, Origin] = {}
        self._reason: str | None = None

    def fail(self, reason: str) -> None:
        """Mark it failed."""
        self._reason = redact_text(reason)[:1000]

    @property
    def reason(self) -> str | None:
        """Return why it failed; None where it did not."""
        if self._reason is None and self.lane is not None:
            return self.lane.failed
        return self._reason

    @property
    def state(self) -> str:
        """Return `disabled`, `active` or `failed`."""
        if not self.enabled:
            return "disabled"
        return "active" if self.reason is None else "failed"


def discover() -> dict[str, Found]:
    """Return the installed backends by name, none of them loaded."""
    points: dict[str, list[importlib.metadata.EntryPoint]] = {}
    for point in importlib.metadata.entry_points(group=GROUP):
        points.setdefault(point.name, []).append(point)
    return {name: Found(name, points[name]) for name in sorted(points)}


def open_instances(
    config: Config, found: Mapping[str, Found]
) -> tuple[list[Instance], pluggy.PluginManager]:
    """Decide every backend's state; build and register the enabled ones. Never raises for one."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Backend)
    instances = []
    for name, flag in _configured(config, found):
        kind = name.partition("/")[0]
        instance = Instance(name, found.get(kind))
        instances.append(instance)
        try:
            instance.enabled = flag()
            if instance.enabled:
                _open(instance, found, config, manager)
        except Exception as error:  # noqa: BLE001 - importing somebody's plugin may raise anything; it fails alone
            instance.enabled = True
            instance.backend = None
            instance.fail(_why(error))
            logger.warning("backend '%s' failed: %s", name, instance.reason)
    return instances, manager


def _open(
    instance: Instance,
    found: Mapping[str, Found],
    config: Config,
    manager: pluggy.PluginManager,
) -> None:
    kind = instance.name.partition("/")[0]
    if kind not in found:
        raise BackendRefused(_not_installed(kind))
    cls = found[kind].load()
    settings, instance.origins = load(cls.Settings, config, instance=instance.name, known=_is_flag)
    register(instance, cls(settings), settings, manager)


def register(
    instance: Instance, backend: Backend, settings: Any, manager: pluggy.PluginManager
) -> None:
    """Validate a built backend and register it under its instance's name."""
    backend.name = instance.name
    if not isinstance(getattr(backend, "settings", None), BackendSettings):
        # An author's __init__ need not keep them; the lane reads its own figures from there.
        backend.settings = settings if isinstance(settings, BackendSettings) else BackendSettings()
    validate(backend)
    try:
        manager.register(backend, name=instance.name)
        manager.check_pending()
    except (pluggy.PluginValidationError, ValueError) as error:
        manager.unregister(backend, name=instance.name) if manager.is_registered(backend) else None
        raise BackendRefused(str(error)) from None
    instance.enabled = True
    instance.backend = backend
    instance.hooks = tuple(bound_hooks(manager, instance.name))


def _is_flag(key: str) -> bool:
    return key == "enabled"


def _why(error: Exception) -> str:
    if isinstance(error, GatewayzError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"cannot import {error.name!r}; install the distribution that provides it"
    return f"{type(error).__name__}: {error}"


def _not_installed(kind: str) -> str:
    if kind in FIRST_PARTY:
        return f'not installed; run: pip install "gatewayz[{kind}]"'
    return f"no installed distribution provides a backend {kind!r} (entry-point group {GROUP})"


def _configured(config: Config, found: Iterable[str]) -> list[tuple[str, Callable[[], bool]]]:
    """Return every known or configured instance and how to read its flag."""
    environ = config.environ
    tables = config.table("backends")
    names = dict.fromkeys(sorted({*found, *FIRST_PARTY}))
    for variable in sorted(environ):
        own = re.fullmatch(r"GATEWAYZ_([A-Z][A-Z0-9_]*?)_ENABLED", variable)
        if own and "__" not in own[1]:
            name = own[1].lower().replace("_", "-")
            if name not in _OWN_FLAGS:
                names[name] = None
        labelled = re.fullmatch(r"([A-Z][A-Z0-9_]*?)__([A-Z0-9_]+)__ENABLED", variable)
        if labelled:
            kind = labelled[1].removeprefix("GATEWAYZ_").lower().replace("_", "-")
            label = labelled[2].lower().replace("_", "-")
            if kind in names:
                names[f"{kind}/{label}"] = None
    names.update(dict.fromkeys(tables))

    known = set(found)

    def reader(name: str) -> Callable[[], bool]:
        return lambda: _flag(name, config)

    def mentioned(name: str) -> bool:
        return name in known or name in tables or "/" in name or _mentioned(name, environ)

    return [(name, reader(name)) for name in names if mentioned(name)]


def _flag_names(name: str) -> list[str]:
    prefix = instance_prefix(name)
    aliases = FLAG_ALIASES.get(name, ())
    return [f"GATEWAYZ_{prefix}ENABLED", f"{prefix}ENABLED", *aliases]


def _mentioned(name: str, environ: Mapping[str, str]) -> bool:
    return any(environ.get(v, "").strip() for v in _flag_names(name))


def _flag(name: str, config: Config) -> bool:
    kind, slash, label = name.partition("/")
    if not _NAME.fullmatch(kind) or (slash and not _LABEL.fullmatch(label)):
        msg = f"the backend name {name!r} must be name or name/label, of a-z, 0-9 and -"
        raise SettingsError(msg)
    # `or`-ed aliases: the first variable that is set decides.
    for variable in _flag_names(name):
        text = config.environ.get(variable, "").strip()
        if text:
            try:
                return parse_flag(text)
            except ValueError as error:
                msg = f"{variable}: {error}"
                raise SettingsError(msg) from None
    table = config.table("backends", name)
    try:
        return parse_flag(table.get("enabled", False))
    except ValueError as error:
        msg = f'{config.path} [backends."{name}"]: enabled {error}'
        raise SettingsError(msg) from None


def validate(backend: Backend) -> None:
    """Refuse a backend that breaks the contract; the BackendRefused says what to change."""
    cls = type(backend)
    for hook in HOOKS:
        method = getattr(cls, hook)
        if method is getattr(Backend, hook):
            continue
        where = f"{cls.__module__}.{cls.__qualname__}.{hook}"
        marked = getattr(method, f"{PROJECT}_impl", None)
        if marked is None:
            msg = f"{where} is named like a hook but is not marked: put @hookimpl above it"
            raise BackendRefused(msg)
        if marked.get("hookwrapper") or marked.get("wrapper"):
            msg = f"{where} is a hook wrapper: a lane calls only its own backend; remove the option"
            raise BackendRefused(msg)
        if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
            msg = f"{where} is 'async def': it runs on a thread of its own; make it a plain 'def'"
            raise BackendRefused(msg)
        if inspect.isgeneratorfunction(method):
            msg = f"{where} is a generator: return a record, a list of records, or None"
            raise BackendRefused(msg)
        known = list(inspect.signature(getattr(Backend, hook)).parameters)[1:]
        for name, parameter in list(inspect.signature(method).parameters.items())[1:]:
            if name not in known or parameter.kind is parameter.KEYWORD_ONLY:
                msg = (
                    f"{where}({name}) is not an argument of {hook}: take any of {', '.join(known)}"
                )
                raise BackendRefused(msg)
            if parameter.default is not parameter.empty:
                msg = (
                    f"{where}({name}=…) has a default and would never be given: remove the default"
                )
                raise BackendRefused(msg)


def bound_hooks(manager: pluggy.PluginManager, name: str) -> dict[str, Callable[..., Any]]:
    """Return one backend's hooks as calls that take the contract's arguments by position.

    pluggy's own multicall costs more and would stop at a neighbour that raises.
    """
    hooks: dict[str, Callable[..., Any]] = {}
    for hook in HOOKS:
        for impl in getattr(manager.hook, hook).get_hookimpls():
            if impl.plugin_name == name:
                full = list(inspect.signature(getattr(Backend, hook)).parameters)[1:]
                hooks[hook] = _pick(impl.function, full, list(impl.argnames))
    return hooks


def _pick(function: Callable[..., Any], full: list[str], wanted: list[str]) -> Callable[..., Any]:
    if wanted == full:
        return function
    if not wanted:
        return lambda *_: function()
    places = [full.index(name) for name in wanted]
    return lambda *arguments: function(*[arguments[place] for place in places])
