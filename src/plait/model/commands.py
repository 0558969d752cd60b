"""What the engine wants done, once the events that caused it are committed (C1)."""

from typing import Any

from plait.model.graph import HookSpec, WatchSpec
from plait.model.ids import MapPath, TaskNo, Token
from plait.model.policies import LimitUse, Value


class Execute(Value):
    """Hand a task run to its executor under `token`. `resume` is what a deferred or paused execution gets back:
    `event` and `error`, or `input`; `answers` holds these by the names of the waits of code that begins again."""

    no: TaskNo
    key: str
    path: MapPath
    attempt: int
    token: Token
    executor: str | None = None
    resume: Any = None


class CancelExecution(Value):
    """End a live execution; its report no longer counts."""

    no: TaskNo
    token: Token
    reason: str


class SetTimer(Value):
    """Post `TimerFired(kind, no, generation)` at epoch second `at`. A later one for the same (kind, no) replaces it."""

    at: float
    kind: str
    no: TaskNo | None = None
    generation: int = 0


class RequestSlots(Value):
    """Ask the limits for slots for a task run; `SlotsGranted` answers. Higher `priority` is served first."""

    no: TaskNo
    uses: tuple[LimitUse, ...]
    priority: int = 0


class ReleaseSlots(Value):
    """The task run holds no slots any more, and wants none."""

    no: TaskNo


class AddWatch(Value):
    """Watch something outside of the run for a task run; `WatchFired(no, index)` answers."""

    no: TaskNo
    index: int
    spec: WatchSpec
    path: MapPath = ()


class StartTrigger(Value):
    """Begin the event wait of a deferred task run (or drop it: `trigger` is none)."""

    no: TaskNo
    trigger: dict[str, Any] | None


class StartRun(Value):
    """Start another workflow as a run of its own on behalf of a task run, which ends as that run ends."""

    no: TaskNo
    token: Token
    workflow: str


class RunHook(Value):
    """Call a user's hook, at least once; `index` numbers it, `no` is none for a hook of the run."""

    hook: HookSpec
    no: TaskNo | None = None
    state: str = ""


class RunEnded(Value):
    """The run reached a final state: free what belongs to it, tell who watches."""

    state: str


Command = (
    Execute
    | CancelExecution
    | SetTimer
    | RequestSlots
    | ReleaseSlots
    | AddWatch
    | StartTrigger
    | StartRun
    | RunHook
    | RunEnded
)
