"""The rows of a mapped task as plait writes them, for as many tasks as are asked for."""

import msgspec

from plait.model.events import TaskDispatched, TaskFinished
from plait.model.ids import RunId, TaskNo, token
from plait.model.outcome import Stored
from plait.model.rows import RunRow, TaskRow

NOW = 1_764_000_000.25


def run_row(run_id: RunId) -> RunRow:
    """The run's own."""
    return RunRow(run_id=run_id, workflow="fan", kind="dag", graph_hash="floor", state="running", created_at=NOW)


def task_row(no: int, *, ended: bool) -> TaskRow:
    """A task run when it is dispatched, and when it has ended."""
    return TaskRow(
        no=TaskNo(no),
        key="work",
        path=(no,),
        generation=0,
        state="success" if ended else "dispatched",
        attempt=1,
        token=token(1, no + 1),
        executions=1,
        first_started_at=NOW if ended else None,
        started_at=NOW if ended else None,
        finished_at=NOW if ended else None,
        outputs={"result": Stored(format="json", data=b"55", size=2)} if ended else None,
    )


def events(count: int) -> list[tuple[bytes, bytes]]:
    """The events beside them, encoded: of each task its dispatch and its end."""
    encode = msgspec.msgpack.Encoder().encode
    return [
        (
            encode(TaskDispatched(no=no, key="work", path=(no,), generation=0, attempt=1, token=token(1, no + 1))),
            encode(TaskFinished(no=no, state="success", attempt=1)),
        )
        for no in map(TaskNo, range(count))
    ]
