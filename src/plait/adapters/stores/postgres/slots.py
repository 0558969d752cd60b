"""The slots that a transaction takes and gives back, and whether limits allow it.

A limit's row is locked before its slots are counted, and stays so until the transaction ends: nobody else grants slots
of it meanwhile. What is taken and released here is counted in memory, and written with everything else at the end.

Limits are locked in the order of their keys, so that two transactions never wait for each other (F12). One that comes
late in that order is only tried; if another transaction has it, ours begins anew with all of its limits in order, and
what it has been told has to hold again.
"""

from collections.abc import Callable, Iterable, Sequence

from plait.adapters.stores.encoding import Columns
from plait.adapters.stores.postgres import batches
from plait.adapters.stores.postgres.pipeline import Call, Rows, call
from plait.model.errors import StoreError
from plait.model.ids import RunId
from plait.model.rows import SlotRow

Ask = Callable[[Sequence[Call]], list[Rows]]
Place = tuple[str, str, int]
"""A limit's key, a run, and a task number."""


class Slots:
    """The slots of one transaction. `ask` carries statements out in it; `restart` begins it anew, or raises."""

    def __init__(self, ask: Ask, restart: Callable[[], None]):
        self._ask = ask
        self._restart = restart
        self._history: list[Callable[[], None]] = []
        self._taken: dict[Place, int] = {}
        self._released: set[tuple[str, int]] = set()
        self._forget_database()

    def _forget_database(self) -> None:
        self._sizes: dict[str, int] = {}
        self._unbounded: set[str] = set()
        self._used: dict[str, int] = {}
        self._held: dict[Place, int] = {}
        self._runs: set[str] = set()

    # --- the port -----------------------------------------------------------------------------------------------------

    def acquire(self, requests: Sequence[SlotRow]) -> bool:
        """Take all of these slots, or none."""
        answer = self._acquire(requests)
        self._history.append(lambda: self._acquire_again(requests, answer))
        return answer

    def release(self, run_id: RunId, nos: Sequence[int]) -> None:
        """Give back what these task numbers of a run hold."""
        self._release(run_id, nos)
        self._history.append(lambda: self._release(run_id, nos))

    def rows(self) -> tuple[list[Columns], list[Columns]]:
        """What is to be written: runs and task numbers that give theirs back, and then what is taken."""
        taken = sorted((run_id, no, key, slots) for (key, run_id, no), slots in self._taken.items())
        return sorted(self._released), taken

    # --- counting -----------------------------------------------------------------------------------------------------

    def _acquire(self, requests: Sequence[SlotRow]) -> bool:
        wanted: dict[Place, int] = {}
        for request in requests:
            place = (request.key, request.run_id, request.no)
            wanted[place] = wanted.get(place, 0) + request.slots
        self._learn({key for key, _, _ in wanted}, {run_id for _, run_id, _ in wanted})
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

    def _release(self, run_id: RunId, nos: Sequence[int]) -> None:
        if self._sizes:
            self._learn((), {run_id})
        gone = {(run_id, no) for no in nos}
        for place in {place for place in (*self._held, *self._taken) if place[1:] in gone}:
            if place[0] in self._sizes:
                self._used[place[0]] -= self._current(place)
            self._taken.pop(place, None)
        self._released |= gone

    def _current(self, place: Place) -> int:
        taken = self._taken.get(place)
        if taken is not None:
            return taken
        return 0 if place[1:] in self._released else self._held.get(place, 0)

    # --- what the database says ---------------------------------------------------------------------------------------

    def _learn(self, keys: Iterable[str], run_ids: Iterable[str]) -> None:
        """Know of these limits, and of what these runs hold of all limits that are known."""
        new_keys = sorted(key for key in keys if key not in self._sizes and key not in self._unbounded)
        if new_keys:
            self._lock(new_keys)
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

    def _lock(self, keys: list[str]) -> None:
        """Lock limits that are not locked yet, and count what is taken of them."""
        if self._sizes and keys[0] < max(self._sizes):
            free, [[count]] = self._ask([call(batches.TRY_LIMITS, keys), call(batches.COUNT_LIMITS, keys)])
            if len(free) < int(count):
                self._begin_anew(keys)
                return
            self._count(keys, free, *self._ask([call(batches.SLOTS_USED, keys)]))
        else:
            self._count(keys, *self._ask([call(batches.LOCK_LIMITS, keys), call(batches.SLOTS_USED, keys)]))

    def _count(self, keys: list[str], sizes: Rows, used: Rows) -> None:
        self._sizes.update((key, int(slots)) for key, slots in sizes)
        self._unbounded.update(key for key in keys if key not in self._sizes)
        self._used.update((key, 0) for key in keys if key in self._sizes)
        self._used.update((key, int(slots)) for key, slots in used if key in self._sizes)

    def _begin_anew(self, keys: list[str]) -> None:
        every = sorted({*keys, *self._sizes, *self._unbounded})
        self._restart()
        self._forget_database()
        self._taken.clear()
        self._released.clear()
        self._lock(every)
        for again in self._history:
            again()

    def _acquire_again(self, requests: Sequence[SlotRow], answer: bool) -> None:
        if self._acquire(requests) != answer:
            raise StoreError("another process has just taken slots that this transaction had been promised")
