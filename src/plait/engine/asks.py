"""What a run asks people, read from its rows."""

from collections.abc import Iterable

import msgspec

from plait.engine.run import Asked, Control
from plait.model.errors import UsageError
from plait.model.ids import TaskNo, Token
from plait.model.naming import call_numbers, label, map_index
from plait.model.rows import TaskRow
from plait.model.states import TaskState

_control = msgspec.json.Decoder(Control)


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a paused task run asks. `task` is how people name it: `approve`, `load[2, eu]`. `token` names the question:
    an answer to it is none to the next. `until`: when it is given up (epoch seconds)."""

    no: TaskNo
    token: Token
    task: str
    asked: Asked
    until: float | None = None


def questions(rows: Iterable[TaskRow]) -> list[Question]:
    """Everything that is asked in these rows of one run, which are in the order of their numbers."""
    rows = list(rows)
    numbers = call_numbers(rows)
    found: list[Question] = []
    for row in rows:
        if row.state == TaskState.PAUSED.value and row.current:
            asked = asked_of(row) or Asked()
            task = label(row.key, numbers.get(row.no, map_index(tuple(row.path))))
            found.append(Question(no=row.no, token=row.token, task=task, asked=asked, until=row.wait_until))
    return found


def asked_of(row: TaskRow) -> Asked | None:
    """What a row keeps of a question."""
    return _control.decode(row.control).asked if row.control else None


def choose(run_id: str, rows: Iterable[TaskRow], task: str | None = None) -> Question:
    """The one question that a run asks; or, of several, that of the task of this name. Raises UsageError when there is
    none, or none is meant."""
    found = questions(rows)
    if not found:
        raise UsageError(f"run {run_id} asks nothing at the moment", right=f"plait runs show {run_id}")
    named = [question for question in found if task in (None, question.task, question.task.partition("[")[0])]
    if len(named) == 1:
        return named[0]
    shown = "\n".join(f"{question.task}   # {question.asked.prompt}" for question in named or found)
    if not named:
        raise UsageError(f"run {run_id} has no question {task!r}", right=shown)
    raise UsageError(f"run {run_id} asks several things: say which one is answered", right=shown)
