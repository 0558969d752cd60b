"""Partitions as a user writes them: the slices of the world that an asset has a value for, and which slices of one
asset another one is made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Protocol

import msgspec

from plait.authoring.points import point_of
from plait.authoring.schedules import zone
from plait.authoring.scope import current_engine
from plait.authoring.where import here
from plait.engine.partitions import spaces
from plait.engine.partitions.spaces import DynamicKeys, MultiSpace, Space, WindowSpace, space_of
from plait.model import partitions as model
from plait.model.errors import DefinitionError, ParameterError

BY_MINUTE = "%Y-%m-%d-%H:%M"
WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_TRIED = 5


@dataclass(frozen=True)
class Partitions:
    """A set of partition keys, as plain data in `slices`: windows of time, names, or combinations of these."""

    slices: model.Slices

    @property
    def kind(self) -> str:
        """What people call them: hourly, daily, weekly, monthly, cron, static, dynamic or multi."""
        return self.slices.name if isinstance(self.slices, model.Windows) else str(self.spec()["kind"])

    def spec(self) -> dict[str, Any]:
        """The definition as plain data."""
        found: dict[str, Any] = msgspec.to_builtins(self.slices)
        return found

    def space(self, dynamic: DynamicKeys | None = None) -> Space:
        """How the keys are numbered. `dynamic` answers for those that a store keeps, else that of this process does."""
        return space_of(self.slices, dynamic or _kept_here)

    def check(self, key: str, dynamic: DynamicKeys | None = None) -> None:
        """Raise ParameterError unless `key` is one of the partitions, or a range `first...last` of them."""
        spaces.parse(self.space(dynamic), key)

    def window(self, key: str) -> tuple[datetime, datetime]:
        """The time window of a key (aware): its begin and its end, which is not part of it. Of several dimensions, that
        of the one that is in time. Raises ParameterError for partitions that are not in time."""
        space = self.space()
        if isinstance(space, MultiSpace):
            timed = [name for name, each in space.parts.items() if isinstance(each, WindowSpace)]
            if len(timed) == 1:
                key, space = space.texts(key)[timed[0]], space.parts[timed[0]]
        if not isinstance(space, WindowSpace):
            raise ParameterError(f"{self.kind} partitions have no time window")
        return space.times(space.ordinal(key))

    def keys(self, until: datetime | None = None) -> Iterator[str]:
        """The keys in order: all names, or the windows that have ended by `until` (now)."""
        space = self.space()
        for ordinal in space.all((until or datetime.now(UTC)).timestamp()):
            yield space.key(ordinal)

    def count(self, until: datetime | None = None) -> int:
        """How many there are; nothing is listed for that."""
        return len(self.space().all((until or datetime.now(UTC)).timestamp()))

    def add(self, *keys: str) -> None:
        """Add keys to dynamic partitions, in the store of this process; those that are there stay."""
        current_engine().partitions.add(self._kept_as("add"), [_plain_key(key) for key in keys])

    def remove(self, *keys: str) -> None:
        """Take keys out of dynamic partitions. What was made for them stays; a key that is added again is the same."""
        current_engine().partitions.remove(self._kept_as("remove"), keys)

    def _kept_as(self, what: str) -> str:
        if isinstance(self.slices, model.Dynamic):
            return self.slices.name
        where, wrong = here()
        raise DefinitionError(
            f"keys of {self.kind} partitions are not the store's", where=where, wrong=wrong,
            right=f'customers = dynamic("customers"); customers.{what}("acme")',
        )  # fmt: skip


def _kept_here(name: str) -> Mapping[str, int]:
    return current_engine().partitions.keys(name)


# --- windows of time --------------------------------------------------------------------------------------------------

Day = str | date
"""A day or a point in time, on the clock of the partitions' zone."""


def hourly(
    start: Day,
    *,
    end: Day | None = None,
    tz: str = "UTC",
    minute: int = 0,
    end_offset: int = 0,
    format: str = BY_MINUTE,
) -> Partitions:
    """One partition an hour from `start`; keys like `2013-01-01-00:00`. An hour that the clock shows twice is two
    partitions. The other options are as for `daily`.
    """
    return _windows(f"{minute} * * * *", start, end, tz, end_offset, format, "hourly")


def daily(
    start: Day,
    *,
    end: Day | None = None,
    tz: str = "UTC",
    hour: int = 0,
    minute: int = 0,
    end_offset: int = 0,
    format: str = "%Y-%m-%d",
) -> Partitions:
    """One partition a day from `start` to before `end`; keys like `2013-01-01`.

    A day begins at `hour` and `minute` on the clock of time zone `tz`. A partition is there when its day has ended;
    `end_offset=1` has today's, too, -1 not yesterday's. `format` (as for strftime) makes the key.
    """
    return _windows(f"{minute} {hour} * * *", start, end, tz, end_offset, format, "daily")


def weekly(  # noqa: PLR0913  what a window can be, by name
    start: Day,
    *,
    end: Day | None = None,
    tz: str = "UTC",
    day: int | str = "sunday",
    hour: int = 0,
    minute: int = 0,
    end_offset: int = 0,
    format: str = "%Y-%m-%d",
) -> Partitions:
    """One partition a week, from the weekday `day` on: Sunday, as in Dagster; keys are the week's first day."""
    number = WEEKDAYS.index(day.lower()) if isinstance(day, str) and day.lower() in WEEKDAYS else day
    if number not in range(7):
        where, wrong = here()
        raise DefinitionError(f"there is no weekday {day!r}", where=where, wrong=wrong, right='day="monday"')
    return _windows(f"{minute} {hour} * * {number}", start, end, tz, end_offset, format, "weekly")


def monthly(  # noqa: PLR0913  likewise
    start: Day,
    *,
    end: Day | None = None,
    tz: str = "UTC",
    day: int = 1,
    hour: int = 0,
    minute: int = 0,
    end_offset: int = 0,
    format: str = "%Y-%m-%d",
) -> Partitions:
    """One partition a month, from its `day` on; keys are the month's first day."""
    if day not in range(1, 29):
        where, wrong = here()
        raise DefinitionError(f"not every month has a day {day!r}", where=where, wrong=wrong, right="day=1, up to 28")
    return _windows(f"{minute} {hour} {day} * *", start, end, tz, end_offset, format, "monthly")


def windows(
    cron: str, *, start: Day, end: Day | None = None, tz: str = "UTC", end_offset: int = 0, format: str | None = None
) -> Partitions:
    """Partitions between the times of any cron expression: `windows("0 9,17 * * MON-FRI", start="2026-01-01")`. A key
    is the time at which its window begins. The other options are as for `daily`."""
    from plait.engine import cron as cron_expressions  # which not every program needs

    try:
        walls = cron_expressions.parse(cron)
    except ValueError as error:
        where, wrong = here()
        raise DefinitionError(
            f"{cron!r} is not a cron expression: {error}", where=where, wrong=wrong,
            right='windows("0 */6 * * *", start="2026-01-01")',
        ) from None  # fmt: skip
    if format is None:
        once = len(walls.hours) == len(walls.minutes) == len(walls.seconds) == 1
        format = "%Y-%m-%d" if once else BY_MINUTE if walls.coarse else f"{BY_MINUTE}:%S"
    return _windows(cron_expressions.normal(cron), start, end, tz, end_offset, format, "cron")


def _windows(
    cron: str, start: Day, end: Day | None, tz: str, end_offset: int, format_: str, name: str
) -> Partitions:  # the options of all kinds, each once
    zone(tz)
    slices = model.Windows(
        cron=cron,
        start=_wall(start, tz, format_, name),
        end=_wall(end, tz, format_, name) if end is not None else None,
        tz=tz,
        end_offset=end_offset,
        format=format_,
        name=name,
    )
    try:
        space = space_of(slices)
        assert isinstance(space, WindowSpace)  # that of windows
        some = range(space.first, space.first + _TRIED)
        if [space.ordinal(space.key(no)) for no in some] != list(some):
            raise ParameterError(f"the format {format_!r} gives several windows the same key")
        if any(sign in space.key(space.first) for sign in (model.RANGE, model.SEPARATOR)):
            raise ParameterError(f"the format {format_!r} has {model.RANGE!r} or {model.SEPARATOR!r} in it")
    except ParameterError as error:
        if end is not None and error.what.endswith(f"before the end {slices.end}"):
            return Partitions(slices)  # few windows, whose keys are good
        raise _wrong(error.what) from None
    except DefinitionError as error:
        raise _wrong(error.what) from None
    return Partitions(slices)


def _wrong(what: str) -> DefinitionError:
    where, wrong = here()
    return DefinitionError(what, where=where, wrong=wrong, right='daily("2013-01-01", tz="Europe/Berlin")')


def _wall(given: Day, tz: str, format_: str, name: str) -> datetime:
    """What somebody wrote, as a time on the clock of the partitions; a key is one, too."""
    if isinstance(given, str):
        try:
            return datetime.strptime(given, format_)  # noqa: DTZ007  windows are counted on the wall clock
        except ValueError:
            pass
    try:
        point = point_of(given)
    except DefinitionError:
        where, wrong = here()
        raise DefinitionError(
            f"{given!r} is not a date for {name} partitions", where=where, wrong=wrong, right=f'{name}("2013-01-01")'
        ) from None
    return point.astimezone(zone(tz)).replace(tzinfo=None) if point.tzinfo is not None else point


# --- names and dimensions ---------------------------------------------------------------------------------------------


def static(names: Sequence[str]) -> Partitions:
    """Partitions by name: `static(["eu", "us"])`."""
    if not names or isinstance(names, str) or len(set(names)) < len(names):
        where, wrong = here()
        raise DefinitionError(
            "static partitions need names, each once", where=where, wrong=wrong, right='static(["eu", "us"])'
        )
    return Partitions(model.Names(keys=tuple(_plain_key(name) for name in names)))


def dynamic(name: str) -> Partitions:
    """Partitions whose keys come and go, and are kept in the store under `name`.

    customers = dynamic("customers")
    customers.add("acme", "initech")        # or: plait partitions add customers acme initech
    """
    if not name or any(sign.isspace() for sign in name):
        where, wrong = here()
        raise DefinitionError(
            f"{name!r} is no name for dynamic partitions", where=where, wrong=wrong, right='dynamic("customers")'
        )
    return Partitions(model.Dynamic(name=name))


def multi(**dimensions: Partitions) -> Partitions:
    """Every combination of the keys of several dimensions: `multi(day=daily("2026-01-01"), region=static(["eu"]))`. A
    key has a part for each, in the order of their names: `2026-01-01|eu`."""
    where, wrong = here()
    right = 'multi(day=daily("2026-01-01"), region=static(["eu", "us"]))'
    parts: list[model.Dimension] = []
    for name, each in sorted(dimensions.items()):
        if not isinstance(each, Partitions) or isinstance(each.slices, model.Multi):  # pyright: ignore[reportUnnecessaryIsInstance]  # users are not always type-checked
            raise DefinitionError(f"the dimension {name!r} is {each!r}", where=where, wrong=wrong, right=right)
        keys = each.slices.keys if isinstance(each.slices, model.Names) else ()
        bad = next((key for key in keys if model.SEPARATOR in key), None)
        if bad is not None:
            raise DefinitionError(f"a key of a dimension has no {model.SEPARATOR!r}: {bad!r}", where=where, wrong=wrong)
        parts.append(model.Dimension(name=name, of=each.slices))
    if len(parts) < 2:
        raise DefinitionError("several dimensions are two at least", where=where, wrong=wrong, right=right)
    made = model.Multi(dimensions=tuple(parts))
    try:
        space_of(made, lambda _: {})
    except DefinitionError as error:
        raise DefinitionError(error.what, where=where, wrong=wrong, right=right) from None
    return Partitions(made)


def _plain_key(key: object) -> str:
    if isinstance(key, str) and key and model.RANGE not in key:
        return key
    where, wrong = here()
    raise DefinitionError(
        f"{key!r} is not a partition's name", where=where, wrong=wrong, right=f'text without {model.RANGE!r}, like "eu"'
    )


# --- mappings ---------------------------------------------------------------------------------------------------------


class Keyed(Protocol):
    """Something with an asset's key."""

    @property
    def key(self) -> str:
        """The key."""
        ...


@dataclass(frozen=True)
class MappedAsset:
    """An asset in `deps` whose partitions are mapped."""

    key: str
    mapping: model.Mapping


@dataclass(frozen=True)
class PartitionMapping:
    """Which partitions of another asset an asset's partition is made from, where that is not plain:

        @asset(partitions=days, deps=[PartitionMapping.windows(-6, 0).of("sales")])   # the last seven days
        def trend(sales): ...                                                         # {"2026-01-01": ..., ...}

    Without one, it is the partition of the same key; of windows of another length, those in one's own time; the key in
    the one dimension that both have; all, where one of the two has no partitions.
    """

    mapping: model.Mapping

    def of(self, asset: str | Keyed) -> MappedAsset:
        """An asset, or its key, whose partitions are mapped so; for `deps`."""
        return MappedAsset(asset if isinstance(asset, str) else asset.key, self.mapping)

    @staticmethod
    def same() -> PartitionMapping:
        """The partition of the same key."""
        return PartitionMapping(model.SameKey())

    @staticmethod
    def windows(first: int = 0, last: int | None = None) -> PartitionMapping:
        """Those in the time of one's own window; or in that of the windows from `first` to `last` (with it, as far as
        not given `first` as well) after it: `windows(-1)` is the window before, also of the asset itself."""
        return PartitionMapping(model.InTime(first=first, last=first if last is None else last))

    @staticmethod
    def all() -> PartitionMapping:
        """All partitions."""
        return PartitionMapping(model.All())

    @staticmethod
    def last(count: int = 1) -> PartitionMapping:
        """The last ones that are there."""
        return PartitionMapping(model.Last(count=count))

    @staticmethod
    def table(upstream: Mapping[str, str | Sequence[str]]) -> PartitionMapping:
        """By one's own key, the key or the keys of the other asset."""
        rows = {key: (above,) if isinstance(above, str) else tuple(above) for key, above in upstream.items()}
        return PartitionMapping(model.Table(upstream=rows))

    @staticmethod
    def dimensions(**by: str | tuple[str, PartitionMapping]) -> PartitionMapping:
        """By dimensions: to each dimension of the other asset, the own one that it goes by, and perhaps how:
        `dimensions(region="region", day=("week", PartitionMapping.windows()))`. All, of those that are not named. An
        asset that has no dimensions goes by the empty text: `dimensions(region="")`."""
        parts: list[model.ByDimension] = []
        for above, given in by.items():
            below, how = (given, PartitionMapping.same()) if isinstance(given, str) else given
            if isinstance(how.mapping, model.Dimensions):
                raise _wrong("a dimension is mapped to one dimension")
            parts.append(model.ByDimension(upstream=above, downstream=below, mapping=how.mapping))
        return PartitionMapping(model.Dimensions(by=tuple(parts)))

    @staticmethod
    def along(dimension: str) -> PartitionMapping:
        """For an asset of several dimensions made from one without: the key of this own dimension."""
        return PartitionMapping(model.Dimensions(by=(model.ByDimension(upstream="", downstream=dimension),)))

    @staticmethod
    def custom(function: Callable[[list[str]], Sequence[str]]) -> PartitionMapping:
        """What a function of a module says: it is given a list of one own key, and returns keys of the other asset. It
        is asked once for each key, by services in a process of its own."""
        name = getattr(function, "__qualname__", "")
        if not name or "<" in name:
            where, wrong = here()
            raise DefinitionError(
                "a mapping's function can be found by its name", where=where, wrong=wrong,
                right="a function of a module, not a lambda or one inside of another",
            )  # fmt: skip
        return PartitionMapping(model.Custom(ref=f"{function.__module__}:{name}"))
