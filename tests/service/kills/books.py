"""Compares what happened, which the ledger of `files/ledger.py` tells, with what the database has recorded.

The ledger lies outside of the database: each execution writes when it begins, before it does anything, and when it is
done. So the ledger shows that what is recorded did happen (at least once); and the database, that each task was
recorded exactly once, with the value of one execution which did happen.
"""

import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from plait.bootstrap import result_store
from plait.model.events import Event, TaskFinished
from plait.model.ids import RunId
from plait.model.rows import RunRow, TaskRow
from tests.service.house import House

NO_STEPS = ("names", "gather")
"""Tasks of the ledger's workflows that leave no line."""
_events = msgspec.msgpack.Decoder(Event)


@dataclass(frozen=True)
class Begun:
    """An execution that has begun. `number`: no other execution has it; it is what the task returns."""

    at: float
    number: str
    attempt: int


class Ledger:
    """What happened: the executions by (run, task, name), in their order; and the numbers of those that were done."""

    def __init__(self, lines: Iterable[str]):
        self.begun: dict[tuple[str, str, str], list[Begun]] = defaultdict(list)
        self.done: set[str] = set()
        self.bodies: dict[str, int] = {}
        """The process in which each flow's body was begun last."""
        for line in lines:
            what, run_id, task, name, attempt, number, at = line.split(" ")
            if what == "begun":
                self.begun[run_id, task, name].append(Begun(float(at), number, int(attempt)))
            elif what == "body":
                self.bodies[run_id] = int(number.partition("-")[0])
            else:
                self.done.add(number)
        for executions in self.begun.values():
            executions.sort(key=lambda each: each.at)

    def of(self, run_id: str) -> dict[tuple[str, str], list[Begun]]:
        """The executions of one run, by (task, name)."""
        return {(task, name): begun for (run, task, name), begun in self.begun.items() if run == run_id}

    def executions(self) -> int:
        """How many have begun."""
        return sum(map(len, self.begun.values()))

    def again(self, kills: Sequence[float]) -> list[int]:
        """How many executions of what had begun before began after each of these moments, before the next one. What
        began again before the first one is not there: nothing may."""
        counts: Counter[int] = Counter()
        for executions in self.begun.values():
            counts.update(bisect.bisect_right(kills, each.at) for each in executions[1:])
        assert not counts[0], f"{counts[0]} executions began again before anything was killed"
        return [counts[after + 1] for after in range(len(kills))]


def check_run(house: House, ledger: Ledger, row: RunRow) -> int:
    """Raise AssertionError unless the ledger and the database agree on a run; returns how many task runs it has."""
    rows = house.store.tasks(row.run_id)
    values = _values(house, row.run_id, rows)
    finished = _finished(house, row.run_id)
    begun = ledger.of(row.run_id)
    for task in rows:
        where = f"{row.run_id} {row.workflow} {task.key}{task.path}"
        assert task.state == "success", f"{where} is {task.state}"
        assert finished[task.no] == 1, f"{where} was recorded {finished[task.no]} times"
        assert task.no in values, f"{where} succeeded without a value:\n{_history(house, row.run_id)}"
    steps = [task for task in rows if task.key not in (*NO_STEPS, row.workflow)]
    recorded = [values[task.no] for task in steps]
    assert len(set(recorded)) == len(recorded), "two task runs recorded one execution"
    assert len(begun) == len(steps), "each step has begun at least once, and nothing else has"
    executed = {each.number: each for executions in begun.values() for each in executions}
    assert set(recorded) <= ledger.done & set(executed), "what is recorded did happen, in this run"
    for task in steps:
        assert executed[values[task.no]].attempt == task.attempt, "what is recorded is of the attempt that is recorded"
    [gathered] = [values[task.no] for task in rows if task.key in ("gather", row.workflow)]
    assert sorted(gathered) == sorted(recorded), "what was handed on is what was recorded"
    return len(rows)


def _values(house: House, run_id: RunId, rows: list[TaskRow]) -> dict[int, Any]:
    results = result_store(house.settings)
    stored = house.store.outputs(run_id, [task.no for task in rows])
    return {no: results.get(outputs["result"]) for no, outputs in stored.items() if "result" in outputs}


def _history(house: House, run_id: RunId) -> str:
    return "\n".join(f"{row.at:.3f} {_events.decode(row.data)}" for row in house.store.events(run_id, limit=100_000))


def _finished(house: House, run_id: RunId) -> Counter[int]:
    """How often each task run was recorded as finished with success."""
    events = (_events.decode(row.data) for row in house.store.events(run_id, limit=100_000))
    return Counter(each.no for each in events if isinstance(each, TaskFinished) and each.state == "success")
