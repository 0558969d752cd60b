"""A run in this process, from its start to its exit code: what `plait run` and `plait runs retry` share."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from plait.cli import summary
from plait.cli.board import Board
from plait.cli.common import open_queries, print_json, say, settings, users_code
from plait.cli.interrupts import Interrupts
from plait.cli.progress import display
from plait.model.errors import UserError
from plait.model.ids import RunId

if TYPE_CHECKING:
    from plait.authoring.definitions import Definitions
    from plait.runtime.session import Session
    from plait.services.logs import RunLogs
    from plait.services.queries import RunQueries
    from plait.services.views import RunView

FAILED, INTERRUPTED = 1, 130
_RECOUNT = 0.5


def load(target: str) -> Definitions:
    """The definitions of a target, loaded here. What user code raises while its dags are traced becomes a LoadError."""
    from plait.model.errors import LoadError
    from plait.worker.found import problem
    from plait.worker.loading import load_target

    try:
        with users_code():
            return load_target(target)
    except UserError:
        raise
    except Exception as error:
        raise LoadError(problem(error, target).error) from error


def carry_out(
    target: str,
    begin: Callable[[Session], RunId],
    *,
    title: str,
    executor: str | None = None,
    workers: int | None = None,
    as_json: bool = False,
) -> int:
    """Open a session, begin (or resume) a run in it, show its progress, then what it came to. Returns the exit code."""
    from plait import bootstrap
    from plait.services.logs import RunLogs
    from plait.services.queries import RunQueries

    where = settings()
    with bootstrap.open_session(where, target=target, executor=executor, workers=workers, echo=False) as session:
        feed = BoardFeed(Board())
        session.observers.append(feed.observe)
        interrupts = Interrupts(lambda: session.cancel(feed.run_id, "interrupted (Ctrl-C)"), lambda: bool(feed.run_id))
        shown = display(feed.board, title, feed.refresh)
        shown.start()
        try:
            with users_code(), interrupts:
                trouble = _begin_and_wait(session, begin, feed, interrupts)
        finally:
            shown.stop()
        queries = RunQueries(session.store, session.results)
        view = queries.view(feed.run_id)
        if trouble is not None:
            view.state, view.reason = "crashed", f"{type(trouble).__name__}: {trouble}"  # as its row will say
        if as_json:
            print_json(view)
        else:
            _show(view, queries, RunLogs(session.store, bootstrap.log_reader(where)))
    if trouble is not None:
        say(f"plait: {trouble}\nplait run --resume {feed.run_id} goes on where it was")
    return INTERRUPTED if interrupts.count else 0 if view.state == "success" else FAILED


def _begin_and_wait(
    session: Session, begin: Callable[[Session], RunId], feed: BoardFeed, interrupts: Interrupts
) -> Exception | None:
    """Until the run is over. Returns what stopped it in this process (a full disk, a lost lease), if something did."""
    begun = False
    while True:
        try:
            if not begun:
                begun = True
                feed.run_id = begin(session)  # with inline tasks, most of the run may happen in here
            session.wait(feed.run_id)
            return None
        except KeyboardInterrupt:
            if not feed.run_id:
                raise
            if not interrupts.count:  # user code raised it by itself
                session.cancel(feed.run_id, "KeyboardInterrupt")
        except Exception as error:
            if not feed.run_id or isinstance(error, UserError):
                raise
            return error  # the run is in its rows, and can be resumed: it is told, with what is known


def show_past(run_id: RunId, *, as_json: bool) -> int:
    """A run that is over, as `carry_out` shows it. Returns the exit code."""
    with open_queries() as queries:
        view = queries.view(run_id)
    if as_json:
        print_json(view)
    else:
        summary.show_run(view, head=False)
    return 0 if view.state == "success" else FAILED


def _show(view: RunView, queries: RunQueries, logs: RunLogs) -> None:
    summary.show_run(view, head=False)
    if view.state in ("failed", "crashed"):
        summary.show_failures(queries, logs, view)


def _asks(task: Any) -> str | None:
    """What a task run asks people now."""
    control = task.control
    return control.asked.prompt if control is not None and control.asked is not None else None


class BoardFeed:
    """Keeps a board up to date from what the scheduler commits. `observe` is on its hot path; `refresh` is not."""

    def __init__(self, board: Board):
        self.board = board
        self.run_id = RunId("")
        self._hosted: Any = None
        self._stale = True
        self._counted = 0.0
        self._lock = threading.Lock()

    def observe(self, hosted: Any, decision: Any) -> None:
        """After each commit: what changed. Runs inside of the run are one task of it."""
        if self._hosted is None and hosted.row.parent is None:
            self._hosted = hosted
            self.run_id = self.board.run_id = hosted.run.run_id
            self.board.know(hosted.run.plan.graph)
        if hosted is not self._hosted:
            return
        self.board.state = hosted.run.state.value
        body = hosted.run.plan.graph.kind == "flow"
        for task in decision.touched:
            if not task.current:
                self.board.drop(task.no)
            elif not body or task.child is not None:
                self.board.update(task.no, task.key, task.state.value, _asks(task))
        if decision.scopes or decision.changed:
            self._stale = True

    def refresh(self) -> None:
        """Before each look: count what has not begun, where that may have changed."""
        hosted = self._hosted
        if hosted is None or hosted.run.plan.graph.kind == "flow":
            return
        with self._lock:
            now = time.monotonic()
            if self._stale and now - self._counted > _RECOUNT:
                self._stale, self._counted = False, now
                tasks = list(hosted.run.tasks.values())
                self.board.expect(Counter(task.key for task in tasks if not task.unexpanded and task.child is None))
