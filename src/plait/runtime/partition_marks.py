"""Which partitions of assets a decision materialized, or failed to: told in the transaction that records it."""

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from plait.engine.decide import Decision
from plait.engine.run import Run, TaskRun
from plait.model.errors import UserError
from plait.model.partitions import Slices
from plait.model.rows import PartitionMark, RunRow
from plait.model.states import TaskState
from plait.ports import RunStore

if TYPE_CHECKING:
    from plait.engine.partitions.spaces import Space

FAILED = frozenset({TaskState.FAILED, TaskState.CRASHED, TaskState.UPSTREAM_FAILED})
MOST_SPACES = 1000
log = logging.getLogger("plait.partitions")


class PartitionMarks:
    """Numbers the partitions of runs for one scheduler. It remembers the keys of dynamic partitions: a key's number
    never changes, so they are read again only for a key that is not known."""

    def __init__(self, store: RunStore):
        self._store = store
        self._keys: dict[str, Mapping[str, int]] = {}
        self._spaces: dict[str, Space] = {}
        """By the definition, as text."""

    def of(self, run: Run, row: RunRow, decision: Decision) -> list[PartitionMark]:
        """What a decision says of partitions."""
        if row.partition is None and not decision.assets:
            return []
        return [*self._made(run, decision), *self._failed(row, decision)]

    def _made(self, run: Run, decision: Decision) -> Iterator[PartitionMark]:
        for asset in decision.assets:
            spec = run.tasks[asset.no].node.spec.metadata.get("partitions")
            if spec is not None and asset.partition:
                yield from self._marks(asset.key, spec, asset.partition, failed=False)

    def _failed(self, row: RunRow, decision: Decision) -> Iterator[PartitionMark]:
        if row.partition is None:
            return
        for task in decision.touched:
            if task.state in FAILED and task.current:
                for key in _keys(task):
                    spec = task.node.spec.metadata.get("partitions")
                    if spec is not None:
                        yield from self._marks(key, spec, row.partition, failed=True)

    def _marks(self, key: str, spec: dict[str, Any], text: str, *, failed: bool) -> Iterator[PartitionMark]:
        try:
            space, ranges = self._numbers(spec, text)
        except UserError as error:  # its definition has changed since the run was asked for: the asset's row tells
            log.warning("partition %r of asset %r is not counted: %s", text, key, error)
            return
        for start, stop in ranges:
            yield PartitionMark(asset=key, space=space.name, failed=failed, start=start, stop=stop)

    def _numbers(self, spec: dict[str, Any], text: str) -> "tuple[Space, list[tuple[int, int]]]":
        from plait.engine.partitions.spaces import parse, space_of  # zones and calendars, which only partitions need

        name = msgspec.json.encode(spec).decode()
        space = self._spaces.get(name)
        if space is not None:
            try:
                return space, parse(space, text).ranges
            except UserError:  # a dynamic key that has come since
                self._keys.clear()
        if len(self._spaces) >= MOST_SPACES:
            self._spaces.clear()
        space = self._spaces[name] = space_of(msgspec.convert(spec, Slices), self._dynamic)
        return space, parse(space, text).ranges

    def _dynamic(self, name: str) -> Mapping[str, int]:
        if name not in self._keys:
            self._keys[name] = self._store.partitions.keys(name)
        return self._keys[name]


def _keys(task: TaskRun) -> Iterator[str]:
    """The assets that a task run makes."""
    return (output.asset for output in task.node.spec.outputs if output.asset is not None)
