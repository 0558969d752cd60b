"""What a service runs: the workflows that the files of its code locations define, and their triggers.

Files are loaded in isolation (`worker.isolated`), and only those that have changed since they were loaded last, by
whatever process. A file that does not load keeps what it defined before, and says why it does not; one that is gone, or
does not define a workflow any more, takes that out of service: its runs stay and go on.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from plait.engine import schedules
from plait.engine.assets import jobs
from plait.engine.assets.index import AssetIndex, deployed, part, unknown
from plait.engine.partitions import edges
from plait.model.assets import graph_bytes, graph_of
from plait.model.errors import DefinitionError
from plait.model.graph import Graph
from plait.model.rows import DeploymentRow, FileRow
from plait.ports import Clock, RunStore
from plait.worker.found import Found, FoundWorkflow
from plait.worker.isolated import LOAD_TIMEOUT, Request, load_isolated
from plait.worker.loading import files_of, stamp_of


class Load(Protocol):
    """Loads files in isolation: `load_isolated`, or a test's own."""

    def __call__(self, request: Request, /, *, wanted: Callable[[], bool]) -> Found: ...


class Synced(msgspec.Struct, kw_only=True):
    """What a look at a location came to: files that were loaded, workflows that were deployed or taken out, assets
    that were defined, and the errors of the files that do not load (also of those that have not changed)."""

    loaded: list[str] = []
    deployed: list[str] = []
    gone: list[str] = []
    assets: list[str] = []
    assets_changed: bool = False
    errors: list[FileRow] = []

    @property
    def changed(self) -> bool:
        """Whether other processes have something to look at."""
        return bool(self.deployed or self.gone or self.assets_changed)


class Deployments:
    """Keeps a database's deployments as the files of code locations are."""

    def __init__(
        self, store: RunStore, clock: Clock, *, load: Load = load_isolated, load_timeout: float = LOAD_TIMEOUT
    ):
        self._store = store
        self._clock = clock
        self._load = load
        self._load_timeout = load_timeout
        self._settled: dict[str, tuple[dict[str, str], list[FileRow]]] = {}
        """Locations in which there was nothing to do: the stamps of their files, and the errors that they have. As long
        as no file changes, the database is not asked."""

    def sync(self, location: str, wanted: Callable[[], bool] = lambda: True) -> Synced:
        """Load the files of a location (a file or a folder) that have changed, and deploy what they define. Raises
        UsageError when there is no such place, Unwanted when `wanted`, which is asked now and then, says no."""
        location = str(Path(location).resolve())
        stamps = {str(file): stamp_of(file) for file in files_of(location)}
        settled = self._settled.get(location)
        if settled is not None and settled[0] == stamps:
            return Synced(errors=list(settled[1]))
        self._settled.pop(location, None)  # a file that came may go before the next look: then all looks as it was
        known = {row.path: row for row in self._store.definitions.files(location)}
        changed = [path for path, stamp in stamps.items() if path not in known or known[path].stamp != stamp]
        missing = [path for path in known if path not in stamps]
        synced = Synced(errors=[row for row in known.values() if row.error and row.path not in (*changed, *missing)])
        if not changed and not missing:
            self._settled[location] = stamps, list(synced.errors)
            return synced
        found = Found()
        if changed:
            request = Request(target=location, timeout=self._load_timeout, graphs=True, files=tuple(changed), fit=False)
            found = self._load(request, wanted=wanted)
        self._deploy(location, found, {path: stamps[path] for path in changed}, missing, synced)
        return synced

    def _deploy(
        self, location: str, found: Found, changed: dict[str, str], missing: Sequence[str], synced: Synced
    ) -> None:
        now = self._clock.now()
        before_files = {row.path: row for row in self._store.definitions.files(location)}
        rows = self._rows(location, found, changed, now)
        self._add_assets(rows, found, before_files)
        broken = {row.path for row in rows if row.error}
        defined = {each.name: each for each in found.workflows if each.graph is not None and each.file not in broken}
        looked_at = (set(changed) - broken) | set(missing)
        before = {row.workflow: row for row in self._store.definitions.deployments() if row.target in looked_at}
        gone = [name for name in before if name not in defined]
        for each in defined.values():
            graph = _graph(each)
            self._store.save_graph(graph.hash(), graph)
        self._store.save_limits(found.limits)
        with self._store.transaction() as tx:
            tx.save_files(rows, gone=missing)
            last = tx.last_signal()
            tx.undeploy(gone)
            for each in defined.values():
                graph = _graph(each)
                triggers = schedules.redeploy(each.name, graph.triggers, tx.triggers(each.name), now, last)
                tx.deploy(_deployment(each, graph, now), triggers)
        synced.loaded = sorted(changed)
        synced.assets = sorted(each.key for each in found.assets if each.file not in broken)
        lost = [*(before_files[path].assets for path in missing if path in before_files)]
        synced.assets_changed = any(lost) or any(
            row.assets != (before_files[row.path].assets if row.path in before_files else b"") for row in rows
        )
        # By a custom mapping other partitions may belong together, although the assets are as they were.
        synced.assets_changed |= any(_asks(row) for row in (*rows, *before_files.values()))
        synced.deployed = sorted(defined)
        synced.gone = sorted(gone)
        synced.errors += [row for row in rows if row.error]

    def _add_assets(self, rows: Sequence[FileRow], found: Found, before: Mapping[str, FileRow]) -> None:
        """What each file defines; one that does not load keeps what it defined before."""
        files = {each.key: each.file for each in found.assets}
        for row in rows:
            own = part(found.defined, row.path, files)
            row.assets = graph_bytes(own) if not row.error and (own.assets or own.checks) else b""
        others = [row for path, row in before.items() if path not in {row.path for row in rows}]
        for row in rows:
            row.error = row.error or _does_not_fit(row, [*others, *rows])
        for row in rows:
            if row.error:
                row.assets = before[row.path].assets if row.path in before else b""

    def _rows(self, location: str, found: Found, changed: dict[str, str], now: float) -> list[FileRow]:
        rows = {
            path: FileRow(path=path, location=location, stamp=stamp, loaded_at=now) for path, stamp in changed.items()
        }
        for problem in found.errors:
            row = rows.get(problem.file)
            if row is not None:
                row.error, row.traceback = problem.error, problem.traceback
        for each in found.workflows:
            row = rows.get(each.file)
            if row is not None and not row.error:
                row.error = _cannot_fire(each)
        return list(rows.values())


def _does_not_fit(row: FileRow, files: Sequence[FileRow]) -> str:
    """Why the assets of a file do not fit to those of all files of its location; empty when they do."""
    if not row.assets:
        return ""
    graph = deployed(files).graph
    index = AssetIndex(graph)
    ours = {spec.key for spec in graph_of(row.assets).assets}
    wrong = unknown(graph)
    if wrong is not None and wrong[0].key in ours:
        spec, key = wrong
        what = f"{spec.key!r} is made from {key!r}, which is not an asset here"
        return str(DefinitionError(what, where=spec.place, right=f'external("{key}"), or define it'))
    try:
        jobs.plan(index, ours, "assets")
    except DefinitionError as error:
        return str(error)
    return ""


def _asks(row: FileRow) -> bool:
    """Whether a file has custom mappings of partitions."""
    graph = graph_of(row.assets)
    return any(edges.is_asked(dep.mapping) for spec in graph.assets for dep in spec.deps)


def _cannot_fire(each: FoundWorkflow) -> str:
    """Why a workflow's triggers cannot be fired; empty when they can."""
    try:
        for trigger in each.graph.triggers if each.graph is not None else ():
            schedules.check_trigger(trigger)
    except DefinitionError as error:
        what = f"the schedule of {each.name!r} cannot be served: {error.what}"
        return str(DefinitionError(what, where=each.place, wrong=error.wrong, right=error.right))
    return ""


def _graph(each: FoundWorkflow) -> Graph:
    assert each.graph is not None  # the loader was asked for graphs
    return each.graph


def _deployment(each: FoundWorkflow, graph: Graph, now: float) -> DeploymentRow:
    return DeploymentRow(
        workflow=each.name,
        kind=each.kind,
        target=each.file,
        graph_hash=graph.hash(),
        lengths=graph.default_lengths(),
        tags=graph.tags,
        updated_at=now,
    )
