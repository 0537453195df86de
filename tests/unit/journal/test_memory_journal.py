"""The memory journal: one copy, a cursor a backend, bounded by bytes, a ledger that adds up."""

from gatewayz.journal import Entry, MemoryJournal
from gatewayz.testing import an_event


def adds_up(cursor):
    ledger = cursor.ledger()
    settled = ledger["delivered"] + ledger["dead_lettered"] + ledger["pending"]
    assert ledger["accepted"] == settled + sum(ledger["dropped"].values())
    return ledger


def fill(journal, cursors, count):
    entries = [Entry("end", an_event()) for _ in range(count)]
    for entry in entries:
        journal.append(entry, cursors)
    return entries


def test_every_cursor_takes_every_entry_in_order():
    journal = MemoryJournal(1 << 20)
    one, two = journal.open(), journal.open()
    entries = fill(journal, [one, two], 5)
    assert one.take(3, 1 << 20) == entries[:3]
    assert two.take(10, 1 << 20) == entries
    assert one.take(10, 1 << 20) == entries[3:]


def test_an_entry_is_let_go_when_the_last_cursor_settled_it():
    journal = MemoryJournal(1 << 20)
    one, two = journal.open(), journal.open()
    entries = fill(journal, [one, two], 3)
    one.delivered(one.take(3, 1 << 20))
    assert journal.nbytes == sum(e.nbytes for e in entries)
    two.delivered(two.take(3, 1 << 20))
    assert journal.nbytes == 0
    assert adds_up(one)["delivered"] == adds_up(two)["delivered"] == 3


def test_a_full_journal_drops_the_oldest_and_counts_it_for_whoever_had_not_taken_it():
    size = Entry("end", an_event()).nbytes
    journal = MemoryJournal(size * 3)
    quick, slow = journal.open(), journal.open()
    fill(journal, [quick, slow], 3)
    quick.delivered(quick.take(10, 1 << 20))
    fill(journal, [quick, slow], 2)
    assert adds_up(slow)["dropped"] == {"queue_full": 2}
    assert adds_up(slow)["pending"] == 3
    assert adds_up(quick)["dropped"] == {}
    assert journal.nbytes <= size * 3


def test_what_a_lane_holds_is_not_dropped_from_its_hands():
    size = Entry("end", an_event()).nbytes
    journal = MemoryJournal(size * 2)
    cursor = journal.open()
    fill(journal, [cursor], 2)
    held = cursor.take(2, 1 << 20)
    fill(journal, [cursor], 2)
    assert adds_up(cursor)["pending"] == 4
    cursor.delivered(held)
    assert adds_up(cursor)["delivered"] == 2
    assert journal.nbytes == size * 2


def test_settling_twice_counts_once():
    journal = MemoryJournal(1 << 20)
    cursor = journal.open()
    fill(journal, [cursor], 1)
    taken = cursor.take(1, 1 << 20)
    cursor.delivered(taken)
    cursor.dead_lettered(taken)
    cursor.dropped(taken, "again")
    ledger = adds_up(cursor)
    assert (ledger["delivered"], ledger["dead_lettered"], ledger["dropped"]) == (1, 0, {})


def test_a_start_is_carried_but_not_counted():
    journal = MemoryJournal(1 << 20)
    cursor = journal.open()
    journal.append(Entry("start", an_event()), [cursor])
    assert len(cursor) == 1
    assert adds_up(cursor)["accepted"] == 0
    cursor.delivered(cursor.take(1, 1 << 20))
    assert adds_up(cursor)["delivered"] == 0
    assert journal.nbytes == 0


def test_what_a_translation_skips_was_not_accepted_after_all():
    journal = MemoryJournal(1 << 20)
    cursor = journal.open()
    fill(journal, [cursor], 2)
    cursor.skipped(cursor.take(1, 1 << 20))
    ledger = adds_up(cursor)
    assert (ledger["accepted"], ledger["filtered"], ledger["pending"]) == (1, 1, 1)


def test_a_batch_is_bounded_by_bytes_but_never_empty():
    journal = MemoryJournal(1 << 20)
    cursor = journal.open()
    entries = fill(journal, [cursor], 3)
    assert len(cursor.take(10, 1)) == 1
    assert len(cursor.take(10, entries[1].nbytes + entries[2].nbytes)) == 2


def test_passed_looks_at_what_waits_and_what_is_held():
    journal = MemoryJournal(1 << 20)
    cursor = journal.open()
    fill(journal, [cursor], 2)
    upto = journal.seq
    first = cursor.take(1, 1 << 20)
    fill(journal, [cursor], 1)
    cursor.delivered(first)
    assert not cursor.passed(upto)
    second = cursor.take(1, 1 << 20)
    assert not cursor.passed(upto)
    cursor.delivered(second)
    assert cursor.passed(upto)


def test_an_entry_nobody_wants_takes_no_room():
    journal = MemoryJournal(1 << 20)
    journal.open()
    journal.append(Entry("end", an_event()), [])
    assert journal.nbytes == 0
