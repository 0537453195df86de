"""The directory that the worker processes of one gateway share: who lives, what each published.

    members.lock          held shared while reading, exclusively while joining and folding
    <worker>.lock         flock held by the worker for its life: the kernel frees it at any death
    <worker>.json         what the worker published last, replaced atomically
    departed.json         what dead workers left, added up; `folded` names those already in it
    flush-<token>.json    a request to every worker; flush-<token>.<worker>.json are the answers

A dead worker is folded into `departed.json` by whoever looks next, so the number of files is
bounded by the number of live workers. A crash between writing `departed.json` and removing the
worker's files counts nothing twice: readers skip the workers that `folded` names.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from gatewayz.errors import SettingsError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["WORKERS_DIR", "Member", "WorkerFiles"]

WORKERS_DIR = "GATEWAYZ_WORKERS_DIR"
"""The variable that names the shared directory; `gatewayz serve --workers N` sets it."""

_DEPARTED = "departed"


class Member(NamedTuple):
    """One worker process as its files show it."""

    worker: str
    alive: bool
    record: Mapping[str, Any]


class WorkerFiles:
    """Reads and writes that directory. Safe from several threads and processes."""

    def __init__(self, directory: str | Path) -> None:
        """Name the directory; nothing is touched before the first use.

        Raises SettingsError where this system has no file locks.
        """
        if sys.platform == "win32":
            msg = f"{WORKERS_DIR}: several workers need file locks, which this system does not have"
            raise SettingsError(msg)
        self.directory = Path(directory)
        self.worker: str | None = None
        self._life: int | None = None

    # -- membership ----------------------------------------------------------------------------

    def join(self) -> str:
        """Become a member, alive until `leave` or the death of this process; return its name.

        Raises SettingsError as `make_private` does.
        """
        if self.worker is not None:
            return self.worker
        self.make_private()
        worker = f"w{os.getpid()}-{secrets.token_hex(4)}"
        with self._members(exclusive=True):
            life = os.open(self.directory / f"{worker}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(life, fcntl.LOCK_EX)
        self.worker, self._life = worker, life
        return worker

    def leave(self) -> None:
        """Stop being a member; what was published stays and counts as a dead worker's."""
        self.worker, life, self._life = None, self._life, None
        if life is not None:
            os.close(life)

    def forget(self) -> None:
        """Drop the membership a forked child inherited, without ending the parent's."""
        self.leave()  # closing a duplicate leaves the parent's lock as it is

    def make_private(self) -> None:
        """Create the directory (0700) where there is none; SettingsError where it cannot be used."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.directory.stat()
        except OSError as error:
            msg = f"{WORKERS_DIR}: cannot use {self.directory}: {error.strerror}"
            raise SettingsError(msg) from None
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
            msg = (
                f"{WORKERS_DIR}: {self.directory} can be written by other users; "
                "name a directory that does not exist yet"
            )
            raise SettingsError(msg)

    @contextlib.contextmanager
    def _members(self, *, exclusive: bool) -> Iterator[None]:
        lock = os.open(self.directory / "members.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
            yield
        finally:
            os.close(lock)

    def lives(self, worker: str) -> bool:
        """Tell whether a worker's process lives."""
        try:
            lock = os.open(self.directory / f"{worker}.lock", os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(lock)

    # -- what workers publish ------------------------------------------------------------------

    def publish(self, encoded: bytes) -> None:
        """Replace what this worker shows the others; OSError where that cannot be written."""
        if self.worker is not None:
            self._replace(f"{self.worker}.json", encoded)

    def read(self) -> tuple[Mapping[str, Any], list[Member]]:
        """Return what the dead left, added up, and every worker that is not in it yet.

        One consistent moment: nobody is folded meanwhile, so no count is missing or doubled.
        """
        with self._members(exclusive=False):
            return self._read()

    def fold(self, add: Callable[[Mapping[str, Any], list[Any]], Mapping[str, Any]]) -> int:
        """Add dead workers up into `departed.json` and remove their files; return how many.

        `add` is given what the dead left before and the records of the newly dead.
        """
        with self._members(exclusive=True):
            departed, members = self._read()
            dead = [m for m in members if not m.alive]
            gone = {m.worker for m in dead} | self._unpublished_dead({m.worker for m in members})
            leftovers = set(departed.get("folded", ()))
            if not gone and not leftovers:
                return 0
            if dead:
                summed = dict(add(departed, [m.record for m in dead]))
                summed["folded"] = sorted(leftovers | {m.worker for m in dead})
                self._replace(f"{_DEPARTED}.json", msgspec.json.encode(summed))
                departed = summed
            for worker in gone | leftovers:
                for ending in ("json", "lock"):
                    (self.directory / f"{worker}.{ending}").unlink(missing_ok=True)
                for draft in self.directory.glob(f".{worker}.json.*"):
                    draft.unlink(missing_ok=True)
            if departed.get("folded"):
                self._replace(f"{_DEPARTED}.json", msgspec.json.encode({**departed, "folded": []}))
            return len(dead)

    def _read(self) -> tuple[Mapping[str, Any], list[Member]]:
        departed = self._load(f"{_DEPARTED}.json") or {}
        folded = set(departed.get("folded", ()))
        members = []
        for path in sorted(self.directory.glob("w*.json")):
            record = self._load(path.name)
            if record is not None and path.stem not in folded:
                members.append(Member(path.stem, self.lives(path.stem), record))
        return departed, members

    def _unpublished_dead(self, known: set[str]) -> set[str]:
        names = {path.stem for path in self.directory.glob("w*.lock")}
        return {name for name in names - known if not self.lives(name)}

    # -- flush requests ------------------------------------------------------------------------

    def ask(self, token: str, request: Mapping[str, Any]) -> None:
        """Put a request to every worker."""
        self._replace(f"flush-{token}.json", msgspec.json.encode(request))

    def asked(self) -> dict[str, Mapping[str, Any]]:
        """Return the requests that stand, by token."""
        found: dict[str, Mapping[str, Any]] = {}
        for path in self.directory.glob("flush-*.json"):
            token = path.stem.removeprefix("flush-")
            if "." not in token and (request := self._load(path.name)) is not None:
                found[token] = request
        return found

    def answer(self, token: str, answer: Mapping[str, Any]) -> None:
        """Answer a request as this worker; nothing happens where it was withdrawn."""
        if self.worker is not None and (self.directory / f"flush-{token}.json").exists():
            self._replace(f"flush-{token}.{self.worker}.json", msgspec.json.encode(answer))

    def answers(self, token: str) -> dict[str, Mapping[str, Any]]:
        """Return the answers to a request so far, by worker."""
        found: dict[str, Mapping[str, Any]] = {}
        for path in self.directory.glob(f"flush-{token}.*.json"):
            if (answer := self._load(path.name)) is not None:
                found[path.stem.partition(".")[2]] = answer
        return found

    def withdraw(self, token: str) -> None:
        """Remove a request and its answers."""
        (self.directory / f"flush-{token}.json").unlink(missing_ok=True)
        for path in self.directory.glob(f"flush-{token}.*.json"):
            path.unlink(missing_ok=True)

    # -- files ---------------------------------------------------------------------------------

    def _load(self, name: str) -> dict[str, Any] | None:
        try:
            value = msgspec.json.decode((self.directory / name).read_bytes())
        except (OSError, msgspec.DecodeError):
            return None  # removed meanwhile, or not ours: a rename never shows half a file
        return value if isinstance(value, dict) else None

    def _replace(self, name: str, encoded: bytes) -> None:
        # A dot first keeps a half-written file out of every pattern above.
        draft = self.directory / f".{name}.{secrets.token_hex(4)}"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
                file.write(encoded)
            draft.replace(self.directory / name)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
