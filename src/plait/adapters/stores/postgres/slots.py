"""The slots that a transaction takes and gives back, and whether limits allow it.

A limit's row is locked before its slots are counted, and stays so until the transaction ends: nobody else grants slots
of it meanwhile. What is taken and released here is counted in memory, and written with everything else at the end.

Limits are waited for in the order of their keys only, so that two transactions never wait for each other (F12): who
knows what it will ask for locks all of it first (`expect`). One that comes late in that order is tried for a moment; if
another transaction goes on holding it, no slots are granted.
"""

import time
from collections.abc import Callable, Iterable, Sequence

from plait.adapters.stores.encoding import Columns
from plait.adapters.stores.postgres import batches
from plait.adapters.stores.postgres.pipeline import Call, Rows, call
from plait.model.ids import RunId
from plait.model.rows import SlotRow

Ask = Callable[[Sequence[Call]], list[Rows]]
Place = tuple[str, str, int]
"""A limit's key, a run, and a task number."""
PATIENCE = 0.05
"""Seconds for which a limit is tried that comes late in the order."""


class Slots:
    """The slots of one transaction. `ask` carries statements out in it."""

    def __init__(self, ask: Ask):
        self._ask = ask
        self._sizes: dict[str, int] = {}
        """Of the limits that are locked."""
        self._unbounded: set[str] = set()
        self._used: dict[str, int] = {}
        self._held: dict[Place, int] = {}
        """In the database, by the runs that were looked at."""
        self._runs: set[str] = set()
        self._taken: dict[Place, int] = {}
        self._released: set[tuple[str, int]] = set()

    # --- the port -----------------------------------------------------------------------------------------------------

    def expect(self, keys: Iterable[str]) -> None:
        """Lock these limits at once, as far as that can be done in order."""
        wanted = set(keys)
        if wanted:
            self._learn(wanted, ())

    def acquire(self, requests: Sequence[SlotRow]) -> bool:
        """Take all of these slots, or none."""
        wanted: dict[Place, int] = {}
        for request in requests:
            place = (request.key, request.run_id, request.no)
            wanted[place] = wanted.get(place, 0) + request.slots
        if not self._learn({key for key, _, _ in wanted}, {run_id for _, run_id, _ in wanted}):
            return False
        more: dict[str, int] = {}
        for place, slots in wanted.items():
            if place[0] in self._sizes:
                more[place[0]] = more.get(place[0], 0) + slots - self._current(place)
        if any(change > 0 and self._used[key] + change > self._sizes[key] for key, change in more.items()):
            return False
        for key, change in more.items():
            self._used[key] += change
        self._taken.update(wanted)
        return True

    def release(self, run_id: RunId, nos: Sequence[int]) -> None:
        """Give back what these task numbers of a run hold."""
        if self._sizes:
            self._learn((), {run_id})
        gone = {(run_id, no) for no in nos}
        for place in {place for place in (*self._held, *self._taken) if place[1:] in gone}:
            if place[0] in self._sizes:
                self._used[place[0]] -= self._current(place)
            self._taken.pop(place, None)
        self._released |= gone

    def rows(self) -> tuple[list[Columns], list[Columns]]:
        """What is to be written: runs and task numbers that give theirs back, and then what is taken."""
        taken = sorted((run_id, no, key, slots) for (key, run_id, no), slots in self._taken.items())
        return sorted(self._released), taken

    # --- counting -----------------------------------------------------------------------------------------------------

    def _current(self, place: Place) -> int:
        taken = self._taken.get(place)
        if taken is not None:
            return taken
        return 0 if place[1:] in self._released else self._held.get(place, 0)

    def _learn(self, keys: Iterable[str], run_ids: Iterable[str]) -> bool:
        """Know of these limits, and of what these runs hold of all limits that are known. False when another
        transaction holds one of the limits."""
        new_keys = sorted(key for key in keys if key not in self._sizes and key not in self._unbounded)
        if new_keys and not self._lock(new_keys):
            return False
        bounded = [key for key in new_keys if key in self._sizes]
        runs = set(run_ids) - self._runs
        everybody = sorted(self._runs | runs | {run_id for run_id, _ in self._released})
        self._runs.update(everybody)
        calls: list[Call] = []
        if bounded:
            calls.append(call(batches.SLOTS_HELD, everybody, bounded))
        if runs and len(self._sizes) > len(bounded):
            calls.append(call(batches.SLOTS_HELD, sorted(runs), sorted(self._sizes.keys() - set(bounded))))
        for rows in self._ask(calls) if calls else ():
            self._held.update(((key, run_id, int(no)), int(slots)) for key, run_id, no, slots in rows)
        for place, slots in self._held.items():
            if place[0] in bounded and place[1:] in self._released:
                self._used[place[0]] -= slots
        return True

    def _lock(self, keys: list[str]) -> bool:
        """Lock limits that are not locked yet, and count what is taken of them."""
        if not self._sizes or keys[0] > max(self._sizes):
            self._count(keys, *self._ask([call(batches.LOCK_LIMITS, keys), call(batches.SLOTS_USED, keys)]))
            return True
        end = time.monotonic() + PATIENCE
        pause = 0.001
        while True:
            locked, [[count]] = self._ask([call(batches.TRY_LIMITS, keys), call(batches.COUNT_LIMITS, keys)])
            if len(locked) == int(count):
                self._count(keys, locked, *self._ask([call(batches.SLOTS_USED, keys)]))
                return True
            if time.monotonic() > end:
                return False
            time.sleep(pause)
            pause *= 1.5

    def _count(self, keys: list[str], sizes: Rows, used: Rows) -> None:
        self._sizes.update((key, int(slots)) for key, slots in sizes)
        self._unbounded.update(key for key in keys if key not in self._sizes)
        self._used.update((key, 0) for key in keys if key in self._sizes)
        self._used.update((key, int(slots)) for key, slots in used if key in self._sizes)
