"""What the cases of a group share: a folder, the floor, sessions with warm workers."""

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import postgres
from bench.floor import scheduler
from bench.floor.postgres import PostgresDisk
from bench.floor.scheduler import Disk
from bench.floor.sqlite import SqliteDisk
from bench.floor.workers import Workers
from plait.authoring.definitions import Workflow
from plait.bootstrap import Settings, open_session
from plait.model.ids import RunId
from plait.runtime.session import Session
from plait.worker.loading import load_target

WORKERS = 2
BATCH = 50
"""Tasks to a transaction of the floor that has many to write."""


class Scene:
    """Everything in one temporary folder. Made before any thread starts, because the floor forks its workers."""

    def __init__(self, *, quick: bool = False):
        self.quick = quick
        """Whether to do with small sizes, to see that a case works at all."""
        self.folder = Path(tempfile.mkdtemp(prefix="plait-bench-"))
        self._stack = ExitStack()
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._workers = Workers(WORKERS)
        self._stack.callback(self._workers.close)
        self._disks: dict[str, Disk] = {}
        self._postgres: str | None = None

    def __enter__(self) -> "Scene":
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def size(self, full: int, quick: int) -> int:
        """How many of something."""
        return quick if self.quick else full

    # --- the floor ----------------------------------------------------------------------------------------------------

    def floor(self, count: int, batch: int = BATCH, *, disk: str = "sqlite") -> float:
        """Seconds of the bare scheduler for so many tasks."""
        if disk not in self._disks:
            self._disks[disk] = self._disk(disk)
            self._stack.callback(self._disks[disk].close)
        return scheduler.run(self._workers, self._disks[disk], count, batch)

    def _disk(self, disk: str) -> Disk:
        if disk == "sqlite":
            return SqliteDisk(self.folder / "floor.db")
        return PostgresDisk(self.postgres())

    def postgres(self) -> str:
        """The URL of a PostgreSQL that writes durably: that of $PLAIT_TEST_PG, or one that is started."""
        if self._postgres is None:
            self._postgres = self._stack.enter_context(postgres.start())
        return self._postgres

    # --- plait --------------------------------------------------------------------------------------------------------

    def session(self, *, target: Path | None = None, workers: int = WORKERS, db: str | None = None) -> Session:
        """A session with tasks in worker processes, or in threads where there is no target."""
        settings = settings_in(self.folder / "home", db)
        name = str(target) if target is not None else None
        return self._stack.enter_context(open_session(settings, target=name, workers=workers, echo=False))

    def file(self, name: str, text: str) -> Path:
        """A file of definitions."""
        path = self.folder / f"{name}.py"
        path.write_text(text)
        return path

    def workflow(self, file: Path, name: str) -> Workflow:
        """A workflow of a file, as this process sees it."""
        return load_target(str(file), validate=False).workflow(name)


def settings_in(home: Path, db: str | None = None) -> Settings:
    """Everything in this folder: SQLite, WAL, synchronous=FULL, if no other database is named."""
    url = db or f"sqlite:///{home / 'plait.db'}"
    return Settings(home=home, db=url, results=str(home / "results"), logs=home / "logs")


def once(session: Session, workflow: Workflow, params: Mapping[str, Any] | None = None) -> float:
    """Seconds from the request of a run to its recorded end. Raises unless it succeeds."""
    begin = time.perf_counter()
    run_id = session.start(workflow, params or {})
    session.wait(run_id)
    took = time.perf_counter() - begin
    check(session, [run_id])
    return took


def check(session: Session, run_ids: list[RunId]) -> None:
    """Raise unless all of these runs have succeeded; drop them from memory."""
    for run_id in run_ids:
        run = session.scheduler.runs[run_id].run
        if run.state != "success":
            raise RuntimeError(f"run {run_id} of {run.plan.graph.name} is {run.state}: {run.reason}")
        session.forget(run_id)


def here() -> int:
    """This process."""
    return os.getpid()
