"""Assets for people and programs: what there is, whether it is there, new enough and as its code wants it, and what
happened to it."""

from typing import Any

import msgspec

from plait.engine.assets import freshness, staleness
from plait.engine.assets.index import AssetIndex, Deployed, Source, deployed
from plait.engine.assets.selection import select
from plait.engine.assets.staleness import Staleness, Status
from plait.engine.automation.explain import Explained, explain, why_not
from plait.engine.partitions.answers import Answers
from plait.engine.partitions.edges import slices_of
from plait.engine.partitions.keysets import KeySet
from plait.engine.partitions.spaces import space_of, text_of
from plait.model.assets import AssetKind, AssetSpec, HistoryEvent
from plait.model.automation import Decision
from plait.model.errors import UsageError
from plait.model.rows import AssetEventRow, AssetRow
from plait.ports import Clock, RunStore
from plait.services.views import iso
from plait.worker.asking import Question
from plait.worker.isolated import ask_isolated

_events = msgspec.json.Decoder(HistoryEvent)


class CheckView(msgspec.Struct, kw_only=True):
    """A check of an asset, and what it came to last: `passed` is none for one that never ran."""

    name: str
    blocking: bool
    severity: str
    passed: bool | None = None
    description: str = ""
    at: str | None = None


class AssetView(msgspec.Struct, kw_only=True):
    """An asset. `status` is fresh, stale or missing, with the `causes`; none for one that is made elsewhere. Of a
    partitioned asset it is about `partition`: the one that was asked about, or the one that was materialized last.
    `freshness` is fresh, late or unknown, none where nothing says how new it has to be. Times are ISO 8601 in UTC."""

    key: str
    kind: str
    group: str
    kinds: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()
    partitions: str | None = None
    status: str | None = None
    causes: list[str] = []
    partition: str | None = None
    at: str | None = None
    run_id: str | None = None
    data_version: str | None = None
    code_version: str | None = None
    freshness: str | None = None
    freshness_why: str = ""
    checks: list[CheckView] = []
    io: str | None = None
    automation: bool = False
    place: str = ""


class EventView(msgspec.Struct, kw_only=True):
    """Something that happened to an asset: it was materialized or observed, or a check (`name`) looked at it."""

    kind: str
    at: str
    run_id: str
    partition: str | None = None
    name: str | None = None
    data_version: str | None = None
    code_version: str | None = None
    inputs: dict[str, str] = {}
    metadata: dict[str, Any] = {}
    passed: bool | None = None
    severity: str | None = None
    description: str = ""


class AssetDetail(msgspec.Struct, kw_only=True):
    """An asset with its description, definition metadata and history, newest first."""

    asset: AssetView
    doc: str = ""
    downstream: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}
    history: list[EventView] = []


class WhyView(msgspec.Struct, kw_only=True):
    """What was decided last of an asset that makes itself: whether it was requested (of which partitions, as texts),
    and why, or why not; `tree` is none when its condition has changed since, and when it could not be looked at because
    a custom mapping has not answered, which `held` tells."""

    key: str
    at: str | None = None
    requested: bool = False
    partitions: list[str] = []
    reasons: list[str] = []
    tree: Explained | None = None
    held: str = ""


class Assets:
    """Looks at assets: those that are `defined` somewhere or, without that, those that are deployed in the database.
    Custom mappings of partitions are asked in a process of their own."""

    def __init__(self, store: RunStore, clock: Clock, defined: Deployed | None = None):
        self._store = store
        self._clock = clock
        found = defined if defined is not None else deployed(store.definitions.files())
        self.index = AssetIndex(found.graph)
        self._sources = found.sources
        self._answers: dict[Source, Answers] = {}

    def _known(self, partition: str | None) -> staleness.Known:
        return staleness.Known(self.index, self._store, partition, self._clock.now(), self._ask_of)

    def _ask_of(self, key: str) -> Answers | None:
        """Who answers for the custom mappings of an asset."""
        source = self._sources.get(key)
        if source is None:
            return None
        if source not in self._answers:
            self._answers[source] = Answers(
                lambda ref, keys: ask_isolated(Question(ref=ref, keys=tuple(keys)), source.location, [source.path])
            )
        return self._answers[source]

    def views(self, selection: str | None = None, partition: str | None = None) -> list[AssetView]:
        """The assets that are selected, upstream ones first. Raises UsageError for a wrong selection."""
        row_of = self._known(partition)
        states = staleness.states(self.index, row_of)
        keys = select(selection, self.index, states) if selection else self.index.keys
        found = staleness.assess(self.index, row_of)
        return [self._view(key, row_of(key), found[key]) for key in keys]

    def stale(self, selection: str | None = None, partition: str | None = None) -> list[AssetView]:
        """Those of them that are missing, or would come out differently now."""
        wanted = (Status.STALE.value, Status.MISSING.value)
        return [view for view in self.views(selection, partition) if view.status in wanted or view.causes]

    def show(self, key: str, partition: str | None = None, history: int = 20) -> AssetDetail:
        """One asset, with the last `history` things that happened to it (or to the partition). Raises UsageError when
        there is no such asset."""
        spec = self._spec(key)
        row_of = self._known(partition)
        view = self._view(key, row_of(key), staleness.assess(self.index, row_of)[key])
        events = self._store.asset_history(key, partition=partition, limit=history)
        return AssetDetail(
            asset=view,
            doc=spec.doc,
            downstream=tuple(self.index.downstream[key]),
            metadata=spec.metadata,
            history=[_event(row) for row in events],
        )

    def why(self, key: str) -> WhyView:
        """Why an asset was, or was not, requested when its automation was looked at last. Raises UsageError for one
        that has no automation, or that nobody has looked at."""
        spec = self._spec(key)
        if spec.automation is None:
            raise UsageError(f"asset {key!r} is not made by itself", right="@asset(automation=eager())")
        rows = self._store.definitions.automations([key])
        if not rows or not rows[0].decision:
            raise UsageError(
                f"nobody has looked at asset {key!r} yet",
                right="plait dev FILE, or plait scheduler FILE   # which deploy it, and look",
            )
        decision = msgspec.msgpack.decode(rows[0].decision, type=Decision)
        if decision.held:
            return WhyView(key=key, at=iso(decision.at), held=decision.held)
        tree = explain(spec.automation, decision, lambda each: self.index.upstream[each], self._texts, key)
        return WhyView(
            key=key,
            at=iso(decision.at),
            requested=bool(decision.requested),
            partitions=self._texts(key, KeySet(decision.requested)),
            reasons=why_not(tree) if tree is not None else [],
            tree=tree,
        )

    def _spec(self, key: str) -> AssetSpec:
        spec = self.index.specs.get(key)
        if spec is None and not self.index.specs:
            raise UsageError(
                f"there is no asset {key!r}: none is deployed",
                right="plait dev FILE, or name its FILE, where that goes",
            )
        if spec is None:
            raise UsageError(f"there is no asset {key!r}", right=f"one of: {', '.join(sorted(self.index.specs)[:20])}")
        return spec

    def _texts(self, key: str, keys: KeySet) -> list[str]:
        """A few ranges of an asset's partitions; nothing for one without."""
        spec = self.index.specs[key]
        if spec.partitions is None:
            return []
        space = space_of(slices_of(spec.partitions), self._store.partitions.keys)
        return [text_of(space, KeySet(each)) for each in keys.ranges[:5]]

    def _view(self, key: str, row: AssetRow | None, stale: Staleness) -> AssetView:
        spec = self.index.specs[key]
        view = AssetView(
            key=key,
            kind=spec.kind.value,
            group=spec.group,
            kinds=spec.kinds,
            owners=spec.owners,
            tags=spec.tags,
            upstream=self.index.upstream[key],
            partitions=_partitions(spec),
            code_version=spec.code_version,
            checks=self._checks(key, row),
            io=spec.io,
            automation=spec.automation is not None,
            place=spec.place,
        )
        if spec.kind is AssetKind.MADE:
            view.status, view.causes = stale.status.value, [cause.text for cause in stale.causes]
        if row is not None:
            view.partition, view.at = row.partition or None, iso(row.at)
            view.run_id, view.data_version = row.run_id, row.data_version
        if spec.freshness is not None:
            report = freshness.check(spec.freshness, row, self._clock.now())
            view.freshness, view.freshness_why = report.state.value, report.why
        return view

    def _checks(self, key: str, row: AssetRow | None) -> list[CheckView]:
        """Its checks, and what they said last of what there is; also those that its function makes by itself."""
        views = {
            check.name: CheckView(name=check.name, blocking=check.blocking, severity=check.severity)
            for check in self.index.checks.get(key, ())
        }
        if row is None:
            return list(views.values())
        for event in self._store.asset_history(key, partition=row.partition, kinds=("check",), limit=50):
            about = _events.decode(event.data)
            view = views.setdefault(
                event.name, CheckView(name=event.name, blocking=about.blocking, severity=about.severity)
            )
            if view.at is None:
                view.passed, view.severity, view.description = about.passed, about.severity, about.description
                view.at = iso(event.at)
        return list(views.values())


def _partitions(spec: AssetSpec) -> str | None:
    if spec.partitions is None:
        return None
    return str(spec.partitions.get("name") or spec.partitions.get("kind"))


def _event(row: AssetEventRow) -> EventView:
    about = _events.decode(row.data)
    return EventView(
        kind=row.kind,
        at=iso(row.at) or "",
        run_id=row.run_id,
        partition=row.partition or None,
        name=row.name or None,
        data_version=about.data_version,
        code_version=about.code_version,
        inputs=about.inputs,
        metadata=about.metadata,
        passed=about.passed,
        severity=about.severity or None,
        description=about.description,
    )
