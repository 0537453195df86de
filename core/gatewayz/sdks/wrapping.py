"""Wraps the methods of an SDK's clients that every call goes through, and takes it back.

`request` is the one door of both SDKs: create, stream, parse, the raw modes and `client.post` all
call it, once whatever the retries. `_process_response` is where it hands over the answer, before
anything is made of it. Both are set on the client's class, where they were inherited, so taking
them back is deleting them. Plain functions with `functools.wraps` keep name, signature and kind;
wrapt would add nothing here but a dependency.
"""

from __future__ import annotations

import functools
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from gatewayz.errors import SettingsError
from gatewayz.sdks.call import Call
from gatewayz.sdks.guard import harmless

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from gatewayz.sdks.sdk import Sdk
    from gatewayz.tracer import Tracer

__all__ = ["Wrapping"]

_DOORS = ("request", "_process_response")

_current: ContextVar[Call | None] = ContextVar("gatewayz_sdk_call", default=None)


class Wrapping:
    """The wrapped methods of one SDK. `tracer` may be exchanged at any time.

    Raises SettingsError where the SDK has not the methods it takes.
    """

    def __init__(self, sdk: Sdk, module: ModuleType, tracer: Tracer) -> None:
        self.tracer: Tracer | None = tracer
        self._sdk = sdk
        found = [c for name in sdk.clients if isinstance(c := getattr(module, name, None), type)]
        classes = [c for c in found if not any(c is not o and issubclass(c, o) for o in found)]
        if not classes or not all(callable(getattr(c, d, None)) for c in classes for d in _DOORS):
            version = getattr(module, "__version__", "this version")
            msg = (
                f"{sdk.name} {version} cannot be traced: its clients have no {' or '.join(_DOORS)}"
            )
            raise SettingsError(msg)
        self._set: list[tuple[type, str, Any, Any]] = []
        for cls in classes:
            is_async = cls.__name__.startswith("Async")
            self._wrap(cls, "request", self._async_request if is_async else self._request)
            self._wrap(cls, "_process_response", self._async_answer if is_async else self._answer)

    def _wrap(self, cls: type, name: str, make: Callable[[Any], Any]) -> None:
        original = getattr(cls, name)
        wrapper = functools.wraps(original)(make(original))
        # Found under this name by pickle, as what it replaces was under its own.
        wrapper.__module__ = cls.__module__
        wrapper.__qualname__ = f"{cls.__qualname__}.{name}"
        self._set.append((cls, name, wrapper, cls.__dict__.get(name)))
        setattr(cls, name, wrapper)

    def undo(self) -> None:
        """Take everything back. A method that somebody has wrapped again stays, and does nothing."""
        self.tracer = None
        for cls, name, wrapper, before in self._set:
            if cls.__dict__.get(name) is not wrapper:
                continue
            if before is None:
                delattr(cls, name)
            else:
                setattr(cls, name, before)
        self._set = []

    # -- the wrappers ----------------------------------------------------------------------------

    def _request(self, original: Any) -> Any:
        def request(client: Any, *args: Any, **kwargs: Any) -> Any:
            call, args, kwargs = self._begin(client, args, kwargs)
            token = _current.set(call)
            try:
                result = original(client, *args, **kwargs)
            except BaseException as error:
                if call is not None:
                    harmless(call.failed, error)
                raise
            finally:
                _current.reset(token)
            if call is not None:
                harmless(call.returned)
            return result

        return request

    def _async_request(self, original: Any) -> Any:
        async def request(client: Any, *args: Any, **kwargs: Any) -> Any:
            call, args, kwargs = self._begin(client, args, kwargs)
            token = _current.set(call)
            try:
                result = await original(client, *args, **kwargs)
            except BaseException as error:
                if call is not None:
                    harmless(call.failed, error)
                raise
            finally:
                _reset(token)
            if call is not None:
                harmless(call.returned)
            return result

        return request

    def _answer(self, original: Any) -> Any:
        def process(client: Any, *args: Any, **kwargs: Any) -> Any:
            _see(kwargs.get("response"))
            return original(client, *args, **kwargs)

        return process

    def _async_answer(self, original: Any) -> Any:
        async def process(client: Any, *args: Any, **kwargs: Any) -> Any:
            _see(kwargs.get("response"))
            return await original(client, *args, **kwargs)

        return process

    def _begin(
        self, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Call | None, tuple[Any, ...], dict[str, Any]]:
        tracer = self.tracer
        options = kwargs["options"] if "options" in kwargs else args[1] if len(args) > 1 else None
        if tracer is None or options is None:
            return None, args, kwargs
        call = harmless(Call.begin, tracer, self._sdk, client, options)
        if call is not None:
            if "options" in kwargs:
                kwargs = {**kwargs, "options": call.options}
            else:
                args = (args[0], call.options, *args[2:])
        return call, args, kwargs


def _see(response: Any) -> None:
    call = _current.get()
    if call is not None and response is not None:
        harmless(call.saw, response)


def _reset(token: Any) -> None:
    try:
        _current.reset(token)
    except ValueError:
        # Closed from another context: a coroutine that was dropped in its middle.
        _current.set(None)
