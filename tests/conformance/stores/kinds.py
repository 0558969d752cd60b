"""The stores that the suite runs on, and makers of rows.

A new store joins with an entry in `KINDS`: a context, from an empty folder, of a URL and an opener, which gives another
store object on the same data each time (as other processes would have).
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from plait.adapters.stores.open import open_store
from plait.model.ids import RunId, TaskNo
from plait.model.rows import DeploymentRow, EventRow, FileRow, OwnerRow, RunRow, SlotRow, TaskRow, TriggerRow
from plait.ports import RunBatch, RunStore
from tests import pg

Hook = Callable[[str], None]
Opener = Callable[..., RunStore]
Kind = Callable[[Path], AbstractContextManager[tuple[str, Opener]]]


@contextlib.contextmanager
def _memory(folder: Path) -> Iterator[tuple[str, Opener]]:
    held: list[RunStore] = []

    def again(on_commit: Hook | None = None) -> RunStore:
        if not held or on_commit is not None:
            held.append(open_store("memory://", migrate=False, on_commit=on_commit))
        return held[-1]

    yield "memory://", again


@contextlib.contextmanager
def _sqlite(folder: Path) -> Iterator[tuple[str, Opener]]:
    url = f"sqlite:///{folder / 'plait.db'}?synchronous=NORMAL"
    yield url, lambda on_commit=None: open_store(url, migrate=False, on_commit=on_commit)


@contextlib.contextmanager
def _postgres(folder: Path) -> Iterator[tuple[str, Opener]]:
    with pg.emptied() as url:
        yield url, lambda on_commit=None: open_store(url, migrate=False, on_commit=on_commit)


KINDS: dict[str, Kind] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "postgres": _postgres,
}


class Place:
    """One database that several store objects are on, at `url`."""

    def __init__(self, url: str, opener: Opener):
        self.url = url
        self._opener = opener
        self._opened: list[RunStore] = []

    def open(self, on_commit: Hook | None = None) -> RunStore:
        """A store object. Those on one place see the same data."""
        self._opened.append(self._opener(on_commit))
        return self._opened[-1]

    def close(self) -> None:
        for store in self._opened:
            with contextlib.suppress(Exception):
                store.close()


@contextlib.contextmanager
def place_of(kind: str, folder: Path) -> Iterator[Place]:
    """A place that is closed at the end."""
    with KINDS[kind](folder) as (url, opener):
        place = Place(url, opener)
        try:
            yield place
        finally:
            place.close()


def parameters(kinds: Iterable[str] = KINDS) -> list[Any]:
    """The kinds as pytest takes them."""
    return [pytest.param(kind, marks=pytest.mark.postgres if kind == "postgres" else ()) for kind in kinds]


# --- rows ------------------------------------------------------------------------------------------------------------


def run_row(run_id: str = "r1", **values: Any) -> RunRow:
    """A running run of workflow `w`."""
    given = {"workflow": "w", "kind": "dag", "graph_hash": "h", "state": "running", "created_at": 1.0, **values}
    return RunRow(run_id=RunId(run_id), **given)


def task_row(no: int = 0, **values: Any) -> TaskRow:
    """A running task run."""
    given = {"key": f"t{no}", "path": (), "generation": 0, "state": "running", "attempt": 1, "token": no + 1, **values}
    return TaskRow(no=TaskNo(no), **given)


def event_rows(first: int, last: int) -> list[EventRow]:
    """Events of these numbers."""
    return [EventRow(seq=seq, at=seq + 0.5, data=b"event %d" % seq) for seq in range(first, last + 1)]


def owner_row(owner: str = "me", **values: Any) -> OwnerRow:
    """An owner whose lease holds until 100."""
    return OwnerRow(**{"owner": owner, "host": "h", "pid": 1, "started": 1.0, "lease_until": 100.0, **values})


def slot_row(key: str = "l", run_id: str = "r1", no: int = 0, slots: int = 1) -> SlotRow:
    """One slot of limit `l`."""
    return SlotRow(key=key, run_id=RunId(run_id), no=no, slots=slots)


def deployment_row(workflow: str = "w", **values: Any) -> DeploymentRow:
    """Workflow `w` as it is deployed."""
    given = {"kind": "dag", "target": "/p", "graph_hash": "h", "updated_at": 1.0, **values}
    return DeploymentRow(workflow=workflow, **given)


def trigger_row(no: int = 0, workflow: str = "w", **values: Any) -> TriggerRow:
    """A trigger of workflow `w` that has not fired yet, and never will."""
    return TriggerRow(**{"workflow": workflow, "no": no, "kind": "cron", "spec": {"cron": "* * * * *"}, **values})


def file_row(path: str = "/p/1.py", **values: Any) -> FileRow:
    """A file of definitions below /p."""
    return FileRow(**{"path": path, "location": "/p", "stamp": "1", "loaded_at": 1.0, **values})


def create(store: RunStore, *rows: RunRow) -> None:
    """Make runs."""
    with store.transaction() as tx:
        for row in rows:
            tx.create_run(row)


def deploy(store: RunStore, row: DeploymentRow, *triggers: TriggerRow) -> None:
    """Deploy a workflow in a transaction of its own."""
    with store.transaction() as tx:
        tx.deploy(row, triggers)


def write(store: RunStore, run_id: str = "r1", epoch: int = 1, **values: Any) -> None:
    """Write a batch in a transaction of its own."""
    with store.transaction() as tx:
        tx.write(RunBatch(run_id=RunId(run_id), epoch=epoch, **values))


def acquire(store: RunStore, *rows: SlotRow) -> bool:
    """Take slots in a transaction of its own."""
    with store.transaction() as tx:
        return tx.acquire(rows)


def emptied(store: RunStore, most: int) -> int:
    """Delete what ended before 2, and empty the trash, `most` rows at a time; how many runs vanished."""
    count = store.delete_runs(2.0)
    more = True
    while more:
        run_ids, more = store.empty_trash(most)
        store.forget_trash(run_ids)
    return count
