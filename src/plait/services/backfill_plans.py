"""Planning a backfill: from what somebody asks for to runs, and a preview of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from plait.authoring.definitions import Definitions, Workflow
from plait.engine import occurrences
from plait.engine.assets.index import AssetIndex
from plait.engine.backfill import Backfill, begin, groups_of
from plait.engine.conditions import apart
from plait.engine.partitions import edges, mappings
from plait.engine.partitions.keysets import EMPTY, KeySet
from plait.engine.partitions.mappings import AskCode, Sides
from plait.engine.partitions.spaces import DynamicKeys, MultiSpace, Space, WindowSpace, parse, space_of
from plait.engine.schedule_specs import TIMED, timed
from plait.engine.schedules import moment
from plait.model.assets import AssetKind
from plait.model.backfills import BackfillPlan, Group, Need
from plait.model.errors import ParameterError, UsageError, UserError
from plait.model.graph import Graph
from plait.model.partitions import InTime, Names, Slices, Windows
from plait.model.schedules import Cron, Edge
from plait.model.states import RunState
from plait.ports import Clock, RunStore
from plait.services.partitions import PartitionStatus, Status, StatusSets, texts

MOST_DATES = 100_000
"""Dates of a schedule that is not a cron expression, which are listed."""
DATES = "%Y-%m-%dT%H:%M:%S"
ONE = KeySet((0, 1))
"""What an asset without partitions has: one."""


@dataclass(frozen=True)
class Asked:
    """What somebody asks for. `partitions`: texts; `first` and `last`: days or points in time, both of which count;
    `only`: partitions in these states; `size`: partitions a run makes, 0 for whole ranges."""

    partitions: tuple[str, ...] = ()
    first: datetime | None = None
    last: datetime | None = None
    only: tuple[Status, ...] = ()
    size: int = 1
    most: int = 4
    backward: bool = False


class SkippedView(msgspec.Struct, kw_only=True):
    """Partitions that a backfill leaves out, and why."""

    count: int
    reason: str
    ranges: list[str] = []


class GroupView(msgspec.Struct, kw_only=True):
    """What runs of a backfill make: for how many partitions, in how many runs. `first` and `last` are the partitions
    with which they begin and end; `after` the groups (by name) that they wait for."""

    name: str
    assets: list[str]
    partitions: int
    runs: int
    first: str | None = None
    last: str | None = None
    ranges: list[str] = []
    after: list[str] = []
    skipped: list[SkippedView] = []


class PlanView(msgspec.Struct, kw_only=True):
    """A plan for people: `runs` in all, groups in the order in which they come."""

    runs: int
    concurrency: int
    backward: bool
    groups: list[GroupView]


@dataclass
class Planned:
    """A plan, and what it leaves out, by group."""

    plan: BackfillPlan
    skipped: list[list[SkippedView]] = field(default_factory=list[list[SkippedView]])


class Planner:
    """Plans backfills over what a target defines. `ask` calls functions of mappings."""

    def __init__(
        self, store: RunStore, clock: Clock, definitions: Definitions, target: str, ask: AskCode | None = None
    ):
        self._store = store
        self._clock = clock
        self._definitions = definitions
        self._target = target
        self._ask = ask
        self._status = PartitionStatus(store, clock)

    # --- assets -------------------------------------------------------------------------------------------------------

    def assets(self, keys: Sequence[str], asked: Asked, *, session: bool) -> Planned:
        """A plan for these assets. Raises UserError for what does not fit."""
        index = self._definitions.asset_index()
        wanted = [key for key in index.completed(keys) if index.specs[key].kind is AssetKind.MADE]
        if not wanted:
            raise UsageError("none of these assets is made by a function here")
        work = _Assets(self._store, self._status, index, wanted, asked, self._clock.now(), self._ask)
        targets = work.targets()
        groups = work.groups(targets)
        plan = BackfillPlan(
            groups=tuple(self._group(members, targets, work, groups, asked) for members in groups),
            target=self._target,
            now=work.now,
            size=asked.size,
            most=asked.most,
            backward=asked.backward,
            session=session,
        )
        return Planned(plan, [work.skipped(members, targets) for members in groups])

    def _group(
        self,
        members: list[str],
        targets: Mapping[str, KeySet],
        work: "_Assets",
        groups: list[list[str]],
        asked: Asked,
    ) -> Group:
        place = {key: no for no, each in enumerate(groups) for key in each}
        slices = work.slices.get(members[0])
        keys = EMPTY
        for key in members:
            keys |= work.chosen(key, targets[key])
        needs: dict[Need, None] = {}
        for key in members:
            for dep, mapping in work.mappings[key].items():
                if place[dep] != place[key] or dep == key:
                    needs[Need(group=place[dep], mapping=mapping if dep in work.slices and slices else None)] = None
        live = self._definitions.asset_job(members, "assets")
        return Group(
            name=_name_of(members), graph=live.graph, targets=keys.bounds, assets=tuple(members), slices=slices,
            needs=tuple(needs),
        )  # fmt: skip

    # --- workflows ----------------------------------------------------------------------------------------------------

    def workflow(self, workflow: Workflow, params: Mapping[str, Any], asked: Asked, *, session: bool) -> Planned:
        """A plan for a workflow's runs, one for each logical date. Raises UserError for what does not fit."""
        graph = workflow.graph
        now = self._clock.now()
        if asked.partitions:
            raise UsageError("--partitions is for assets; a workflow's runs are for dates", right="--from and --to")
        if asked.first is None or asked.last is None:
            raise UsageError(
                "a backfill of a workflow is from a date to a date", right="--from 2026-01-01 --to 2026-01-31"
            )
        slices, keys = dates_of(graph, asked.first, asked.last, now)
        skipped: list[SkippedView] = []
        if asked.only:
            keys, skipped = self._without(graph.name, slices, keys, asked.only)
        group = Group(name=graph.name, graph=graph, targets=keys.bounds, slices=slices)
        plan = BackfillPlan(
            groups=(group,), target=self._definitions.files.get(graph.name, self._target), now=now, most=asked.most,
            backward=asked.backward, session=session, params=msgspec.json.encode(dict(params)),
        )  # fmt: skip
        return Planned(plan, [skipped])

    def _without(
        self, workflow: str, slices: Slices, keys: KeySet, only: Sequence[Status]
    ) -> tuple[KeySet, list[SkippedView]]:
        """Dates whose last run is in these states; those without a run are missing."""
        space = space_of(slices)
        ok, failed = _dates_run(self._store, workflow, space, keys)
        sets = {Status.FAILED: keys & failed, Status.MISSING: keys - ok - failed}
        left = EMPTY
        for each in only:
            left |= sets.get(each, EMPTY)
        reasons = {"has a run that succeeded": keys & ok, "failed": keys & failed, "has no run": keys - ok - failed}
        return left, _skipped(space, {reason: part - left for reason, part in reasons.items()})


def _name_of(members: Sequence[str]) -> str:
    return members[0] if len(members) == 1 else f"{members[0]} and {len(members) - 1} more"


class _Assets:
    """The assets of a plan: their partitions, how they map, and what is known of them."""

    def __init__(
        self,
        store: RunStore,
        status: PartitionStatus,
        index: AssetIndex,
        keys: Sequence[str],
        asked: Asked,
        now: float,
        ask: AskCode | None,
    ):
        self._store = store
        self._index = index
        self._keys = keys
        self._asked = asked
        self._ask = ask
        self.now = now
        specs = {key: index.specs[key] for key in keys}
        self.slices: dict[str, Slices] = {
            key: edges.slices_of(spec.partitions) for key, spec in specs.items() if spec.partitions is not None
        }
        self.spaces: dict[str, Space] = status.spaces(self.slices)
        self.mappings = {
            key: {
                dep.key: edges.mapping_of(spec.partitions, specs[dep.key].partitions, dep.mapping)
                for dep in spec.deps
                if dep.key in specs
            }
            for key, spec in specs.items()
        }
        self._sets: dict[str, StatusSets] = status.sets(self.spaces)
        self._lacking: dict[str, list[tuple[str, KeySet]]] = {}
        """What of an asset is left out because something of another one, which is named, is neither there nor made."""

    # --- which partitions ---------------------------------------------------------------------------------------------

    def targets(self) -> dict[str, KeySet]:
        """What of each asset is asked for. Those at the top are read as they are written; what is made from them, and
        has other partitions, follows."""
        found: dict[str, KeySet] = {}
        roots: set[str] = set()
        for key in self._keys:
            space = self.spaces.get(key)
            if space is None:
                found[key] = ONE
                continue
            above = [dep for dep in self.mappings[key] if dep in self.spaces and dep != key]
            if not above or space.name in roots:
                roots.add(space.name)
                found[key] = self._read(key, space)
            else:
                found[key] = self._made_from(key, space, {dep: found[dep] for dep in above})
        if self._asked.partitions and not self.spaces:
            raise UsageError("none of these assets has partitions", right="leave out --partitions, --from and --to")
        return found

    def _read(self, key: str, space: Space) -> KeySet:
        there = space.all(self.now)
        found = there
        if self._asked.partitions:
            found = EMPTY
            for text in self._asked.partitions:
                try:
                    found |= parse(space, text, self.now)
                except ParameterError as error:
                    raise ParameterError(f"asset {key!r}: {error.what}", right=error.right) from None
        return found & self._in_time(key, space, there)

    def _in_time(self, key: str, space: Space, there: KeySet) -> KeySet:
        first, last = self._asked.first, self._asked.last
        if first is None and last is None:
            return there
        if isinstance(space, MultiSpace):
            timed = [name for name, part in space.parts.items() if isinstance(part, WindowSpace)]
            if len(timed) == 1:
                parts = {name: part.all(self.now) for name, part in space.parts.items()}
                own = space.parts[timed[0]]
                parts[timed[0]] = self._in_time(key, own, parts[timed[0]])
                return space.product(parts)
        if not isinstance(space, WindowSpace):
            if self._asked.partitions:
                return there
            raise UsageError(f"the partitions of {key!r} are not in time", right="--partitions KEY, or KEY...KEY")
        start = space.since(first) if first is not None else there.bounds[0] if there else 0
        stop = space.since(after(last)) if last is not None else there.bounds[-1] if there else 0
        return there.within(start, stop)

    def _made_from(self, key: str, space: Space, above: Mapping[str, KeySet]) -> KeySet:
        found = EMPTY
        for dep, keys in above.items():
            mapping = self.mappings[key][dep]
            if mapping is not None:
                sides = Sides(space, self.spaces[dep], self.now, self._ask)
                found |= mappings.downstream(mapping, keys, sides)
        for dep, keys in above.items():
            mapping = self.mappings[key][dep]
            if mapping is not None:
                sides = Sides(space, self.spaces[dep], self.now, self._ask)
                gone = self.spaces[dep].all(self.now) - keys - self._sets[dep].materialized
                lacking = found & mappings.downstream(mapping, gone, sides)
                if lacking:
                    self._lacking.setdefault(key, []).append((dep, lacking))
                    found -= lacking
        return found

    # --- which of them ------------------------------------------------------------------------------------------------

    def chosen(self, key: str, target: KeySet) -> KeySet:
        """Of what is asked for, what is in the wanted states."""
        if not self._asked.only:
            return target
        if key not in self.spaces:
            there = self._store.asset(key, "") is not None
            return EMPTY if there or Status.MISSING not in self._asked.only else target
        sets, found = self._sets[key], EMPTY
        for each in self._asked.only:
            found |= sets.of(each) & target
        return found

    def skipped(self, members: Sequence[str], targets: Mapping[str, KeySet]) -> list[SkippedView]:
        """What of a group is left out, and why: what none of its assets needs, as a run makes all of them."""
        lacking = [
            SkippedView(
                count=len(keys), reason=f"made from partitions of {dep} that are missing, and not asked for",
                ranges=texts(self.spaces[key], keys, 5),
            )
            for key in members
            for dep, keys in self._lacking.get(key, ())
        ]  # fmt: skip
        return [*lacking, *self._left_out(members, targets)]

    def _left_out(self, members: Sequence[str], targets: Mapping[str, KeySet]) -> list[SkippedView]:
        if not self._asked.only:
            return []
        chosen, space = EMPTY, self.spaces.get(members[0])
        for key in members:
            chosen |= self.chosen(key, targets[key])
        if space is None:
            return [] if chosen else [SkippedView(count=1, reason="is materialized")]
        sets, left = self._sets[members[0]], targets[members[0]] - chosen
        reasons = {
            "materialized": left & sets.materialized,
            "failed": left & sets.failed,
            "in progress": left & sets.in_progress,
            "missing": left & sets.missing,
        }
        return _skipped(space, reasons)

    def groups(self, targets: Mapping[str, KeySet]) -> list[list[str]]:
        """The assets, as groups that one run makes."""
        needs: dict[str, dict[str, bool]] = {}
        alike: dict[str, object] = {}
        for key in self._keys:
            own = self._index.specs[key].partitions
            needs[key] = {
                dep: edges.is_own(mapping, own, self._index.specs[dep].partitions)
                or self._index.specs[dep].step == self._index.specs[key].step
                for dep, mapping in self.mappings[key].items()
            }
            alone = isinstance(self.mappings[key].get(key), InTime)
            alike[key] = None if alone else (self.slices.get(key), targets[key].bounds)
        return groups_of(self._keys, needs, alike)


def _skipped(space: Space, reasons: Mapping[str, KeySet]) -> list[SkippedView]:
    return [
        SkippedView(count=len(keys), reason=reason, ranges=texts(space, keys, 5))
        for reason, keys in reasons.items()
        if keys
    ]


# --- dates of workflows -----------------------------------------------------------------------------------------------


def after(last: datetime) -> datetime:
    """The wall (or moment) before which everything counts that is not after `last`: a day counts as a whole."""
    whole = (last.hour, last.minute, last.second) == (0, 0, 0)
    return last + (timedelta(days=1) if whole else timedelta(seconds=1))


def dates_of(graph: Graph, first: datetime, last: datetime, now: float) -> tuple[Slices, KeySet]:
    """The logical dates of a workflow between two, as partitions: those of its schedule, or days for one without.
    Raises UserError where it has none."""
    parts = (part for each in graph.triggers for part in apart(each))
    trigger = next((part for part in parts if part.kind in TIMED), None)
    if trigger is None:
        if not any(param.source == "logical_date" for param in graph.params):
            raise UsageError(
                f"{graph.name!r} has neither a schedule nor a parameter for its date",
                right=f"def {graph.name}(day: date = logical_date()): ...",
            )
        slices = Windows(cron="0 0 * * *", start=_wall(first), end=_wall(after(last)), name="daily")
        return slices, _whole(slices)
    when = timed(trigger.kind, trigger.spec)
    if isinstance(when, Cron) and when.width is None:
        slices = Windows(
            cron=when.cron, tz=when.tz, start=_wall(first), end=_wall(after(last)), format=DATES, name="scheduled"
        )
        keys = _whole(slices)
        space = space_of(slices)
        assert isinstance(space, WindowSpace)  # that of windows
        due = space.overlapping(now, now + 1).first  # the last one that has come
        keys = keys.within(keys.first, due + (when.logical is Edge.END)) if keys else keys
        outside = [no for no in (keys.bounds[:1] if keys else ()) if _is_outside(when, space, no)]
        if outside:
            keys = KeySet.of(no for no in keys if not _is_outside(when, space, no))
        return slices, keys
    found: list[str] = []
    at = occurrences.following(when, _moment(first) - 1)
    end = min(_moment(after(last)), now)
    while at is not None and at < end:
        found.append(moment(occurrences.interval_of(when, at)[0] if when.logical is Edge.START else at))
        if len(found) > MOST_DATES:
            raise UsageError(f"the schedule has more than {MOST_DATES:,} dates there", right="a shorter time")
        at = occurrences.following(when, at)
    if not found:
        raise UsageError(f"{graph.name!r} has no date there that has come")
    names = Names(keys=tuple(found))
    return names, KeySet.span(0, len(found))


def _is_outside(when: Cron, space: WindowSpace, number: int) -> bool:
    """Whether the schedule itself begins later, or was over."""
    at = space.window(number)[0]
    return (when.start is not None and at < when.start.timestamp()) or (
        when.end is not None and at >= when.end.timestamp()
    )


def _whole(slices: Windows) -> KeySet:
    """All windows that begin between its start and its end."""
    space = space_of(slices)
    assert isinstance(space, WindowSpace)  # that of windows
    assert slices.end is not None  # both callers say it
    return KeySet.span(space.first, space.since(slices.end))


def _wall(at: datetime) -> datetime:
    return at.replace(tzinfo=None)


def _moment(at: datetime) -> float:
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def _dates_run(store: RunStore, workflow: str, space: Space, keys: KeySet) -> tuple[KeySet, KeySet]:
    """The dates whose newest run succeeded, or failed; looking at the newest runs first."""
    seen: dict[int, bool | None] = {}
    rows = store.list_runs(workflow=workflow, limit=500)
    while rows and len(seen) < len(keys):
        for row in rows:
            number = _number(space, row.logical_date) if row.logical_date is not None else None
            if number is not None and number in keys and number not in seen:
                seen[number] = _came_to(RunState(row.state))
        rows = store.list_runs(workflow=workflow, before=rows[-1].run_id, limit=500)
    ok = KeySet.of(number for number, good in seen.items() if good is not False)
    return ok, KeySet.of(number for number, good in seen.items() if good is False)


def _came_to(state: RunState) -> bool | None:
    if state is RunState.SUCCESS:
        return True
    return False if state in (RunState.FAILED, RunState.CRASHED, RunState.CANCELLED) else None


def _number(space: Space, logical: str) -> int | None:
    try:
        if isinstance(space, WindowSpace):
            found = space.since(datetime.fromisoformat(logical))
            return found if space.window(found)[0] == _moment(datetime.fromisoformat(logical)) else None
        return space.ordinal(logical)
    except (UserError, ValueError, OverflowError):
        return None


# --- for people -------------------------------------------------------------------------------------------------------


def view_of(planned: Planned, dynamic: DynamicKeys) -> PlanView:
    """A plan for people. `dynamic` answers for keys that the store has."""
    plan = planned.plan
    work = Backfill(plan, begin(plan), dynamic=dynamic)
    groups: list[GroupView] = []
    for number, group in enumerate(plan.groups):
        keys = KeySet(group.targets)
        ends = work.ends(number)
        groups.append(
            GroupView(
                name=group.name,
                assets=list(group.assets),
                partitions=len(keys),
                runs=work.runs(number),
                first=ends[0] if ends else None,
                last=ends[1] if ends else None,
                ranges=work.ranges(number),
                after=[plan.groups[need.group].name for need in group.needs if need.group != number],
                skipped=planned.skipped[number] if planned.skipped else [],
            )
        )
    return PlanView(
        runs=sum(each.runs for each in groups), concurrency=plan.most, backward=plan.backward, groups=groups
    )
