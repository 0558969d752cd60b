"""Mappings as maths on ranges, against looking at each pair of partitions."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.engine.partitions.answers import Answers, Said
from plait.engine.partitions.keysets import KeySet
from plait.engine.partitions.mappings import Sides, check, default, downstream, upstream
from plait.engine.partitions.spaces import Space, WindowSpace, parse, space_of
from plait.model.errors import DefinitionError
from plait.model.partitions import (
    All,
    ByDimension,
    Custom,
    Dimension,
    Dimensions,
    InTime,
    Last,
    Mapping,
    Multi,
    Names,
    SameKey,
    Single,
    Table,
    Windows,
)

NOW = datetime(2026, 4, 2, 7, tzinfo=UTC).timestamp()


def windows(cron: str, tz: str = "UTC", format_: str = "%Y-%m-%d-%H:%M", start: str = "2026-02-27") -> Windows:
    return Windows(cron=cron, tz=tz, start=datetime.fromisoformat(start), format=format_)


@cache
def times(space: WindowSpace) -> dict[int, tuple[float, float]]:
    """All windows of a space."""
    return {no: space.window(no) for no in space.all(NOW)}


HOURLY = windows("0 * * * *", "Europe/Berlin")
DAILY = windows("0 0 * * *", "Europe/Berlin", "%Y-%m-%d")
LATE = windows("30 2 * * *", "Europe/Berlin")
WEEKLY = windows("0 0 * * 1", "Europe/Berlin", "%Y-%m-%d")
MONTHLY = windows("0 0 1 * *", "UTC", "%Y-%m")
REGIONS = Names(keys=("eu", "us", "asia"))
SOME = Names(keys=("us", "eu", "moon"))


def multi(**dimensions: Single) -> Multi:
    return Multi(dimensions=tuple(Dimension(name=name, of=of) for name, of in sorted(dimensions.items())))


BY_DAY = multi(day=DAILY, region=REGIONS)
BY_HOUR = multi(hour=windows("0 * * * *", "Europe/Berlin", start="2026-03-28"), region=REGIONS)
FEW = multi(day=windows("0 0 * * *", "Europe/Berlin", start="2026-03-26"), region=REGIONS)

PAIRS: list[tuple[Mapping, Windows | Names | Multi, Windows | Names | Multi]] = [
    (SameKey(), DAILY, DAILY),
    (SameKey(), REGIONS, SOME),
    (InTime(), DAILY, HOURLY),
    (InTime(), HOURLY, DAILY),
    (InTime(), WEEKLY, DAILY),
    (InTime(), MONTHLY, DAILY),
    (InTime(), DAILY, MONTHLY),
    (InTime(), WEEKLY, LATE),
    (InTime(first=-1, last=-1), DAILY, DAILY),
    (InTime(first=-6, last=0), DAILY, DAILY),
    (InTime(first=-1, last=1), WEEKLY, HOURLY),
    (InTime(first=1, last=2), HOURLY, DAILY),
    (All(), REGIONS, DAILY),
    (Last(count=3), REGIONS, DAILY),
    (Table(upstream={"eu": ("us", "moon"), "us": ("us",)}), REGIONS, SOME),
    (Dimensions(by=(ByDimension(upstream="region", downstream=""),)), REGIONS, BY_DAY),
    (Dimensions(by=(ByDimension(upstream="", downstream="region"),)), BY_DAY, REGIONS),
    (Dimensions(by=(ByDimension(upstream="", downstream="day", mapping=InTime()),)), BY_DAY, WEEKLY),
    (
        Dimensions(
            by=(
                ByDimension(upstream="hour", downstream="day", mapping=InTime()),
                ByDimension(upstream="region", downstream="region"),
            )
        ),
        FEW,
        BY_HOUR,
    ),
]


def looked_at(mapping: Mapping, down: Space, up: Space) -> Callable[[int], set[int]]:
    """What each downstream partition is made from, by comparing it with each upstream one."""
    ups = list(up.all(NOW))

    def single(mapping: Mapping, down: Space, up: Space, no: int, ups: list[int]) -> set[int]:
        match mapping:
            case SameKey():
                return {each for each in ups if up.key(each) == down.key(no)}
            case InTime():
                assert isinstance(down, WindowSpace)
                assert isinstance(up, WindowSpace)
                begin, end = down.window(no + mapping.first)[0], down.window(no + mapping.last)[1]
                return {no for no, window in times(up).items() if window[0] < end and begin < window[1]}
            case All():
                return set(ups)
            case Last():
                return set(ups[-mapping.count :])
            case Table():
                return {each for each in ups if up.key(each) in mapping.upstream.get(down.key(no), ())}
            case _:
                raise NotImplementedError

    def of(no: int) -> set[int]:
        if not isinstance(mapping, Dimensions):
            return single(mapping, down, up, no, ups)
        found = set(ups)
        for each in mapping.by:
            below, above = dimension(down, each.downstream), dimension(up, each.upstream)
            mine = part(down, no, each.downstream)
            fits = single(each.mapping, below, above, mine, list(above.all(NOW)))
            found = {one for one in found if part(up, one, each.upstream) in fits}
        return found

    return of


def dimension(space: Space, name: str) -> Space:
    return space.parts[name] if name else space  # type: ignore[attr-defined]


def part(space: Space, no: int, name: str) -> int:
    return space.split(no)[name] if name else no  # type: ignore[attr-defined]


@settings(deadline=None, max_examples=8)
@given(data=st.data())
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0].__class__.__name__}-{PAIRS.index(pair)}")
def test_both_directions_are_what_looking_at_each_pair_finds(pair: tuple, data: st.DataObject) -> None:
    """Upstream and downstream of any set."""
    mapping, down, up = pair[0], space_of(pair[1]), space_of(pair[2])
    sides = Sides(down, up, NOW)
    check(mapping, down, up)
    of = looked_at(mapping, down, up)
    downs, ups = list(down.all(NOW)), list(up.all(NOW))
    some = data.draw(st.sets(st.sampled_from(downs), max_size=8))
    assert set(upstream(mapping, KeySet.of(some), sides).keys) == {each for no in some for each in of(no)}
    others = data.draw(st.sets(st.sampled_from(ups), max_size=4))
    near = downs if len(downs) < 150 else downs[::10]
    expected = {no for no in near if of(no) & others}
    got = set(downstream(mapping, KeySet.of(others), sides))
    assert got & set(near) == expected
    assert all(of(no) & others for no in got)


def test_what_is_not_there_is_told() -> None:
    """The first day is made from the day before it, which is not there."""
    space = space_of(DAILY)
    first = space.all(NOW).page(0, 1)
    found = upstream(InTime(first=-1, last=-1), first, Sides(space, space, NOW))
    assert not found.keys
    assert [space.key(no) for no in found.missing] == ["2026-02-26"]


def test_a_million_partitions_are_mapped_at_once() -> None:
    """Range by range: 1,000,000 hours to their days."""
    hours = space_of(Windows(cron="0 * * * *", start=datetime(1970, 1, 1), format=HOURLY.format))  # noqa: DTZ001  a wall
    days = space_of(Windows(cron="0 0 * * *", start=datetime(1970, 1, 1)))  # noqa: DTZ001  a wall
    now = datetime(2090, 1, 1, tzinfo=UTC).timestamp()
    found = upstream(InTime(), days.all(now), Sides(days, hours, now))
    assert len(found.keys) == len(hours.all(now)) == 24 * len(days.all(now)) > 1_000_000
    assert not found.missing


def test_what_goes_without_saying() -> None:
    """The same key, the time, the one dimension that both have; else nobody guesses."""
    daily, hourly, regions, some, by_day = (space_of(each) for each in (DAILY, HOURLY, REGIONS, SOME, BY_DAY))
    assert default(daily, daily) == SameKey()
    assert default(daily, hourly) == InTime()
    assert default(daily, None) == default(None, daily) == All()
    assert default(by_day, regions) == Dimensions(by=(ByDimension(upstream="", downstream="region"),))
    assert default(daily, by_day) == Dimensions(by=(ByDimension(upstream="day", downstream=""),))
    with pytest.raises(DefinitionError, match="nothing says"):
        default(regions, some)


def test_a_function_of_the_users_is_asked_for() -> None:
    """By whoever can call it (C10); where nobody can, that is said."""
    regions, some = space_of(REGIONS), space_of(SOME)

    def ask(ref: str, keys: Sequence[str]) -> Said:
        assert ref == "shop:both"
        return Said("shop.py:1", tuple(("moon", key) if key == "us" else ("moon",) for key in keys))

    sides = Sides(regions, some, NOW, Answers(ask))
    found = upstream(Custom(ref="shop:both"), parse(regions, "us"), sides)
    assert [some.key(no) for no in found.keys] == ["us", "moon"]
    assert downstream(Custom(ref="shop:both"), parse(some, "moon"), sides) == regions.all(NOW)
    with pytest.raises(DefinitionError, match="shop:both"):
        upstream(Custom(ref="shop:both"), parse(regions, "us"), Sides(regions, some, NOW))


@pytest.mark.parametrize(
    ("mapping", "message"),
    [(InTime(), "only windows"), (Table(upstream={"mars": ("eu",)}), "no partition 'mars'"),
     (Dimensions(by=(ByDimension(upstream="day", downstream=""),)), "have none called 'day'")],
)  # fmt: skip
def test_a_mapping_that_does_not_fit_is_told(mapping: Mapping, message: str) -> None:
    """When it is written, not when it is used."""
    with pytest.raises(DefinitionError, match=message):
        check(mapping, space_of(REGIONS), space_of(SOME))
