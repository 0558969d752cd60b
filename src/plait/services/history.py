"""What a run has recorded, folded into the states of its task runs, a little at a time: for whoever watches it from
outside."""

from collections.abc import Iterator

import msgspec

from plait.engine.asks import asked_of
from plait.model import events
from plait.model.events import Event
from plait.model.graph import Graph
from plait.model.ids import RunId, TaskNo
from plait.model.states import TaskState
from plait.ports import RunStore

PAGE = 2000
_decoder = msgspec.msgpack.Decoder(Event)


class Change(msgspec.Struct, frozen=True):
    """Task run `no` of `key` is in `state`; in none at all when it was replaced by a new generation. `asks` is what a
    paused one asks people."""

    no: int
    key: str
    state: str | None
    asks: str | None = None


class RunHistory:
    """Reads the events of a run once, in order; `news` gives what came since the last call. `expected` counts the task
    runs of each key of the graph that are known to come."""

    def __init__(self, store: RunStore, run_id: RunId, graph: Graph | None):
        self._store = store
        self._run_id = run_id
        self._graph = graph
        self._seq = 0
        self._keys: dict[int, str] = {}
        self._body: str | None = graph.nodes[0].key if graph is not None and graph.kind == "flow" else None
        self.expected: dict[str, int] = {}
        if graph is not None and graph.kind != "flow":
            mapped = {group.key for group in graph.groups if group.mapping is not None}
            self.expected = {
                node.key: 1 for node in graph.nodes if node.mapping is None and not _inside(node.group, mapped)
            }

    def news(self) -> Iterator[Change]:
        """What changed since the last call."""
        while True:
            rows = self._store.events(self._run_id, after=self._seq, limit=PAGE)
            for row in rows:
                self._seq = row.seq
                yield from self._changes(_decoder.decode(row.data))
            if len(rows) < PAGE:
                return

    def _changes(self, event: Event) -> Iterator[Change]:
        match event:
            case events.TaskDispatched(no=no, key=key):
                yield from self._named(no, key, TaskState.RUNNING.value)
            case events.TaskResolved(no=no, key=key, state=state):
                yield from self._named(no, key, state)
            case events.ChildRecorded(no=no, key=key):
                self._keys[no] = key
                yield Change(no, key, TaskState.PENDING.value)
            case events.TaskWaits(no=no, state=TaskState.PAUSED.value) if no in self._keys:
                yield Change(no, self._keys[no], TaskState.PAUSED.value, self._asked(no))
            case events.TaskFinished(no=no, state=state) | events.TaskWaits(no=no, state=state) if no in self._keys:
                yield Change(no, self._keys[no], state)
            case events.TasksCleared(nos=nos):
                yield from (Change(no, self._keys[no], None) for no in nos if no in self._keys)
            case events.ScopeExpanded(scope=scope, length=length):
                self._expanded(scope, length)
            case _:
                pass

    def _asked(self, no: TaskNo) -> str | None:
        """What a task run asks, none when it has been answered since."""
        row = self._store.task(self._run_id, no)
        asked = asked_of(row) if row is not None else None
        return asked.prompt if asked is not None else None

    def _named(self, no: int, key: str, state: str) -> Iterator[Change]:
        """A change that names the task's key. A flow's own body is the run, not one of its tasks."""
        if key != self._body or no in self._keys:
            self._keys[no] = key
            yield Change(no, key, state)

    def _expanded(self, scope: str, length: int) -> None:
        for node in self._graph.nodes if self._graph is not None else ():
            if node.key == scope or (node.mapping is None and _inside(node.group, {scope})):
                self.expected[node.key] = self.expected.get(node.key, 0) + length


def _inside(group: str | None, scopes: set[str]) -> bool:
    """Whether a group is one of these, or lies in one (a nested group's key begins with that of the outer one)."""
    return group is not None and any(group == scope or group.startswith(f"{scope}.") for scope in scopes)
