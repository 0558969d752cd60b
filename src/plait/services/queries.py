"""Read models over the RunStore: runs by id or in lists, their task runs and results. Answers are bounded (C8).

A result is decoded only where it is JSON: services never unpickle (C7). Anything else is described.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from plait.model.errors import UsageError
from plait.model.graph import Graph
from plait.model.ids import RunId
from plait.model.outcome import ErrorInfo, Stored
from plait.model.rows import RunRow, TaskRow
from plait.model.states import RunState, TaskState
from plait.ports import ResultStore, RunStore
from plait.services.views import (
    RunView,
    TaskView,
    call_numbers,
    duration,
    error_of,
    iso,
    run_line,
    started_by,
    task_view,
)

MOST_TASKS = 200_000
MOST_RUNS = 1000
MOST_RESULT_BYTES = 16 << 20
PAGE = 5000
_FAILED = (TaskState.FAILED.value, TaskState.CRASHED.value)


class RunQueries:
    """Looks at the runs of a store."""

    def __init__(self, store: RunStore, results: ResultStore | None = None):
        self._store = store
        self._results = results

    # --- runs ---------------------------------------------------------------------------------------------------------

    def find(self, text: str) -> RunRow:
        """The run whose id is, begins with or ends with `text`. Raises UsageError when there is none, or several."""
        row = self._store.get_run(RunId(text))
        if row is not None:
            return row
        found = self._store.find_runs(text, limit=6) if text else []
        if len(found) == 1:
            return found[0]
        if not found:
            raise UsageError(
                f"there is no run {text!r} in {self._store.url}", right="plait runs list   # shows the ids"
            )
        shown = "\n".join(f"{row.run_id}   # {row.workflow}, {row.state}" for row in found[:5])
        raise UsageError(f"several runs begin or end with {text!r}", right=shown)

    def lines(
        self, *, workflow: str | None = None, states: Sequence[str] = (), before: str | None = None, limit: int = 50
    ) -> list[Any]:
        """Runs, newest first, at most `limit` (1000)."""
        older = RunId(before) if before is not None else None
        rows = self._store.list_runs(
            workflow=workflow, states=states, before=older, limit=max(1, min(limit, MOST_RUNS))
        )
        return [run_line(row) for row in rows]

    def view(self, run_id: RunId, *, most_tasks: int = MOST_TASKS) -> RunView:
        """A run with its task runs as they stand now, also while it runs."""
        row = self._store.get_run(run_id)
        if row is None:
            raise UsageError(f"there is no run {run_id!r}")
        graph = self._store.load_graph(row.graph_hash)
        rows, left_out = self._rows(run_id, most_tasks)
        body, rows = _without_body(rows, graph)
        result, note = self._result(row, graph, rows, body)
        error = error_of(body.error) if body is not None and body.state in _FAILED else _first_error(rows)
        return RunView(
            run_id=row.run_id,
            workflow=row.workflow,
            state=row.state,
            result=result,
            result_note=note,
            tasks=_in_order(rows, graph),
            tasks_left_out=left_out,
            error=error.text if error is not None and row.state != RunState.SUCCESS.value else None,
            reason=row.reason or None,
            kind=row.kind,
            params=msgspec.json.decode(row.params),
            logical_date=row.logical_date,
            partition=row.partition,
            parent=row.parent,
            target=row.target,
            tags=row.tags,
            created_at=iso(row.created_at),
            started_at=iso(row.started_at),
            finished_at=iso(row.finished_at),
            duration_s=duration(row.started_at, row.finished_at),
            started_by=started_by(row.extra),
        )

    # --- task runs ----------------------------------------------------------------------------------------------------

    def pages(self, run_id: RunId) -> Iterator[list[TaskRow]]:
        """The current task runs, a page at a time, by number."""
        after = -1
        while True:
            page = self._store.tasks(run_id, after=after, limit=PAGE)
            if page:
                yield page
            if len(page) < PAGE:
                return
            after = page[-1].no

    def _rows(self, run_id: RunId, most: int) -> tuple[list[TaskRow], int]:
        rows: list[TaskRow] = []
        left_out = 0
        for page in self.pages(run_id):
            room = most - len(rows)
            rows += page[:room]
            left_out += max(0, len(page) - room)
        return rows, left_out

    def failures(self, run_id: RunId, most: int = 10) -> list[tuple[TaskRow, ErrorInfo]]:
        """The first task runs that failed, with how; a flow's body, whose error is most often that of a task, comes
        last."""
        found: list[tuple[TaskRow, ErrorInfo]] = []
        for page in self.pages(run_id):
            for row in page:
                error = error_of(row.error) if row.state in _FAILED else None
                if error is not None:
                    found.append((row, error))
        found.sort(key=lambda item: (item[0].child is None and item[0].no == 0, item[0].finished_at or 0.0, item[0].no))
        return found[:most]

    # --- results ------------------------------------------------------------------------------------------------------

    def _result(
        self, row: RunRow, graph: Graph | None, rows: Sequence[TaskRow], body: TaskRow | None
    ) -> tuple[Any, str | None]:
        """The workflow's value, and a note in its place where it is not plain data."""
        if graph is None or graph.result is None or row.state != RunState.SUCCESS.value:
            return None, None
        key, output = graph.result
        if body is not None and body.key == key:
            makers = [body]
        else:
            makers = [task for task in rows if task.key == key and task.child is None]
        makers = [task for task in makers if task.state == TaskState.SUCCESS.value]
        if not makers:
            return None, None
        mapped = any(task.path for task in makers)
        values: list[Any] = []
        stored = self._store.outputs(row.run_id, [task.no for task in makers])
        for task in makers:
            value, note = self.plain(stored.get(task.no, {}).get(output))
            if note is not None:
                return None, note
            values.append(value)
        return (values if mapped else values[0]), None

    def plain(self, stored: Stored | None) -> tuple[Any, str | None]:
        """A stored value if it is JSON of a bearable size, else a note about it."""
        if stored is None:
            return None, None
        size = len(stored.data) if stored.data is not None else stored.size
        if stored.format != "json":
            return None, f"not plain data ({stored.format}, {size} bytes)"
        if size > MOST_RESULT_BYTES:
            return None, f"too large to show ({size} bytes)"
        if stored.data is not None:
            return msgspec.json.decode(stored.data), None
        if self._results is None:
            return None, f"lies at {stored.url}"
        try:
            return self._results.get(stored), None
        except FileNotFoundError:
            return None, f"is not there any more: {stored.url}"


def _without_body(rows: list[TaskRow], graph: Graph | None) -> tuple[TaskRow | None, list[TaskRow]]:
    """A flow's own body is the run, not one of its tasks."""
    if graph is None or graph.kind != "flow":
        return None, rows
    body = next(
        (row for row in rows if row.child is None and row.parent is None and row.key == graph.nodes[0].key), None
    )
    return body, [row for row in rows if row is not body]


def _first_error(rows: Sequence[TaskRow]) -> ErrorInfo | None:
    failed = [row for row in rows if row.state in _FAILED and row.error]
    first = min(failed, key=lambda row: (row.finished_at or 0.0, row.no), default=None)
    return error_of(first.error) if first is not None else None


def _in_order(rows: Sequence[TaskRow], graph: Graph | None) -> list[TaskView]:
    """As the graph has its nodes, then by number. Nodes that have no row yet are pending."""
    place = {node.key: at for at, node in enumerate(graph.nodes)} if graph is not None and graph.kind != "flow" else {}
    last = len(place)
    ordered = sorted(rows, key=lambda row: (place.get(row.key, last) if row.child is None else last, row.no))
    numbers = call_numbers(rows)
    views = [task_view(row, numbers.get(row.no)) for row in ordered]
    known = {row.key for row in rows}
    waiting = [TaskView(key=key, state=TaskState.PENDING.value) for key in place if key not in known]
    if waiting:
        views = sorted([*views, *waiting], key=lambda view: place.get(view.key, last))
    return views
