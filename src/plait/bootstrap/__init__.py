"""The composition root: from settings to stores, executors and sessions. The only place that knows the adapters."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from plait.model.errors import UsageError, UserError
from plait.ports import (
    Capabilities,
    Capture,
    Clock,
    EventBus,
    Executor,
    IdSource,
    Kill,
    LogReader,
    ResultStore,
    Runner,
    RunStore,
    Triggerer,
    TriggerSink,
)

if TYPE_CHECKING:
    from plait.authoring.definitions import Definitions
    from plait.runtime.session import Session

EXECUTORS = ("inline", "threads", "processes")
MOST_THREADS = 16_384
"""Tasks of a session that may wait in threads at the same time; about 20 KB each (C8)."""
_RETENTION_DAYS = 30.0
ROOT_MARKS = (".plait", "pyproject.toml", ".git")


class Settings(msgspec.Struct, frozen=True):
    """Where plait keeps things: `home` (a folder), `db` (the store's URL), `results` (folder or fsspec URL), `logs`;
    and for how many days after a run's end (0: for ever)."""

    home: Path
    db: str
    results: str
    logs: Path
    retention_days: float = _RETENTION_DAYS

    @property
    def shown_db(self) -> str:
        """The store's URL as people may see it: without a password."""
        from plait.adapters.stores.urls import shown

        return shown(self.db)


def load_settings(db: str | None = None, start: Path | None = None) -> Settings:
    """The settings in force.

    `home` is `$PLAIT_HOME`, else `.plait/` in the project's folder: the nearest one above `start` (the current
    folder) that has a `.plait`, a `pyproject.toml` or a `.git`, else `start` itself. The database is `db`, else
    `$PLAIT_DB`, else `plait.db` in there; results are in `$PLAIT_RESULTS`, else in `results/` in there.
    Runs are kept for `$PLAIT_RETENTION_DAYS` days after their end.
    """
    home = Path(os.environ["PLAIT_HOME"]) if os.environ.get("PLAIT_HOME") else _project(start or Path.cwd()) / ".plait"
    home = home.expanduser().absolute()
    url = db or os.environ.get("PLAIT_DB") or f"sqlite:///{home / 'plait.db'}"
    results = os.environ.get("PLAIT_RESULTS") or str(home / "results")
    return Settings(home=home, db=url, results=results, logs=home / "logs", retention_days=_retention_days())


def _retention_days() -> float:
    text = os.environ.get("PLAIT_RETENTION_DAYS") or str(_RETENTION_DAYS)
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days < float("inf"):
        raise UsageError(
            f"PLAIT_RETENTION_DAYS is {text!r}",
            right="the number of days for which runs are kept after their end, 0 to keep them for ever",
        )
    return days


def _project(start: Path) -> Path:
    start = start.absolute()
    for folder in (start, *start.parents):
        if any((folder / mark).exists() for mark in ROOT_MARKS):
            return folder
    return start


def open_store(settings: Settings, *, migrate: bool = True, sweep: bool = True) -> RunStore:
    """The store; session-owned runs of processes that are gone are marked crashed first.

    `migrate`: bring an older file up to date. The tables on a server, which other versions may be using, are only
    migrated by `plait db upgrade`.
    """
    from plait.adapters.stores.open import open_store as open_url
    from plait.adapters.stores.urls import POSTGRES, parse
    from plait.runtime.lease import sweep_dead

    _make_home(settings)
    store = open_url(settings.db, migrate=migrate and parse(settings.db).scheme != POSTGRES)
    if sweep:
        sweep_dead(store, clock().now())
    return store


def _make_home(settings: Settings) -> None:
    """The home folder, which version control is to leave alone."""
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        ignore = settings.home / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
    except OSError as error:
        raise UsageError(
            f"plait cannot write to {settings.home}: {error.strerror}", right="set PLAIT_HOME to a folder of yours"
        ) from None


def schema_status(settings: Settings) -> tuple[str | None, str]:
    """The revision of the database's schema, none where there is no database yet, and the newest one."""
    from plait.adapters.stores.open import status

    return status(settings.db)


def upgrade_schema(settings: Settings) -> None:
    """Bring the database's schema to the newest revision, making the database where there is none."""
    from plait.adapters.stores.open import upgrade

    _make_home(settings)
    upgrade(settings.db)


def open_bus(settings: Settings) -> EventBus:
    """What rings between the processes on this database. Close it when done."""
    from plait.adapters.stores.urls import POSTGRES, parse

    if parse(settings.db).scheme == POSTGRES:
        from plait.adapters.bus.postgres import PostgresBus

        return PostgresBus(settings.db)
    from plait.adapters.bus.local import LocalBus

    return LocalBus(settings.db)


def clock() -> Clock:
    """The clock of this machine."""
    from plait.adapters.clock import SystemClock

    return SystemClock()


def ids() -> IdSource:
    """New ids."""
    from plait.adapters.ids import Uuid7Source

    return Uuid7Source()


def result_store(settings: Settings) -> ResultStore:
    """Where results lie."""
    from plait.adapters.results.fsspec_store import FsspecResultStore

    return FsspecResultStore(settings.results)


def log_reader(settings: Settings) -> LogReader:
    """Reads the logs of executions."""
    from plait.adapters.logs.segments import SegmentReader

    return SegmentReader(settings.logs)


def open_session(
    settings: Settings,
    *,
    target: str | None = None,
    executor: str | None = None,
    workers: int | None = None,
    echo: bool = True,
    eager: bool = True,
) -> Session:
    """A session in this process. `executor` runs what does not name its own: processes for a target that workers can
    load, else threads. `echo`: what runs in this process also prints to its own streams. `eager`: worker processes are
    got ready at once, not when the first is needed."""
    from plait.adapters.ids import Uuid7Source
    from plait.adapters.logs.capture import StreamCapture
    from plait.runtime.session import Session

    name = executor or ("processes" if target else "threads")
    if name not in EXECUTORS:
        raise UsageError(f"there is no executor {name!r}", right=f"one of: {', '.join(EXECUTORS)}")
    store = open_store(settings)
    capture = StreamCapture(settings.logs, tee=echo)

    def executors(runner: Runner) -> Mapping[str, Executor]:
        return _executors(settings, runner, capture, target or "", workers, eager=eager)

    return Session(
        store=store,
        results=result_store(settings),
        clock=clock(),
        ids=Uuid7Source(),
        bus=open_bus(settings),
        capture=capture,
        executors=executors,
        triggerer=lambda location, sink: open_triggerer(settings, location, sink),
        default_executor=name,
        target=str(Path(target).resolve()) if target and Path(target).exists() else target or "",
    )


_IN_PROCESSES = Capabilities(kill=Kill.PROCESS, capture=Capture.DESCRIPTORS, placement="process")


def _executors(
    settings: Settings, runner: Runner, capture: Any, target: str, workers: int | None, *, eager: bool
) -> dict[str, Executor]:
    from plait.adapters.executors.inline import InlineExecutor
    from plait.adapters.executors.on_demand import OnDemand
    from plait.adapters.executors.threads import ThreadExecutor

    workers = workers or os.cpu_count() or 1
    config = {"target": target, "results": settings.results, "path": user_path()}

    def processes() -> Executor:
        from plait.adapters.executors.processes import ProcessExecutor

        return ProcessExecutor("plait.bootstrap:build_runner", config, segments=settings.logs, workers=workers)

    return {
        "inline": InlineExecutor(runner, capture=capture),
        "threads": ThreadExecutor(runner, max_workers=MOST_THREADS, capture=capture),
        "processes": processes() if eager else OnDemand(processes, _IN_PROCESSES, room=workers),
    }


def open_triggerer(settings: Settings, location: str, sink: TriggerSink) -> Triggerer:
    """Where triggers of a code location are awaited: in a process of their own, or, where the code lives in this
    process only, in a thread of it."""
    from plait.adapters.triggerers.supervisor import Supervisor

    if location:
        from plait.adapters.triggerers.process_host import ProcessHost

        return Supervisor(lambda: ProcessHost(location, settings.logs), sink)
    from plait.adapters.triggerers.thread_host import ThreadHost

    return Supervisor(ThreadHost, sink)


def user_path() -> list[str]:
    """Where this process imports from, for those that load the same code."""
    import sys

    return [str(Path(entry).absolute()) for entry in sys.path]


def build_runner(config: dict[str, Any]) -> Runner:
    """The runner of a worker process: its code is loaded here, once, before workers are forked."""
    import asyncio  # noqa: F401  once for all workers, which else import it at their first async task

    from plait.adapters.results.fsspec_store import FsspecResultStore
    from plait.worker.code import LoadedCode
    from plait.worker.harness import Harness

    code = LoadedCode()
    if config["target"]:
        code.add(str(config["target"]), load_definitions(config))
    return Harness(code, FsspecResultStore(config["results"]))


def load_definitions(config: dict[str, Any]) -> Definitions:
    """The definitions of a worker's code location, with its graphs traced."""
    import sys

    from plait.worker.loading import load_target

    sys.path.extend(entry for entry in config["path"] if entry not in sys.path)
    definitions = load_target(config["target"], validate=False)
    _trace(definitions)
    return definitions


def _trace(definitions: Any) -> None:
    """Trace the dags once, before workers are forked; one that cannot be traced is told by the run that asks for it."""
    for workflow in definitions.workflows.values():
        with contextlib.suppress(UserError):
            _ = workflow.graph


# --- the engine of scripts, notebooks and tests -----------------------------------------------------------------------


class _Default:
    """The session of this process, and the process that opened it (a forked child opens its own)."""

    lock = threading.Lock()
    session: Session | None = None
    pid = 0


def default_session() -> Session:
    """The session of this process, opened on first use and closed at its end."""
    with _Default.lock:
        if _Default.session is None or _Default.pid != os.getpid():
            _Default.session = open_session(load_settings(), eager=False)
            _Default.pid = os.getpid()
            atexit.register(close_default_session)
        return _Default.session


def close_default_session() -> None:
    """Close the session of this process, if it has one."""
    if _Default.session is not None and _Default.pid == os.getpid():
        _Default.session.close()
        _Default.session = None


def temporary_settings() -> Settings:
    """Settings in a fresh temporary folder, for tests."""
    import tempfile  # it imports every compression that there is

    home = Path(tempfile.mkdtemp(prefix="plait-"))
    return Settings(home=home, db=f"sqlite:///{home / 'plait.db'}", results=str(home / "results"), logs=home / "logs")
