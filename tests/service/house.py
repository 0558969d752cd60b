"""A project folder with a database, and the processes of plait on them: real ones, as a user starts them."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plait as plait_itself
from plait.adapters.sockets import private_folder
from plait.adapters.stores.open import open_store
from plait.bootstrap import Settings, clock, load_definitions, result_store
from plait.bootstrap.service import request_run
from plait.model.ids import RunId
from plait.model.rows import OwnerRow, RunRow, TaskRow
from plait.model.states import RUN_TERMINAL
from plait.ports import RunStore
from plait.runtime.lease import is_alive
from tests.waiting import wait_until

FILES = Path(__file__).parent / "files"
PATIENCE = 60.0
"""Seconds for what a service does, on a machine that does other things as well."""


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object on stdout."""
        return json.loads(self.out)


class Process:
    """One process of plait that serves. What it says is in `log`."""

    def __init__(self, name: str, args: Sequence[str], env: dict[str, str], folder: Path):
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as file:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "plait", *args],
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._popen.pid

    def said(self) -> str:
        """What it has said so far."""
        return self.log.read_text(errors="replace")

    def ready(self, *words: str) -> "Process":
        """Wait until it has said that it is ready."""
        expected = words or (f"{self.name.split('-')[0]}: ready",)

        def is_ready() -> bool:
            code = self._popen.poll()
            assert code is None, f"{self.name} ended with {code}:\n{self.said()}"
            return all(word in self.said() for word in expected)

        wait_until(is_ready, f"{self.name} is ready", PATIENCE)
        return self

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def kill(self) -> None:
        """Kill -9, and see it gone."""
        self._popen.kill()
        self._popen.wait()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it in order; its exit code."""
        self._popen.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; its exit code."""
        try:
            return self._popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} does not end:\n{self.said()}") from None


class House:
    """One user's project. `db`: the URL of its database; none for the one that plait makes by itself."""

    def __init__(self, folder: Path, db: str | None = None):
        self.folder = folder
        self.home = folder / "home"
        self.notes = folder / "notes"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PLAIT_", "COLUMNS"))}
        kept["PYTHONPATH"] = str(Path(plait_itself.__file__).parents[1])  # the plait that is tested, wherever it lies
        self.env = {**kept, "PLAIT_HOME": str(self.home), "NOTES": str(self.notes), "PYTHONIOENCODING": "utf-8"}
        if db is not None:
            self.env["PLAIT_DB"] = db
        self.db = db or f"sqlite:///{self.home / 'plait.db'}"
        self.processes: list[Process] = []
        self._store: RunStore | None = None

    # --- files --------------------------------------------------------------------------------------------------------

    def put(self, name: str, source: str | None = None) -> Path:
        """A file of definitions: one of `files/`, or this text. A file that was there is replaced at once."""
        path = self.folder / name
        text = (FILES / name).read_text() if source is None else source
        fresh = path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(path)
        return path

    def noted(self) -> list[str]:
        """What tasks noted, a line each."""
        return self.notes.read_text().splitlines() if self.notes.exists() else []

    def let_go(self, name: str) -> None:
        """The tasks that hold this name go on."""
        self.folder.joinpath(f"notes.{name}").touch()

    # --- processes ----------------------------------------------------------------------------------------------------

    def start(self, name: str, *args: object, **env: str) -> Process:
        """Start a process that serves."""
        process = Process(name, [str(arg) for arg in args], {**self.env, **env}, self.folder)
        self.processes.append(process)
        return process

    def _next(self, kind: str) -> str:
        return f"{kind}-{sum(each.name.startswith(kind) for each in self.processes)}"

    def dev(self, *targets: object, **env: str) -> Process:
        """`plait dev`, ready."""
        return self.start(self._next("dev"), "dev", *targets, **env).ready("scheduler: ready", "worker: ready")

    def scheduler(self, *targets: object, **env: str) -> Process:
        """`plait scheduler`; not ready yet."""
        return self.start(self._next("scheduler"), "scheduler", *targets, **env)

    def worker(self, *args: object, **env: str) -> Process:
        """`plait worker`; not ready yet."""
        return self.start(self._next("worker"), "worker", *args, **env)

    def __call__(self, *args: object, code: int | None = 0, **env: str) -> Result:
        """Run a command to its end; it has to end with this exit code (none: with any)."""
        done = subprocess.run(
            [sys.executable, "-m", "plait", *map(str, args)],
            cwd=self.folder, env={**self.env, **env}, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        if code is not None:
            assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.story()}"
        return Result(done.returncode, done.stdout, done.stderr)

    def left(self) -> list[str]:
        """The processes that work for this project: whoever started them, and whoever is their parent now."""
        return [f"{pid}: {command}" for pid, command in _processes_with(f"PLAIT_HOME={self.home}")]

    def sockets(self) -> list[Path]:
        """What lies in the folders of sockets of this database."""
        keys = {"plait": os.path.realpath(self.home / "plait.db"), "plait-hub": os.path.realpath(self.home) + self.db}
        folders = [private_folder(kind, key) for kind, key in keys.items()]
        return [path for folder in folders for path in (folder, *folder.glob("*")) if path.exists()]

    def close(self) -> None:
        """Kill what a test left."""
        if self._store is not None:
            self._store.close()
        for process in self.processes:
            process.kill()
        for pid, _ in _processes_with(f"PLAIT_HOME={self.home}"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def story(self) -> str:
        """What the processes said, for a test that failed."""
        return "\n".join(f"--- {each.name} ({each.pid})\n{each.said()[-4000:]}" for each in self.processes)

    # --- what is recorded ---------------------------------------------------------------------------------------------

    @property
    def store(self) -> RunStore:
        """The database, as another process sees it."""
        if self._store is None:
            self.home.mkdir(exist_ok=True)
            self._store = open_store(self.db)
        return self._store

    def ask(self, target: object, *args: object) -> RunId:
        """`plait runs start`; the id of the run."""
        return RunId(self("runs", "start", target, *args).out.strip())

    def many(self, target: str, name: str, count: int, params: dict[str, Any] | None = None) -> list[RunId]:
        """Ask for runs, from this process: as `runs start` does, but for what starting a command costs."""
        definitions = load_definitions({"path": [], "target": str(self.folder / target)})
        workflow = definitions.workflow(name)
        return [
            request_run(self.settings, self.store, definitions, workflow, params=params or {}, target=target)
            for _ in range(count)
        ]

    @property
    def settings(self) -> Settings:
        """The settings of this project."""
        return Settings(home=self.home, db=self.db, results=str(self.home / "results"), logs=self.home / "logs")

    def row(self, run_id: RunId) -> RunRow:
        """A run's row."""
        row = self.store.get_run(run_id)
        assert row is not None
        return row

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait for a condition; if it does not come true, tell what the processes said."""
        try:
            wait_until(condition, what, PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.story()}") from None

    def ended(self, run_id: RunId, state: str = "success") -> RunRow:
        """Wait for a run's end, which has to be this one."""
        self.until(lambda: self.row(run_id).state in RUN_TERMINAL, f"the end of run {run_id}")
        row = self.row(run_id)
        assert row.state == state, f"it is {row.state}: {row.reason}\n{self.story()}"
        return row

    def task(self, run_id: RunId, key: str) -> TaskRow | None:
        """The (first) task run of that key, if it has a row."""
        return next((row for row in self.store.tasks(run_id) if row.key == key), None)

    def value(self, run_id: RunId, key: str) -> Any:
        """What the (first) task run of that key has left."""
        row = self.task(run_id, key)
        assert row is not None
        stored = self.store.outputs(run_id, [row.no])[row.no]["result"]
        return result_store(self.settings).get(stored)

    @staticmethod
    def now() -> float:
        """The time, as services have it."""
        return clock().now()

    def error(self, run_id: RunId, key: str) -> str:
        """What the (first) task run of that key failed of."""
        row = self.task(run_id, key)
        return "" if row is None or row.error is None else json.loads(row.error)["message"]

    def task_is(self, run_id: RunId, key: str, *states: str) -> None:
        """Wait until a task run is in one of these states."""
        self.until(lambda: (row := self.task(run_id, key)) is not None and row.state in states, f"{key} is {states}")

    def schedulers(self) -> list[OwnerRow]:
        """The schedulers that are registered and alive."""
        return [row for row in self.store.owners() if row.address and is_alive(row.pid)]


def _processes_with(setting: str) -> Iterator[tuple[int, str]]:
    """The processes that were started with this setting in their environment, forked ones too."""
    if sys.platform != "linux":
        shown = subprocess.run(
            ["ps", "-A", "-E", "-ww", "-o", "pid=,command="], capture_output=True, text=True, check=True
        )
        for line in shown.stdout.splitlines():
            if setting in line:
                yield int(line.split()[0]), line
        return
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended, or is another user's
            if setting.encode() in folder.joinpath("environ").read_bytes().split(b"\0"):
                if re.search(r"^State:\s+Z", folder.joinpath("status").read_text(), re.MULTILINE):
                    continue
                command = folder.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                yield int(folder.name), command
