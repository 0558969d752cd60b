"""`plait dev` as a user starts it, for the cases of the service; runs that are asked of it, and how long they took by
the clock that they are recorded with."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.cases.scene import WORKERS, settings_in
from plait.authoring.definitions import Definitions
from plait.bootstrap import open_store
from plait.bootstrap.service import request_run
from plait.model.ids import RunId
from plait.model.rows import RunRow
from plait.model.states import RUN_TERMINAL, RunState
from plait.worker.loading import load_target

READY = ("scheduler: ready", "worker: ready")
PATIENCE = 300.0


class Serving:
    """A scheduler and a worker with two processes, on a database of their own. A context manager."""

    def __init__(self, folder: Path, target: Path, *, counts: Path | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        self._target = target
        self._definitions: Definitions | None = None
        self.settings = settings_in(folder / "home")
        self._log = folder / "dev.log"
        self._env = {**os.environ, "PLAIT_HOME": str(self.settings.home)}
        self._env.pop("PLAIT_DB", None)
        self._env.pop("PYTHONDONTWRITEBYTECODE", None)
        if counts is not None:
            counts.mkdir()
            self._env |= {"PLAIT_BENCH_COUNTS": str(counts), "PYTHONPATH": str(Path(__file__).with_name("counted"))}
        self.ready_after = 0.0
        """Seconds until both have said that they are ready."""

    def __enter__(self) -> "Serving":
        begin = time.perf_counter()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "plait", "dev", str(self._target), "--workers", str(WORKERS)],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.pid = self._process.pid
        self._until(lambda: all(word in self._log.read_text() for word in READY), 0.01)
        self.ready_after = time.perf_counter() - begin
        self.store = open_store(self.settings)
        return self

    def __exit__(self, *exc: object) -> None:
        self.store.close()
        self._process.send_signal(signal.SIGINT)
        self._process.wait(60)

    def _until(self, condition: Any, pause: float) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"plait dev is not as it should be:\n{self._log.read_text()}")
            time.sleep(pause)

    # --- runs ---------------------------------------------------------------------------------------------------------

    def ask(self, workflow: str, params: Mapping[str, Any] | None = None) -> RunId:
        """Ask for a run."""
        if self._definitions is None:
            self._definitions = load_target(str(self._target), validate=False)
        return request_run(
            self.settings,
            self.store,
            self._definitions,
            self._definitions.workflow(workflow),
            params=params or {},
            target=str(self._target),
        )

    def run(self, workflow: str, params: Mapping[str, Any] | None = None) -> float:
        """Seconds from the request of a run to its recorded end."""
        row = self.end_of(self.ask(workflow, params))
        assert row.finished_at is not None  # it has ended
        return row.finished_at - row.created_at

    def many(self, workflow: str, params: Mapping[str, Any], count: int) -> float:
        """Seconds from the request of the first of so many runs to the recorded end of the last."""
        ids = [self.ask(workflow, params) for _ in range(count)]
        rows = [self.end_of(run_id) for run_id in ids]
        return max(row.finished_at or 0.0 for row in rows) - min(row.created_at for row in rows)

    def end_of(self, run_id: RunId) -> RunRow:
        """Wait for a run. Looks seldom, so that the database is the service's; the times are recorded ones."""
        rows: list[RunRow] = []

        def over() -> bool:
            row = self.store.get_run(run_id)
            rows[:] = [row] if row is not None else []
            return bool(rows) and RunState(rows[0].state) in RUN_TERMINAL

        self._until(over, 0.05)
        if rows[0].state != "success":
            raise RuntimeError(f"run {run_id} of {rows[0].workflow} is {rows[0].state}: {rows[0].reason}")
        return rows[0]
