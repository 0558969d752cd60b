"""What a scheduler's hub and a worker's agent say to each other: length-prefixed MessagePack frames on a socket.

A batch names each run that it is about once. Numbers of executions that were sent and taken travel along, so that the
room that an agent told is known to the execution, whatever is under way.
"""

import msgspec

from plait.model.ids import RunId, TaskNo, Token
from plait.model.wire import PROTOCOL, Execution, Report, RunInfo
from plait.worker.frames import with_run, without_run

TASKS = "tasks"
"""Executions of tasks: their outcome is the scheduler's."""
FLOWS = "flows"
"""Bodies of flows: the process that gets one takes its run over."""
Key = tuple[RunId, Token]

# --- hub to agent ----------------------------------------------------------------------------------------------------


class Batch(msgspec.Struct, array_like=True, tag=1, gc=False):
    """Executions of one kind, each with the number of its run among `runs`."""

    kind: str
    runs: list[RunInfo]
    items: list[tuple[int, Execution]]


class Cancel(msgspec.Struct, array_like=True, tag=2, gc=False):
    """End an execution."""

    run_id: RunId
    token: Token
    reason: str


ToAgent = Batch | Cancel

# --- agent to hub ----------------------------------------------------------------------------------------------------


class Held(msgspec.Struct, array_like=True, gc=False):
    """An execution that an agent has, handed out by a scheduler that is gone. `began`: whether it has told that."""

    run_id: RunId
    no: TaskNo
    token: Token
    began: bool = False


class Hello(msgspec.Struct, array_like=True, tag=1):
    """The first message of an agent."""

    name: str
    pid: int
    protocol: int = PROTOCOL


class Room(msgspec.Struct, array_like=True, gc=False):
    """How many more executions of a kind an agent takes, after it took `taken` from this hub in all."""

    free: int
    taken: int


class Said(msgspec.Struct, array_like=True, tag=2, gc=False):
    """Reports, and the room that there is after them. Those of flows come apart."""

    reports: list[Report]
    flows: list[Report]
    room: dict[str, Room]


class Holding(msgspec.Struct, array_like=True, tag=3):
    """The executions of schedulers that are gone. Their reports come to every hub."""

    tasks: list[Held]


ToHub = Hello | Said | Holding


def batch_of(kind: str, executions: list[Execution]) -> Batch:
    """These executions as one message."""
    numbers: dict[RunId, int] = {}
    runs: list[RunInfo] = []
    items: list[tuple[int, Execution]] = []
    for execution in executions:
        run = execution.run
        number = numbers.get(run.run_id)
        if number is None:
            number = numbers[run.run_id] = len(runs)
            runs.append(run)
        items.append((number, without_run(execution)))
    return Batch(kind, runs, items)


def executions_of(batch: Batch) -> list[Execution]:
    """The executions that a message brings."""
    return [with_run(execution, batch.runs[number]) for number, execution in batch.items]
