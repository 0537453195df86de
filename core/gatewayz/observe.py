"""Decorators: every call of a function, coroutine, generator or async generator as one span.

A generator's own code runs inside a copied context, step by step, so the span is current for the
generator alone and never for whoever consumes it.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

    from gatewayz.span import InferenceContext

__all__ = ["decorator"]

F = TypeVar("F", bound="Callable[..., Any]")

_KEPT_ITEMS = 1000


def decorator(begin: Callable[[str], InferenceContext]) -> Callable[[F], F]:
    """Return a decorator that runs a callable inside the span `begin(its name)` returns.

    Arguments become the span's input and the result (for generators: the list of what was
    yielded, up to 1,000 items) its output, unless the callable set them itself.
    """

    def decorate(function: F) -> F:
        name = getattr(function, "__qualname__", type(function).__name__).rpartition(".<locals>.")[
            2
        ]
        arguments = _arguments(function)

        def opened(args: tuple[Any, ...], kwargs: dict[str, Any]) -> InferenceContext:
            ctx = begin(name)
            if ctx._input is None:
                ctx._input = arguments(args, kwargs)
            return ctx

        wrapper: Callable[..., Any]
        if inspect.isasyncgenfunction(function):

            @functools.wraps(function)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                return _async_steps(opened, function, args, kwargs)

        elif inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                return _steps(opened, function, args, kwargs)

        elif inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                with opened(args, kwargs) as ctx:
                    result = await function(*args, **kwargs)
                    _keep_output(ctx, result)
                    return result

        else:

            @functools.wraps(function)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with opened(args, kwargs) as ctx:
                    result = function(*args, **kwargs)
                    _keep_output(ctx, result)
                    return result

        return wrapper  # type: ignore[return-value]

    return decorate


def _keep_output(ctx: InferenceContext, result: Any) -> None:
    if ctx._output is None:
        ctx.set_output(result)


def _arguments(function: Callable[..., Any]) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return lambda args, kwargs: {"args": list(args), **kwargs} if args or kwargs else None

    def bind(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            bound = dict(signature.bind(*args, **kwargs).arguments)
        except TypeError:
            # The call itself is about to fail, with Python's own words.
            return None
        for receiver in ("self", "cls"):
            bound.pop(receiver, None)
        return bound or None

    return bind


def _steps(
    opened: Callable[..., InferenceContext],
    function: Callable[..., Generator[Any, Any, Any]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Generator[Any, Any, Any]:
    context = contextvars.copy_context()
    ctx = context.run(opened, args, kwargs)
    seen: list[Any] = []
    with _Detached(ctx, context):
        inner = context.run(function, *args, **kwargs)
        step: Callable[[], Any] = functools.partial(next, inner)
        while True:
            try:
                item = context.run(step)
            except StopIteration as stop:
                _keep_output(ctx, seen or stop.value)
                return stop.value
            if len(seen) < _KEPT_ITEMS:
                seen.append(item)
            try:
                sent = yield item
            except GeneratorExit:
                _keep_output(ctx, seen)
                context.run(inner.close)
                raise
            except BaseException as error:  # noqa: BLE001 - handed to the generator, as Python does
                step = functools.partial(inner.throw, error)
            else:
                step = functools.partial(inner.send, sent)


async def _async_steps(
    opened: Callable[..., InferenceContext],
    function: Callable[..., AsyncGenerator[Any, Any]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> AsyncGenerator[Any, Any]:
    context = contextvars.copy_context()
    ctx = context.run(opened, args, kwargs)
    seen: list[Any] = []
    with _Detached(ctx, context):
        inner = context.run(function, *args, **kwargs)
        step: Callable[[], Awaitable[Any]] = inner.__anext__
        while True:
            try:
                item = await _Within(context, context.run(step))
            except StopAsyncIteration:
                _keep_output(ctx, seen or None)
                return
            if len(seen) < _KEPT_ITEMS:
                seen.append(item)
            try:
                sent = yield item
            except GeneratorExit:
                _keep_output(ctx, seen)
                await _Within(context, context.run(inner.aclose))
                raise
            except BaseException as error:  # noqa: BLE001 - handed to the generator, as Python does
                step = functools.partial(inner.athrow, error)
            else:
                step = functools.partial(inner.asend, sent)


class _Detached:
    """`with` a span that is current inside `context` only; records errors as `with ctx` would."""

    def __init__(self, ctx: InferenceContext, context: contextvars.Context) -> None:
        self._ctx = ctx
        self._context = context

    def __enter__(self) -> None:
        from gatewayz import scope

        # The frame given is this method's own, no generator's: within its own context the span
        # is always current.
        self._context.run(scope.current.set, self._ctx)

    def __exit__(self, *exc: object) -> None:
        self._context.run(self._ctx.__exit__, *exc)  # type: ignore[arg-type] # as `with` gave them


class _Within:
    """Awaits something step by step inside a given context."""

    def __init__(self, context: contextvars.Context, awaitable: Awaitable[Any]) -> None:
        self._context = context
        self._awaitable = awaitable

    def __await__(self) -> Generator[Any, Any, Any]:
        run = self._context.run
        steps = self._awaitable.__await__()
        step: Callable[[], Any] = functools.partial(next, steps)
        while True:
            try:
                waited_for = run(step)
            except StopIteration as stop:
                return stop.value
            try:
                sent = yield waited_for
            except BaseException as error:
                thrown = getattr(steps, "throw", None)
                if thrown is None:
                    raise
                step = functools.partial(thrown, error)
            else:
                send = getattr(steps, "send", None)
                step = (
                    functools.partial(next, steps)
                    if send is None
                    else functools.partial(send, sent)
                )
