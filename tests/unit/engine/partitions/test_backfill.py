"""A backfill as decisions: whatever ends in whatever order, and whenever it is read from its store again, everything is
run once, after what it is made from, and never more at a time than wanted."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.engine import backfill as b
from plait.engine.partitions.keysets import KeySet
from plait.engine.partitions.mappings import Sides, upstream
from plait.engine.partitions.spaces import parse, space_of
from plait.model.backfills import OVER, WHOLE, BackfillPlan, BackfillState, Group, Need
from plait.model.graph import Graph
from plait.model.ids import RunId
from plait.model.partitions import InTime, SameKey, Slices, Windows

NOW = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
DAYS = Windows(cron="0 0 * * *", start=datetime(2026, 1, 1))  # noqa: DTZ001  walls
WEEKS = Windows(cron="0 0 * * 1", start=datetime(2026, 1, 1))  # noqa: DTZ001  walls
MONTHS = Windows(cron="0 0 1 * *", start=datetime(2026, 1, 1))  # noqa: DTZ001  walls


def group(name: str, slices: Slices | None, *needs: Need, text: str = "") -> Group:
    """All of its partitions, or those of a text."""
    if slices is None:
        keys = KeySet((0, 1))
    else:
        space = space_of(slices)
        keys = parse(space, text) if text else space.all(NOW)
    return Group(name=name, graph=Graph(name=name, kind="assets"), targets=keys.bounds, slices=slices, needs=needs)


DAILY = group("days", DAYS)
PLANS = {
    "days": (DAILY,),
    "chain": (DAILY, group("more", DAYS, Need(group=0, mapping=SameKey()))),
    "weeks": (DAILY, group("weeks", WEEKS, Need(group=0, mapping=InTime()))),
    "self": (group("balance", DAYS, Need(group=0, mapping=InTime(first=-1, last=-1))),),
    "whole": (DAILY, group("total", None, Need(group=0)), group("months", MONTHS, Need(group=1))),
    "diamond": (
        DAILY,
        group("weeks", WEEKS, Need(group=0, mapping=InTime())),
        group("months", MONTHS, Need(group=0, mapping=InTime())),
        group("total", None, Need(group=1), Need(group=2)),
    ),
}


def plan(name: str, **more: object) -> BackfillPlan:
    return BackfillPlan(groups=PLANS[name], target="t.py", now=NOW, **more)  # type: ignore[arg-type]


def carried_out(
    plan: BackfillPlan, order: "st.DrawFn | None" = None, fails: frozenset[int] = frozenset(), data: object = None
) -> tuple[b.Backfill, list[b.Start], BackfillState]:
    """Until it is over; after each step it is as read from a store."""
    cursor = b.encode(b.begin(plan))
    state, started = BackfillState.RUNNING, list[b.Start]()
    for _ in range(2000):
        work = b.Backfill(*b.decode(b.encode(plan), cursor))
        for start in work.starts():
            check_needs(work, start)
            work.began(start, RunId(f"r{len(started)}"))
            started.append(start)
        assert len(work.cursor.flights) <= plan.most
        state = work.state(state)
        if state in OVER:
            return work, started, state
        flights = work.cursor.flights
        flight = data.draw(st.sampled_from(flights)) if data is not None else flights[0]  # type: ignore[attr-defined]
        work.ended(flight, ok=int(flight.run_id[1:]) not in fails)
        cursor = b.encode(work.cursor)
    raise AssertionError("it does not end")


def check_needs(work: b.Backfill, start: b.Start) -> None:
    """What it is made from is done, as far as it is of this backfill."""
    this = work.plan.groups[start.group]
    for need in this.needs:
        above = work.plan.groups[need.group]
        keys = KeySet(above.targets)
        if need.mapping is not None and this.slices is not None and above.slices is not None:
            sides = Sides(space_of(this.slices), space_of(above.slices), NOW)
            keys &= upstream(need.mapping, KeySet.span(start.start, start.stop), sides).keys
        if need.group == start.group:
            keys -= KeySet.span(start.start, start.stop)
        assert keys.issubset(KeySet(work.cursor.groups[need.group].done))


@settings(deadline=None, max_examples=15)
@given(
    st.sampled_from(sorted(PLANS)),
    st.integers(1, 9),
    st.sampled_from([1, 2, 7, WHOLE]),
    st.booleans(),
    st.frozensets(st.integers(0, 40), max_size=3),
    st.data(),
)
def test_everything_is_run_once(
    name: str, most: int, size: int, backward: bool, fails: frozenset[int], data: st.DataObject
) -> None:
    """And what is made from what failed is skipped."""
    made = plan(name, most=most, size=size, backward=backward)
    work, started, state = carried_out(made, fails=fails, data=data)
    for number, each in enumerate(made.groups):
        flown = [KeySet.span(start.start, start.stop) for start in started if start.group == number]
        assert sum(len(keys) for keys in flown) == len(KeySet.ranges_of(edge for keys in flown for edge in keys.ranges))
        progress = work.progress(number)
        assert progress.total == len(KeySet(each.targets)) == progress.done + progress.failed + progress.skipped
        assert progress.left == progress.running == 0
    failed = any(int(no) < len(started) for no in fails)
    assert state is (BackfillState.FAILED if failed else BackfillState.SUCCESS)
    assert len({b.occurrence_of("x", start) for start in started}) == len(started)


def test_forward_and_backward() -> None:
    """In order; what is made from its own past goes forward all the same."""
    first = carried_out(plan("days", most=1))[1]
    assert [start.text for start in first[:2]] == ["2026-01-01", "2026-01-02"]
    last = carried_out(plan("days", most=1, backward=True))[1]
    assert [start.text for start in last[:2]] == ["2026-02-28", "2026-02-27"]
    own = carried_out(plan("self", most=5, backward=True))[1]
    assert [start.text for start in own] == [start.text for start in first]


def test_batches_and_single_runs() -> None:
    """A text tells what a run is about."""
    assert [start.text for start in carried_out(plan("days", size=30))[1]] == [
        "2026-01-01...2026-01-30", "2026-01-31...2026-02-28"
    ]  # fmt: skip
    assert [start.text for start in carried_out(plan("days", size=WHOLE))[1]] == ["2026-01-01...2026-02-28"]
    assert [start.text for start in carried_out(plan("days", size=30, backward=True))[1]] == [
        "2026-01-31...2026-02-28", "2026-01-01...2026-01-30"
    ]  # fmt: skip


def test_a_failure_skips_what_is_made_from_it() -> None:
    """All later days, of what is made from the day before; the week it is in, of weeks."""
    work, started, _ = carried_out(plan("self", most=1), fails=frozenset({3}))
    assert len(started) == 4
    assert work.progress(0) == b.Progress(total=59, done=3, failed=1, skipped=55, running=0)
    work, _, state = carried_out(plan("weeks", most=1), fails=frozenset({10}))
    assert (work.progress(1).skipped, work.progress(1).done, state) == (1, 6, BackfillState.FAILED)


def test_what_waits_begins_before_what_does_not() -> None:
    """A week is made as soon as its days are there, not when all days are."""
    started = carried_out(plan("weeks", most=1))[1]
    first = next(no for no, start in enumerate(started) if start.group == 1)
    assert first == 11  # the first week begins on January 5 and ends with the 11th day of the year


def test_pausing_and_cancelling() -> None:
    """A paused one stays so when nothing is on its way; one that is being cancelled is over then."""
    work = b.Backfill(plan("days"), b.begin(plan("days")))
    assert work.state(BackfillState.PAUSED) is BackfillState.PAUSED
    assert work.state(BackfillState.CANCELLING) is BackfillState.CANCELLED
    (start, *_) = work.starts()
    work.began(start, RunId("r"))
    assert work.state(BackfillState.CANCELLING) is BackfillState.CANCELLING


@pytest.mark.parametrize("backward", [False, True])
def test_a_million_partitions(backward: bool) -> None:
    """The next runs are found at once, however many there are; the cursor stays small."""
    hours = Windows(cron="0 * * * *", start=datetime(1900, 1, 1), format="%Y-%m-%d-%H:%M")  # noqa: DTZ001  a wall
    many = BackfillPlan(
        groups=(group("hours", hours), group("days", DAYS, Need(group=0, mapping=InTime()))),
        target="t.py", now=NOW, most=1000, backward=backward,
    )  # fmt: skip
    work = b.Backfill(many, b.begin(many))
    assert work.progress(0).total > 1_000_000
    for _ in range(20):
        for start in work.starts():
            work.began(start, RunId("r"))
        for flight in list(work.cursor.flights):
            work.ended(flight, ok=True)
    assert work.progress(0).done + work.progress(1).done == 20 * b.AT_ONCE
    assert len(b.encode(work.cursor)) < 1000


def test_assets_are_grouped() -> None:
    """Those that are alike are made by one run, as far as none then waits for a later one."""
    needs: dict[str, dict[str, bool]] = {
        "raw": {}, "clean": {"raw": True}, "week": {"clean": False}, "report": {"clean": True, "week": False},
        "other": {}, "trend": {"raw": False}, "sum": {"sum": False, "raw": True},
    }  # fmt: skip
    alike = {"raw": "d", "clean": "d", "week": "w", "report": "d", "other": "d", "trend": "d", "sum": None}
    found = b.groups_of(list(needs), needs, alike)
    assert found == [["raw", "clean", "other"], ["week"], ["report", "trend"], ["sum"]]
