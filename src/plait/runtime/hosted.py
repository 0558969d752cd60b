"""A run as its scheduler hosts it: the aggregate, its row, what its executions share, and the outputs at hand."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

from plait.engine.run import Run
from plait.model.graph import RESULT, Graph
from plait.model.ids import TaskNo
from plait.model.outcome import Stored
from plait.model.partitions import RANGE
from plait.model.rows import AssetRow, RunRow
from plait.model.stimuli import ExecutionFinished
from plait.model.wire import RunInfo
from plait.ports import RunStore
from plait.worker.values import part_of

OUTPUT_CACHE_BYTES = 64 << 20


class OutputCache:
    """Stored results of a run's task runs, bounded by bytes; what is not kept is read from the store again."""

    def __init__(self, run: Run, store: RunStore, limit: int = OUTPUT_CACHE_BYTES):
        self._run = run
        self._store = store
        self._limit = limit
        self._held: OrderedDict[TaskNo, Mapping[str, Stored]] = OrderedDict()
        self._bytes = 0

    def put(self, no: TaskNo, outputs: Mapping[str, Stored]) -> None:
        """Keep the outputs of a task run that has just succeeded. Of a mapped node that nothing is made from they are
        asked for once at most, by who wants the run's value: a third of what 10,000 such tasks take in memory."""
        task = self._run.tasks.get(no)
        if task is not None and task.node.depth and not task.node.below:
            return
        self._drop(no)
        self._held[no] = outputs
        self._bytes += _weight(outputs)
        while self._bytes > self._limit and len(self._held) > 1:
            self._drop(next(iter(self._held)))

    def get(self, nos: list[TaskNo]) -> dict[TaskNo, Mapping[str, Stored]]:
        """The outputs of these task runs; one that has none is left out."""
        missing = [no for no in nos if no not in self._held]
        found: dict[TaskNo, Mapping[str, Stored]] = {no: self._held[no] for no in nos if no in self._held}
        if missing:
            for no, outputs in self._store.outputs(self._run.run_id, missing).items():
                found[no] = outputs
                self.put(no, outputs)
        return found

    def _drop(self, no: TaskNo) -> None:
        outputs = self._held.pop(no, None)
        if outputs is not None:
            self._bytes -= _weight(outputs)


def _weight(outputs: Mapping[str, Stored]) -> int:
    return sum(300 + len(stored.data or b"") for stored in outputs.values())


class Hosted:
    """One run in the hands of this scheduler."""

    def __init__(self, run: Run, row: RunRow, store: RunStore, seq: int = 0, *, fresh: bool = False):
        self.run = run
        self.row = row
        self._store = store
        self.seq = seq
        self.outputs = OutputCache(run, store)
        self.ended = threading.Event()
        self.error: BaseException | None = None
        self.fresh = fresh
        """Whether it is only here as yet: its row is made with the first batch of it, in the same transaction."""
        self.told: Callable[[], None] | None = None
        """Called once its row was made, or could not be: then there is an `error`."""
        self.delivered: set[int] = set()
        """Rows of the inbox that were posted to this run and lie there still."""
        self.decided: list[int] = []
        """Those of them that the next batch of this run deletes."""
        self.info = RunInfo(
            run_id=run.run_id,
            workflow=row.workflow,
            target=row.target,
            graph_hash=row.graph_hash,
            params=row.params,
            logical_date=row.logical_date,
            partition=row.partition,
            started_at=row.started_at or row.created_at,
            tags=row.tags,
            extra=row.extra,
        )

        self.heard: list[ExecutionFinished] = []
        """Ends of executions that were decided since the last commit."""

    def asset_row(self, key: str) -> AssetRow | None:
        """What is known of an asset: for this run's partition, or of an asset that has none. Of several updates it is
        the last one, also if another run has just made it."""
        return self._store.asset(key, self.row.partition or "") or self._store.asset(key, "")

    def asset_row_of(self, key: str, partition: str) -> AssetRow | None:
        """What is known of an asset for a partition."""
        return self._store.asset(key, partition)

    def values_in(self, rows: Iterable[AssetRow | None]) -> list[Stored | None]:
        """The values that assets were materialized with; none where one was observed, or never made. What several were
        made by is read once."""
        read: dict[tuple[str, int], tuple[dict[str, Stored], bool]] = {}
        return [self._value_in(row, read) for row in rows]

    def _value_in(
        self, row: AssetRow | None, read: dict[tuple[str, int], tuple[dict[str, Stored], bool]]
    ) -> Stored | None:
        if row is None or row.observed:
            return None
        place = row.run_id, row.no
        if place not in read:
            run = self._store.get_run(row.run_id) if row.partition else None
            several = run is not None and RANGE in (run.partition or "")
            read[place] = self._store.outputs(row.run_id, [row.no]).get(row.no, {}), several
        outputs, several = read[place]
        stored = outputs.get(RESULT) or outputs.get(row.key)
        if stored is None or not several or RANGE in row.partition:
            return stored
        return part_of(stored, row.key, row.partition)

    @property
    def history(self) -> RunStore:
        """Who tells what happened to assets."""
        return self._store

    def dynamic_keys(self, name: str) -> Mapping[str, int]:
        """The keys of dynamic partitions."""
        return self._store.partitions.keys(name)

    @property
    def has_output(self) -> bool:
        """Whether there is something to write."""
        return self.fresh or self.run.has_output() or bool(self.decided)

    def committed(self) -> None:
        """What was decided is recorded; what of it came from the inbox is not there any more."""
        self.delivered.difference_update(self.decided)
        self.decided.clear()
        self.heard.clear()
        if self.fresh:
            self.fresh = False
            self.tell()

    def tell(self) -> None:
        """Tell who makes this run."""
        told, self.told = self.told, None
        if told is not None:
            told()

    @property
    def graph(self) -> Graph:
        """The graph of this run's version."""
        return self.run.plan.graph
