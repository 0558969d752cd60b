"""What the tests of the native API share."""

import subprocess
import threading
from pathlib import Path
from typing import Any

from plait import dag, flow
from plait.bootstrap import Settings, open_session
from plait.model.ids import RunId
from plait.runtime.session import Session
from plait.worker.loading import load_target


class Script:
    """A script in a process of its own."""

    def __init__(self, process: "subprocess.Popen[str]"):
        self.process = process
        self.out = self.err = ""

    def wait(self, timeout: float = 60) -> "Script":
        """Wait for its end."""
        self.out, self.err = self.process.communicate(timeout=timeout)
        return self

    @property
    def code(self) -> int | None:
        """Its exit code."""
        return self.process.returncode

    def ok(self) -> str:
        """What it printed; it must have ended well."""
        assert self.code == 0, self.err
        return self.out.strip()


class Tally:
    """Counts by name, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: dict[Any, int] = {}
        self.live = self.most = 0

    def add(self, name: Any) -> int:
        """One more; how many there are now."""
        with self._lock:
            self.counts[name] = self.counts.get(name, 0) + 1
            return self.counts[name]

    def __getitem__(self, name: Any) -> int:
        return self.counts.get(name, 0)

    def __enter__(self) -> "Tally":
        with self._lock:
            self.live += 1
            self.most = max(self.most, self.live)
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.live -= 1


def lines(file: Path) -> list[str]:
    """The lines of a ledger that several processes append to."""
    return file.read_text().splitlines() if file.exists() else []


def states(session: Session, run_id: str | None = None) -> dict[str, Any]:
    """The states of a run's tasks by key (a list in order of the elements where it is mapped); the latest run's if none
    is named."""
    row = session.store.list_runs(limit=1)[0]
    found: dict[str, Any] = {}
    for task in session.store.tasks(RunId(run_id) if run_id else row.run_id):
        if not task.path:
            found[task.key] = task.state
        else:
            found.setdefault(task.key, []).append(task.state)
    return found


def run_file(settings: Settings, file: Path, name: str | None = None, **options: Any) -> "FileRun":
    """Run a workflow of a file in worker processes, as `plait run` does."""
    params = options.pop("params", {})
    with open_session(settings, target=str(file), echo=False, workers=options.pop("workers", 2)) as session:
        workflow = load_target(str(file)).workflow(name)
        run_id = session.start(workflow, params, **options)
        session.wait(run_id)
        return FileRun(session, run_id)


class FileRun:
    """What a run of a file came to, read before its session closes."""

    def __init__(self, session: Session, run_id: RunId):
        row = session.store.get_run(run_id)
        assert row is not None
        self.run_id = run_id
        self.state = row.state
        self.reason = row.reason
        self.tasks = session.store.tasks(run_id)
        self.states = states(session, run_id)
        hosted = session.scheduler.runs[run_id]
        self.result: Any = None
        self.error: BaseException | None = None
        try:
            self.result = session._ends.result_of(hosted)
        except BaseException as error:  # noqa: BLE001  it is what the run came to
            self.error = error

    def attempts(self, key: str) -> list[int]:
        """The attempts of a task's runs."""
        return [task.attempt for task in self.tasks if task.key == key]


def in_flow(step: Any) -> Any:
    """What a step comes to, called by a flow."""

    @flow
    def pipeline() -> Any:
        return step()

    return pipeline()


def in_dag(step: Any) -> Any:
    """What a step comes to, alone in a dag."""

    @dag
    def graph() -> Any:
        return step()

    return graph()
