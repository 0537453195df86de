"""A tee for the body of an httpx response: bytes pass untouched, and its end is always seen.

Works with httpx and httpx2, whichever an SDK brought: a tee is made of the same base class as the
stream it stands before, since the response checks that.
"""

from __future__ import annotations

import functools
import weakref
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

__all__ = ["Watcher", "tee"]


class Watcher(Protocol):
    """What a tee reports to. No method may raise; only the first end counts."""

    def chunk(self, chunk: bytes) -> None:
        """Note bytes as they pass, still in their content encoding."""

    def complete(self) -> None:
        """Note that the body was read to its end."""

    def broken(self, error: Exception) -> None:
        """Note that reading failed; the error is raised on."""

    def left(self) -> None:
        """Note that the reader closed, cancelled or forgot it before its end."""


def tee(response: Any, watcher: Watcher) -> None:
    """Stand between a response that was not read yet and its reader, reporting to `watcher`.

    Closing, breaking off, cancelling and dropping it unread all end as `left`; so does the end of
    the interpreter, if the caller arranges for that (finalizers here do not run at exit).
    """
    stream = response.stream
    made = _kind(stream.__class__)(stream, watcher)
    weakref.finalize(made, watcher.left).atexit = False
    response.stream = made


class _Tee:
    """What both kinds share. Unknown attributes are the stream's: SDKs and httpx keep some there."""

    def __init__(self, stream: Any, watcher: Watcher) -> None:
        self._gatewayz_stream = stream
        self._gatewayz_watcher = watcher

    def __getattr__(self, name: str) -> Any:
        if name == "_gatewayz_stream":
            raise AttributeError(name)
        return getattr(self._gatewayz_stream, name)


class _SyncTee(_Tee):
    def __iter__(self) -> Iterator[bytes]:
        watcher = self._gatewayz_watcher
        try:
            for chunk in self._gatewayz_stream:
                watcher.chunk(chunk)
                yield chunk
        except Exception as error:
            watcher.broken(error)
            raise
        except BaseException:
            watcher.left()
            raise
        watcher.complete()

    def close(self) -> None:
        self._gatewayz_watcher.left()
        self._gatewayz_stream.close()


class _AsyncTee(_Tee):
    # httpx iterates twice where an SDK drains what follows the last event; so may this.
    async def __aiter__(self) -> AsyncIterator[bytes]:
        watcher = self._gatewayz_watcher
        chunks = self._gatewayz_stream.__aiter__()
        try:
            async for chunk in chunks:
                watcher.chunk(chunk)
                yield chunk
        except Exception as error:
            watcher.broken(error)
            raise
        except BaseException:
            watcher.left()
            raise
        finally:
            # Close the inner generator in the task that read it, not whenever it is collected.
            aclose = getattr(chunks, "aclose", None)
            if aclose is not None:
                await aclose()
        watcher.complete()

    async def aclose(self) -> None:
        self._gatewayz_watcher.left()
        await self._gatewayz_stream.aclose()


@functools.lru_cache(maxsize=32)
def _kind(stream: type) -> type:
    """Return the class of a tee for streams of this class."""
    bases = {c.__name__: c for c in stream.__mro__ if c.__module__.startswith("httpx")}
    parts: list[type] = []
    for name, part in (("SyncByteStream", _SyncTee), ("AsyncByteStream", _AsyncTee)):
        if name in bases:
            parts += [part, bases[name]]
    if not parts:
        msg = f"{stream.__module__}.{stream.__qualname__} is no byte stream of httpx"
        raise TypeError(msg)
    # The tee's own methods before both bases', which only raise.
    parts.sort(key=lambda part: not issubclass(part, _Tee))
    return type("Tee", tuple(parts), {})
