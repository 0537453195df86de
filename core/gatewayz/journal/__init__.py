"""The bounded buffer between preparing and delivering: one copy of an event, one cursor a backend."""

from gatewayz.journal.memory import Cursor, Entry, MemoryJournal

__all__ = ["Cursor", "Entry", "MemoryJournal"]
