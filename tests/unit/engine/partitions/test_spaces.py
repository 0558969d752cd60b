"""Keys and their numbers: both ways, over every change of the clock; what is there, and what people write."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plait.engine.occurrences import following, latest
from plait.engine.partitions.keysets import KeySet
from plait.engine.partitions.spaces import MultiSpace, WindowSpace, parse, pieces, space_of, text_of
from plait.model.errors import DefinitionError, ParameterError
from plait.model.partitions import Dimension, Dynamic, Multi, Names, Windows
from plait.model.schedules import Cron

CRONS = ["0 0 * * *", "0 * * * *", "*/15 * * * *", "30 2 * * *", "0 0 * * 0", "0 0 1 * *", "0 6 L * *",
         "0 9 * * MON-FRI", "15 3 2,17 */2 *"]  # fmt: skip
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Caracas", "Asia/Kathmandu",
         "America/Sao_Paulo", "Africa/Casablanca", "Pacific/Apia"]  # fmt: skip
moments = st.floats(0, 2.2e9).map(round)


def windows(cron: str, tz: str = "UTC", **more: Any) -> WindowSpace:
    """A space of windows from 1970 on, whose keys have the minute."""
    given = {"start": datetime(1970, 1, 2), "format": "%Y-%m-%d-%H:%M", **more}  # noqa: DTZ001  walls
    found = space_of(Windows(cron=cron, tz=tz, **given))
    assert isinstance(found, WindowSpace)
    return found


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(CRONS), st.sampled_from(ZONES), moments)
@example("0 * * * *", "Australia/Lord_Howe", 1712415600)
@example("*/15 * * * *", "America/Caracas", 1197183600)
@example("30 2 * * *", "Europe/Berlin", 1774746000)
def test_windows_are_the_times_of_the_schedule(cron: str, tz: str, at: int) -> None:
    """A window begins at a time of the same cron expression and ends at the next one; the next ordinal is the next
    window. So both are right where clocks change, or neither."""
    space, when = windows(cron, tz), Cron(cron=cron, tz=tz)
    begin = latest(when, at)
    assert begin is not None
    (number,) = space.overlapping(at, at + 1)
    if cron == "0 9 * * MON-FRI" or space.window(number)[0] != space.window(number)[1]:
        assert space.window(number) == (begin, following(when, at))
    assert space.window(number + 1)[0] == space.window(number)[1]
    assert space.window(number - 1)[1] == space.window(number)[0]


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(CRONS), st.sampled_from(ZONES), moments)
@example("0 * * * *", "America/New_York", 1730613600)
@example("0 * * * *", "America/New_York", 1730610000)
@example("0 * * * *", "Australia/Lord_Howe", 1712415600)
def test_keys_and_numbers_are_one_to_one(cron: str, tz: str, at: int) -> None:
    """Around any moment, each number has its own key, which gives the number back."""
    space = windows(cron, tz)
    (near,) = space.overlapping(at, at + 1)
    numbers = range(max(space.first, near - 3), near + 4)
    keys = [space.key(number) for number in numbers]
    assert len(set(keys)) == len(keys)
    assert [space.ordinal(key) for key in keys] == list(numbers)


def test_an_hour_that_comes_twice_has_two_keys() -> None:
    """The second one says its offset from UTC, as in Dagster; an hour that is left out has none."""
    space = windows("0 * * * *", "America/New_York")
    first = space.ordinal("2024-11-03-01:00")
    assert [space.key(first + no) for no in range(3)] == [
        "2024-11-03-01:00", "2024-11-03-01:00-0500", "2024-11-03-02:00"
    ]  # fmt: skip
    gap = space.ordinal("2024-03-10-01:00")
    assert space.key(gap + 1) == "2024-03-10-03:00"
    with pytest.raises(ParameterError, match="no cron partition begins at"):
        space.ordinal("2024-03-10-02:00")


def test_days_are_as_long_as_they_are() -> None:
    """23 and 25 hours where the clock changes."""
    space = windows("0 0 * * *", "Europe/Berlin", format="%Y-%m-%d")
    lengths = {key: end - begin for key in ("2026-03-29", "2026-10-25", "2026-10-26")
               for begin, end in (space.window(space.ordinal(key)),)}  # fmt: skip
    assert [hours / 3600 for hours in lengths.values()] == [23, 25, 24]


@pytest.mark.parametrize(
    ("cron", "tz", "start", "other"),
    [("0 * * * *", "Europe/Berlin", "2013-01-01", "2020-06-01"), ("0 0 * * *", "UTC", "2013-01-01", "1980-01-01"),
     ("0 0 1 * *", "Asia/Tokyo", "2013-01-01", "2013-05-17")],
)  # fmt: skip
def test_a_number_means_the_same_wherever_windows_begin(cron: str, tz: str, start: str, other: str) -> None:
    """So what is recorded of an asset stays right when its first window is moved."""
    one, two = (windows(cron, tz, start=datetime.fromisoformat(each)) for each in (start, other))
    number = one.ordinal(key := "2024-01-01-00:00")
    assert (two.ordinal(key), two.name) == (number, one.name)


def test_what_is_there() -> None:
    """Windows that have ended; with an offset ahead of time, or behind it; never from the end on."""
    now = datetime(2026, 1, 10, 12, tzinfo=UTC).timestamp()

    def last(**more: Any) -> str:
        space = windows("0 0 * * *", start=datetime(2026, 1, 1), format="%Y-%m-%d", **more)  # noqa: DTZ001  a wall
        return space.key(space.all(now).last)

    assert last() == "2026-01-09"
    assert last(end_offset=1) == "2026-01-10"
    assert last(end_offset=-2) == "2026-01-07"
    assert last(end=datetime(2026, 1, 5)) == "2026-01-04"  # noqa: DTZ001  a wall
    assert last(end=datetime(2026, 1, 5), end_offset=3) == "2026-01-04"  # noqa: DTZ001  a wall
    assert not windows("0 0 * * *", start=datetime(2030, 1, 1)).all(now)  # noqa: DTZ001  a wall


def test_a_million_windows_are_two_numbers() -> None:
    """Nothing is listed: 120 years of hours are a range."""
    space = windows("0 * * * *", "Europe/Berlin")
    there = space.all(datetime(2090, 1, 1, tzinfo=UTC).timestamp())
    assert len(there) > 1_000_000
    assert len(there.bounds) == 2
    assert [space.key(each) for each in there.page(1_000_000, 2)] == ["2084-01-30-16:00", "2084-01-30-17:00"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("2013-01-32", "is not a key"), ("2013-01-01-00:00", "is not a key"), ("2012-12-31", "before the first one"),
     ("2015-01-01", "not before the end"), ("2013-02-01...2013-01-01", "ends before it begins"),
     ("x...y", "is not a key"), ("9999-01-01", "no cron partition begins at"), ("", "is not a key")],
)  # fmt: skip
def test_a_wrong_key_is_told(text: str, message: str) -> None:
    """What is wrong with it, and what a key looks like."""
    space = windows("0 0 * * *", start=datetime(2013, 1, 1), end=datetime(2014, 1, 1), format="%Y-%m-%d")  # noqa: DTZ001  walls
    with pytest.raises(ParameterError, match=message):
        parse(space, text)


# --- names and dimensions ---------------------------------------------------------------------------------------------


def test_names_are_in_their_order() -> None:
    """A range of names is by the order in which they are listed."""
    space = space_of(Names(keys=("north", "east", "south", "west")))
    assert [space.key(no) for no in parse(space, "east...west")] == ["east", "south", "west"]
    with pytest.raises(ParameterError, match="one of: north, east, south, west"):
        space.ordinal("up")


def test_dynamic_keys_are_the_stores() -> None:
    """Their numbers come from the store; one that was taken out leaves a hole."""
    space = space_of(Dynamic(name="shops"), lambda name: {"berlin": 0, "paris": 2} if name == "shops" else {})
    assert list(space.all(0)) == [0, 2]
    assert [space.key(no) for no in parse(space, "berlin...paris")] == ["berlin", "paris"]
    with pytest.raises(ParameterError, match="plait partitions add shops rome"):
        space.ordinal("rome")
    with pytest.raises(DefinitionError, match="kept in the store"):
        space_of(Dynamic(name="shops"))


DAYS = Windows(cron="0 0 * * *", start=datetime(2026, 1, 1), end=datetime(2026, 1, 6))  # noqa: DTZ001  walls
NOW = datetime(2026, 2, 1, tzinfo=UTC).timestamp()


def multi() -> MultiSpace:
    """Five days, three regions, two products."""
    found = space_of(
        Multi(
            dimensions=(
                Dimension(name="day", of=DAYS),
                Dimension(name="product", of=Names(keys=("tea", "mate"))),
                Dimension(name="region", of=Names(keys=("eu", "us", "asia"))),
            )
        )
    )
    assert isinstance(found, MultiSpace)
    return found


def test_dimensions_are_combined() -> None:
    """Any number of them; keys are in the order of their names; all of them are one range."""
    space = multi()
    there = space.all(NOW)
    keys = [space.key(no) for no in there]
    assert len(set(keys)) == len(there) == 30
    assert len(there.bounds) == 2
    assert keys[0] == "2026-01-01|tea|eu"
    assert [space.ordinal(key) for key in keys] == list(there)
    with pytest.raises(ParameterError, match=r"day\|product\|region"):
        space.ordinal("2026-01-01|tea")


def test_a_part_of_a_key_may_be_a_range_or_all() -> None:
    """`*` and ranges in each dimension, and a range of whole keys, which is one in each."""
    space = multi()
    assert len(parse(space, "2026-01-01|*|eu", NOW)) == 2
    assert len(parse(space, "2026-01-02...2026-01-04|mate|*", NOW)) == 9
    assert parse(space, "2026-01-02|tea|eu...2026-01-04|mate|us", NOW) == parse(
        space, "2026-01-02...2026-01-04|*|eu...us", NOW
    )


@given(st.sets(st.integers(0, 29), min_size=1), st.integers(1, 40))
def test_each_piece_has_a_text_that_names_it(places: set[int], size: int) -> None:
    """What a run is about is told by a text; pieces of any set are such that one can."""
    space = multi()
    first = space.all(NOW).first
    keys = KeySet.of(first + place for place in places)
    found = list(pieces(space, keys, size))
    assert [no for piece in found for no in piece] == list(keys)
    assert all(parse(space, text_of(space, piece), NOW) == piece for piece in found)


@given(st.sets(st.integers(0, 29)))
def test_along_a_dimension(places: set[int]) -> None:
    """Which keys of one dimension a set has, against looking at each."""
    space = multi()
    first = space.all(NOW).first
    keys = KeySet.of(first + place for place in places)
    for name in space.names:
        assert set(space.along(keys, name)) == {space.split(no)[name] for no in keys}


def test_what_is_not_there_yet_is_told() -> None:
    """A backfill of tomorrow is a mistake."""
    space = space_of(Windows(cron="0 0 * * *", start=datetime(2026, 1, 1)))  # noqa: DTZ001  a wall
    tomorrow = (datetime.fromtimestamp(NOW, UTC) + timedelta(days=1)).date().isoformat()
    with pytest.raises(ParameterError, match="is not there yet"):
        parse(space, f"2026-01-01...{tomorrow}", NOW)
    assert len(parse(space, "2026-01-01...2026-01-31", NOW)) == 31
