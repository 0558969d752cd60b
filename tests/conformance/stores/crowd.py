"""Programs that the tests of stores run in processes of their own.

python -m tests.conformance.stores.crowd scheduler URL NAME OCCURRENCES
python -m tests.conformance.stores.crowd crowd URL PROCESSES SECONDS
python -m tests.conformance.stores.crowd rivals URL NAME SECONDS
python -m tests.conformance.stores.crowd pairs URL
python -m tests.conformance.stores.crowd fork PATH
"""

import json
import os
import random
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plait.adapters.stores.open import open_store
from plait.adapters.stores.sqlite.store import SqliteStore
from plait.model.errors import StaleToken, StoreError
from plait.model.ids import RunId, TaskNo
from plait.model.rows import AssetRow, LimitRow, WorkflowRow
from plait.ports import RunBatch, RunStore
from tests.conformance.stores.kinds import create, event_rows, owner_row, run_row, slot_row, task_row

BATCH = 20


def crowd(url: str, processes: int, seconds: float) -> dict[str, int]:
    """Many processes open the same fresh database at the same moment, and write for a while."""
    gate, opener = os.pipe()
    children = {
        _child(lambda number=number: _one_of_a_crowd(url, number, processes, seconds, gate))
        for number in range(processes)
    }
    os.close(opener)
    os.close(gate)
    failed = sum(os.waitpid(child, 0)[1] != 0 for child in children)
    return {"failed": failed}


def _child(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:  # noqa: BLE001  the child's only way to tell is its exit code
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _one_of_a_crowd(url: str, number: int, processes: int, seconds: float, gate: int) -> None:
    for descriptor in range(3, gate + 3):
        if descriptor != gate:
            os.closerange(descriptor, descriptor + 1)
    os.read(gate, 1)  # opens when the parent closes its end
    store = open_store(url)
    me, end = f"run {number:02}", time.monotonic() + seconds
    assert store.renew(owner_row(me))
    store.save_limits([LimitRow(key="shared", slots=3)])
    create(store, run_row(me, owner=me))
    written = 0
    while time.monotonic() < end:
        with store.transaction() as tx:
            tasks = [task_row(no) for no in range(written, written + BATCH)]
            tx.write(RunBatch(run_id=me, epoch=1, tasks=tasks, events=event_rows(written + 1, written + BATCH)))
            tx.acquire([slot_row("shared", me)])
        written += BATCH
        store.put_inbox(f"run {(number + 1) % processes:02}", b"%d" % written)
        said = [row.id for row in store.read_inbox(me)]
        assert len(store.slots("shared")) <= 3
        assert store.renew(owner_row(me))
        with store.transaction() as tx:
            tx.write(RunBatch(run_id=me, epoch=1, release=[0], inbox=said))
        assert not {row.id for row in store.read_inbox(me)} & set(said)
    snapshot = store.load_run(me)
    assert snapshot is not None
    assert len(snapshot.tasks) == snapshot.last_seq == written > 0
    store.close()


def scheduler(url: str, name: str, occurrences: int) -> dict[str, list[str]]:
    """One of several that make the same runs, and claim what there is; begins when a line comes in."""
    store = open_store(url)
    assert store.renew(owner_row(name))
    _tell("ready")
    sys.stdin.readline()
    made: list[str] = []
    claimed: list[str] = []
    for number in range(occurrences):
        row = run_row(f"{number:04} of {name}", session=False, occurrence=f"w {number}")
        with store.transaction() as tx:
            if tx.create_run(row):
                made.append(row.run_id)
        claimed += store.claim(name, 2)
    store.close()
    return {"made": made, "claimed": claimed}


RIVALED = [f"run {number}" for number in range(10)]
SHARED = ("a", "b", "c")


def rivals(url: str, name: str, seconds: float) -> dict[str, int]:
    """One of several that take each other's runs, limits, assets and workflows, in any order; begins when a line comes
    in. Every transaction writes two runs; one whose lease is gone by then fails as a whole."""
    store = open_store(url)
    chance = random.Random(name)
    assert store.renew(owner_row(name))
    _tell("ready")
    sys.stdin.readline()
    end = time.monotonic() + seconds
    said = {"written": 0, "stale": 0, "refused": 0}
    while time.monotonic() < end:
        try:
            held = [_take(store, run_id, name) for run_id in chance.sample(RIVALED, 2)]
            for _ in range(chance.randint(1, 4)):
                granted = _write_both(store, held, chance)
                said["refused"] += not granted
                said["written"] += 1
        except StaleToken:
            said["stale"] += 1
        if chance.random() < 0.05:
            store.sweep([chance.choice(["x", "y"]), name], "a rival says so", 1.0)
            store.release_owner(name)
            assert store.renew(owner_row(name))
    store.close()
    return said


def _take(store: RunStore, run_id: str, name: str) -> list[Any]:
    row = store.get_run(RunId(run_id))
    assert row is not None
    epoch = store.take_over(row.run_id, name, 1.0, epoch=row.epoch)
    snapshot = store.load_run(row.run_id)
    assert snapshot is not None
    return [row.run_id, epoch, snapshot.last_seq]


def _write_both(store: RunStore, held: list[list[Any]], chance: random.Random) -> bool:
    with store.transaction() as tx:
        wanted = {key: chance.randint(0, 3) for key in chance.sample(SHARED, 3)}
        if chance.random() < 0.9:  # who does not say what it will ask for gives way
            tx.expect(wanted)
        granted = [tx.acquire([slot_row(key, held[0][0], no)]) for key, no in wanted.items()]
        given_back = sorted({0, 1, 2, 3} - set(wanted.values()))
        for run_id, epoch, seq in held:
            assets = [
                AssetRow(key=key, partition="", run_id=run_id, no=TaskNo(0), at=float(seq))
                for key in chance.sample(SHARED, 3)
            ]
            rows = {"tasks": [task_row(seq)], "events": event_rows(seq + 1, seq + 1), "assets": assets}
            tx.write(RunBatch(run_id=run_id, epoch=epoch, release=given_back, **rows))
        for key in chance.sample(SHARED, 2):
            tx.save_workflow(WorkflowRow(name=key))
    for each in held:
        each[2] += 1
    return all(granted)


def pairs(url: str) -> None:
    """Write the same to two runs in each transaction, for ever; print what is committed."""
    store = open_store(url)
    first = store.load_run("a")
    if first is None:
        create(store, run_row("a"), run_row("b"))
    seq = first.last_seq if first is not None else 0
    while True:
        with store.transaction() as tx:
            for run_id in ("a", "b"):
                tx.write(RunBatch(run_id=run_id, epoch=1, tasks=[task_row(seq)], events=event_rows(seq + 1, seq + 1)))
            tx.acquire([slot_row("l", "a", seq), slot_row("l", "b", seq)])
        seq += 1
        _tell(str(seq))


def fork(path: Path) -> dict[str, str]:
    """A child uses its parent's store."""
    store = SqliteStore(path)
    create(store, run_row())

    def use() -> None:
        for act in (
            lambda: store.get_run("r1"),
            lambda: create(store, run_row("r2")),
            lambda: store.renew(owner_row()),
        ):
            with pytest.raises(StoreError, match="before a fork"):
                act()
        store.close()
        other = SqliteStore(path)
        create(other, run_row("r3"))
        other.close()

    status = os.waitpid(_child(use), 0)[1]
    create(store, run_row("r4"))
    return {"status": str(status), "runs": " ".join(row.run_id for row in store.list_runs())}


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(what: str, path: str, *rest: str) -> None:
    """Run one of them."""
    if what == "scheduler":
        _tell(json.dumps(scheduler(path, rest[0], int(rest[1]))))
    elif what == "crowd":
        _tell(json.dumps(crowd(path, int(rest[0]), float(rest[1]))))
    elif what == "rivals":
        _tell(json.dumps(rivals(path, rest[0], float(rest[1]))))
    elif what == "fork":
        _tell(json.dumps(fork(Path(path))))
    else:
        pairs(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
