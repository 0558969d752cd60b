"""Makes deployed assets by themselves, as their conditions say.

Theory of operation. A look (`engine.automation.look`) is taken when something may have changed: a run of assets began,
updated something or ended, definitions were deployed, a time or the end of a window has come. What it decides, the
runs that follow from it, and where each asset stands then, are written in one transaction, which first sees that no
other scheduler has looked in the meantime: so each look counts once, whatever dies when, and so does each request.

Updates are read from the history of assets, of the last minutes, and each is seen once, by a mark; so it does not
matter which process made them, nor whether two of them committed in another order than they happened.
"""

import logging
import threading
from collections.abc import Callable, Collection, Mapping

import msgspec

from plait.engine import schedules
from plait.engine.assets import jobs
from plait.engine.assets.index import AssetIndex, Deployed, Source, deployed
from plait.engine.automation.look import Automated, Look, States
from plait.engine.partitions.keysets import EMPTY, KeySet
from plait.engine.partitions.mappings import AskCode
from plait.model.automation import AssetState, Decision, Looked
from plait.model.graph import Graph
from plait.model.hashes import blake2b
from plait.model.rows import AutomationRow, RunRow
from plait.model.schedules import Cron
from plait.model.states import RunState
from plait.runtime.asset_facts import MOST_OPEN, OPEN, WHOLE, AssetFacts, Happened, mark_of
from plait.runtime.observations import is_news
from plait.runtime.partitioned import mapped_extra
from plait.runtime.run_request import RunRequest, first_row
from plait.runtime.scheduler import Scheduler

OVERLAP = 120.0
"""Seconds that are looked back for updates that were committed late, or on a machine whose clock is behind."""
GATHER = 0.05
"""Seconds for which what happens is gathered into one look."""
MOST_UPDATES = 100_000
MOST_RUNS = 1000
"""Runs that one look begins at most; the next one goes on (C8)."""
MOST_LOOKS = 20
"""Looks in a row, after which others have their turn."""
LOOKED = ""
"""The key under which it is kept when and what was looked at last."""
log = logging.getLogger("plait.automation")


class Automations:
    """The automations of one scheduler's database. `begin` is called when there are new runs, which nobody owns;
    `ask_for` gives who answers for the custom mappings of a code location."""

    def __init__(
        self,
        scheduler: Scheduler,
        begin: Callable[[], object],
        ask_for: Callable[[Source], AskCode | None] = lambda source: None,
    ):
        self._begin = begin
        self._ask_for = ask_for
        self._scheduler = scheduler
        self._store = scheduler.store
        self._index = AssetIndex(deployed([]).graph)
        self._locations: dict[str, str] = {}
        self._sources: dict[str, Source] = {}
        self._answers: dict[Source, AskCode | None] = {}
        """Who answers for the custom mappings of what is deployed."""
        self._automated = Automated(self._index)
        self._states = States(self._automated, {})
        self._looked: Looked | None = None
        self._facts = AssetFacts(self._store, self._index, {})
        self._window_keys: set[str] = set()
        self._files: tuple[tuple[str, str, str, bytes], ...] = ()
        self._said: set[str] = set()
        self._deployed = True
        """Whether nothing was looked at since the definitions were read: whatever they say may be new."""
        self._lock = threading.RLock()
        self.next_at: float | None = None
        """When there is something to look at, as far as is known."""

    def load(self) -> None:
        """Something may have been deployed: take what is there now."""
        files = self._store.definitions.files()
        known = tuple((row.path, row.location, row.stamp, row.assets) for row in files)
        if known == self._files:
            self.wake()
            return
        self._files = known
        found = deployed(files)
        for problem in found.problems:
            if problem not in self._said:
                self._said.add(problem)
                log.warning("%s", problem)
        with self._lock:
            self._take(found)
        self.wake()

    def _take(self, found: Deployed) -> None:
        self._index, self._locations = AssetIndex(found.graph), found.locations
        self._sources = found.sources
        there = set(found.sources.values())
        self._answers = {source: answers for source, answers in self._answers.items() if source in there}
        self._automated = Automated(self._index)
        windows = self._automated.windows
        self._window_keys = set(windows) | {dep for key in windows for dep in self._index.upstream[key]}
        self._reload()
        self._deployed = True

    def wake(self) -> None:
        """Something may have changed."""
        if self._automated.programs:
            soon = self._scheduler.clock.now() + GATHER
            self.next_at = min(soon, self.next_at) if self.next_at is not None else soon

    def _reload(self) -> None:
        """Take where everything stands from the store."""
        states: dict[str, AssetState] = {}
        self._looked = None
        for row in self._store.definitions.automations() if self._automated.programs else ():
            try:
                if row.key == LOOKED:
                    self._looked = msgspec.msgpack.decode(row.cursor, type=Looked)
                else:
                    states[row.key] = msgspec.msgpack.decode(row.cursor, type=AssetState)
            except msgspec.MsgspecError as error:  # of another version: as if nobody had looked
                log.warning("where the automation of %r stands cannot be read: %s", row.key, error)
        self._states = States(self._automated, states)
        self._facts = AssetFacts(self._store, self._index, self._locations, self._ask)
        self._facts.broken = set(self._looked.failed) if self._looked is not None else set()

    def _ask(self, key: str) -> AskCode | None:
        """Who answers for the custom mappings of an asset."""
        source = self._sources.get(key)
        if source is None:
            return None
        if source not in self._answers:
            self._answers[source] = self._ask_for(source)
        return self._answers[source]

    # --- looking ------------------------------------------------------------------------------------------------------

    def run(self, now: float) -> int:
        """Look until there is nothing to look at any more; returns how many runs were begun. Raises StoreError."""
        with self._lock:
            self.next_at = None
            return self._run(now) if self._automated.programs else 0

    def _run(self, now: float) -> int:
        count = 0
        for _ in range(MOST_LOOKS):
            made, again = self._look(now)
            count += made
            if not again:
                break
        else:
            self.wake()
        self._set_timer(now)
        return count

    def _set_timer(self, now: float) -> None:
        times = [self._facts.next_window(self._window_keys)] if self._window_keys else []
        for cron, tz in self._automated.crons:
            coming = schedules.upcoming(Cron(cron=cron, tz=tz), now, 1)
            times += coming
        known = [at for at in (*times, self.next_at) if at is not None]
        self.next_at = min(known, default=None)

    def _look(self, now: float) -> tuple[int, bool]:
        """One look; how many runs it began, and whether another one has to follow."""
        before = self._looked or Looked(at=now)
        changed, looked = self._gather(before, now)
        look = Look(self._automated, self._facts, self._states, now)
        look.run(changed)
        if not look.after and self._looked is not None:
            return 0, False
        runs = self._runs(look, looked.look)
        if not self._commit(look, looked, before.look, runs):
            log.info("another scheduler has looked at the assets in the meantime")
            self._reload()
            return 0, True
        return len(runs), bool(self._states.again)

    def _gather(self, before: Looked, now: float) -> tuple[set[str], Looked]:
        """What has happened since the look before: the assets that it is about, and what is remembered of it."""
        rows = self._store.asset_updates(before.at - OVERLAP, MOST_UPDATES)
        first = self._looked is None
        seen = set(before.seen)
        marks = [mark_of(row) for row in rows]
        new = [] if first else [row for row, mark in zip(rows, marks, strict=True) if mark not in seen]
        happened = Happened(before=before.at)
        self._facts.at(now, happened)
        for row in new:
            if row.key in self._index.specs and (row.kind != "observed" or is_news(self._store, row)):
                keys = self._facts.named(row.key, row.partition)
                happened.updates.setdefault(row.key, []).append((keys, row.run_id))
        runs = [row for row in self._store.list_runs(states=OPEN, limit=MOST_OPEN) if row.kind == "assets"]
        for run in runs:
            for key in self._facts.targets(run):
                if key in self._index.specs:
                    known = happened.in_progress.get(key, EMPTY)
                    happened.in_progress[key] = known | self._facts.named(key, run.partition)
        is_open = {run.run_id for run in runs}
        changed = set(happened.updates) | self._moved(before, runs, is_open)
        self._facts.broken -= set(happened.updates)
        self._facts.forget(changed)
        changed |= self._facts.grown()
        if self._deployed:
            changed |= set(self._index.specs)
        keep = now - OVERLAP
        looked = Looked(
            look=before.look + 1,
            at=now,
            seen=tuple(mark for row, mark in zip(rows, marks, strict=True) if row.at >= keep),
            open=tuple(sorted(is_open)),
            failed=tuple(sorted(self._facts.broken)),
        )
        return changed, looked

    def _moved(self, before: Looked, runs: Collection[RunRow], is_open: Collection[str]) -> set[str]:
        """The assets of runs that have begun or ended since the look before. What a run that did not succeed has not
        made has failed."""
        changed: set[str] = set()
        known = set(before.open)
        for run in runs:
            if run.run_id not in known:
                changed |= self._facts.targets(run)
        for run_id in known.difference(is_open):
            run = self._store.get_run(run_id)  # type: ignore[arg-type]  it is one
            targets = self._facts.targets(run)
            changed |= targets
            if run is not None and run.state != RunState.SUCCESS.value and run.partition is None:
                made = {
                    row.key
                    for key in targets
                    for row in self._store.asset_history(key, limit=5)
                    if row.run_id == run_id
                }
                self._facts.broken |= targets - made
        return changed.intersection(self._index.specs)

    # --- what follows -------------------------------------------------------------------------------------------------

    def _runs(self, look: Look, number: int) -> list[tuple[RunRow, Graph]]:
        """The runs of what is requested: assets that can be made together share one for each partition. What is too
        much for one look stays requested."""
        groups: dict[tuple[str, str], dict[str, KeySet]] = {}
        for key, keys in look.requested.items():
            spec = self._index.specs[key]
            text = msgspec.json.encode(spec.partitions).decode()
            groups.setdefault((self._locations.get(key, ""), text), {})[key] = keys
        made: list[tuple[RunRow, Graph]] = []
        graphs: dict[tuple[str, ...], Graph] = {}
        begun: dict[str, list[int]] = {key: [] for key in look.requested}
        for (location, _), requested in sorted(groups.items()):
            for ordinal, keys in _by_ordinal(requested).items():
                if len(made) >= MOST_RUNS:
                    break
                graph = graphs.get(keys) or graphs.setdefault(keys, jobs.plan(self._index, keys, "assets"))
                made.append((self._row(graph, keys, ordinal, location, number), graph))
                for key in keys:
                    begun[key].append(ordinal)
        for key, ordinals in begun.items():
            requested = KeySet.of(ordinals)
            if requested != look.requested[key]:
                look.after[key] = msgspec.structs.replace(look.after[key], requested=requested.bounds)
        return made

    def _row(self, graph: Graph, keys: tuple[str, ...], ordinal: int, location: str, number: int) -> RunRow:
        first = keys[0]
        partitioned = self._index.specs[first].partitions is not None
        partition = self._facts.space(first).key(ordinal) if partitioned else None
        what = blake2b(msgspec.json.encode([list(keys), partition]), digest_size=8).hexdigest()
        scheduler = self._scheduler
        now = scheduler.clock.now()
        mapped = mapped_extra(graph, partition, now, self._store.partitions.keys, self._ask)
        request = RunRequest(
            graph=graph,
            partition=partition,
            target=location,
            session=False,
            triggered=True,
            occurrence=f"automation:{number}:{what}",
            extra={"assets": list(keys), "automation": number, **mapped},
        )
        return first_row(request, scheduler.ids.run_id(), graph.hash(), None, now)

    def _commit(self, look: Look, looked: Looked, before: int, runs: list[tuple[RunRow, Graph]]) -> bool:
        """Write it all, unless another scheduler has looked since; then begin with the runs."""
        for graph_hash, graph in {row.graph_hash: graph for row, graph in runs}.items():
            self._store.save_graph(graph_hash, graph)
        rows = [_row_of(key, look.after[key], look.decisions.get(key), looked.at) for key in sorted(look.after)]
        mark = AutomationRow(key=LOOKED, at=looked.at, cursor=msgspec.msgpack.encode(looked), decision=b"")
        begun: list[RunRow] = []
        with self._store.transaction() as tx:
            known = tx.automation(LOOKED)
            number = msgspec.msgpack.decode(known.cursor, type=Looked).look if known is not None else 0
            if number != before:
                return False
            begun = [row for row, _ in runs if tx.create_run(row)]
            tx.save_automations([*rows, mark])
        self._looked = looked
        self._states.take(look.after)
        self._deployed = False
        for row in begun:
            about = f", partition {row.partition}" if row.partition is not None else ""
            log.info("run %s makes %s%s by itself", row.run_id, ", ".join(row.extra["assets"][:5]), about)
        if begun:
            self._begin()
        return True


def _row_of(key: str, state: AssetState, decision: Decision | None, at: float) -> AutomationRow:
    return AutomationRow(
        key=key,
        at=at,
        cursor=msgspec.msgpack.encode(state),
        decision=msgspec.msgpack.encode(decision) if decision is not None else b"",
    )


def _by_ordinal(requested: Mapping[str, KeySet]) -> dict[int, tuple[str, ...]]:
    """For each partition the assets of which it is requested."""
    if all(keys == WHOLE for keys in requested.values()):
        return {0: tuple(requested)}
    found: dict[int, list[str]] = {}
    for key, keys in requested.items():
        for ordinal in keys.page(0, MOST_RUNS):
            found.setdefault(ordinal, []).append(key)
    return {ordinal: tuple(keys) for ordinal, keys in sorted(found.items())}
