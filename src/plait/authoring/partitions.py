"""Partitions as a user writes them: the slices of the world that an asset has a value for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo

from plait.authoring.schedules import zone
from plait.authoring.where import here
from plait.model.errors import DefinitionError, ParameterError

FORMATS = {"hourly": "%Y-%m-%d-%H:%M", "daily": "%Y-%m-%d", "weekly": "%Y-%m-%d", "monthly": "%Y-%m-%d"}


@dataclass(frozen=True)
class Partitions:
    """A set of partition keys: time windows from `start` to before `end`, or the `names` of static ones."""

    kind: str
    start: str = ""
    end: str | None = None
    tz: str = "UTC"
    names: tuple[str, ...] = ()

    def spec(self) -> dict[str, object]:
        """The definition as plain data."""
        return {"kind": self.kind, "start": self.start, "end": self.end, "tz": self.tz, "keys": list(self.names)}

    def check(self, key: str) -> None:
        """Raise ParameterError unless `key` is one of the partitions."""
        if self.kind == "static":
            if key not in self.names:
                shown = ", ".join(self.names[:8])
                raise ParameterError(f"there is no partition {key!r}", right=f"one of: {shown}")
            return
        try:
            begin = self._parse(key)
        except ValueError:
            raise ParameterError(
                f"{key!r} is not a key of {self.kind} partitions",
                right=f"a key like {self._first():{FORMATS[self.kind]}}",
            ) from None
        if self._floor(begin) != begin or begin < self._first():
            raise ParameterError(f"no {self.kind} partition begins at {key!r}; the first is {self.start!r}")
        if self.end is not None and begin >= self._parse(self.end):
            raise ParameterError(f"partition {key!r} is not before the end {self.end!r}")

    def window(self, key: str) -> tuple[datetime, datetime]:
        """The time window of a key (aware): its begin and its end, which is not part of it."""
        if self.kind == "static":
            raise ParameterError("static partitions have no time window")
        begin = self._parse(key)
        zone_ = self._zone()
        return begin.replace(tzinfo=zone_), self._next(begin).replace(tzinfo=zone_)

    def keys(self, until: datetime | None = None) -> Iterator[str]:
        """The keys in order: all static names, or the windows that have ended by `until` (now)."""
        if self.kind == "static":
            yield from self.names
            return
        last = (until or datetime.now(UTC)).astimezone(self._zone()).replace(tzinfo=None)
        end = self._parse(self.end) if self.end is not None else None
        begin = self._first()
        while (end is None or begin < end) and self._next(begin) <= last:
            yield begin.strftime(FORMATS[self.kind])
            begin = self._next(begin)

    def _zone(self) -> tzinfo:
        return zone(self.tz)

    def _parse(self, text: str) -> datetime:
        """A key as wall-clock time of the partitions' zone."""
        format_ = "%Y-%m-%d" if len(text) == 10 else FORMATS[self.kind]
        return datetime.strptime(text, format_)  # noqa: DTZ007  windows are counted on the wall clock

    def _first(self) -> datetime:
        start = self._parse(self.start)
        begin = self._floor(start)
        return begin if begin == start else self._next(begin)

    def _floor(self, at: datetime) -> datetime:
        match self.kind:
            case "hourly":
                return at.replace(minute=0)
            case "weekly":
                return (at - timedelta(days=(at.weekday() + 1) % 7)).replace(hour=0, minute=0)
            case "monthly":
                return at.replace(day=1, hour=0, minute=0)
            case _:
                return at.replace(hour=0, minute=0)

    def _next(self, begin: datetime) -> datetime:
        match self.kind:
            case "hourly":
                return begin + timedelta(hours=1)
            case "weekly":
                return begin + timedelta(days=7)
            case "monthly":
                return (begin + timedelta(days=32)).replace(day=1)
            case _:
                return begin + timedelta(days=1)


def _windows(kind: str, start: str | date, end: str | date | None, tz: str) -> Partitions:
    zone(tz)
    made = Partitions(kind, _text(start), _text(end) if end is not None else None, tz)
    try:
        for edge in (made.start, made.end):
            if edge is not None:
                made._parse(edge)  # pyright: ignore[reportPrivateUsage]  # same module
    except ValueError:
        where, wrong = here()
        raise DefinitionError(
            f"{edge!r} is not a date for {kind} partitions",  # pyright: ignore[reportPossiblyUnboundVariable]  # the loop ran
            where=where,
            wrong=wrong,
            right=f'{kind}("2013-01-01")',
        ) from None
    return made


def _text(value: str | date) -> str:
    return value if isinstance(value, str) else value.isoformat()[:10]


def hourly(start: str | date, *, end: str | date | None = None, tz: str = "UTC") -> Partitions:
    """One partition an hour from `start`; keys like `2013-01-01-00:00`."""
    return _windows("hourly", start, end, tz)


def daily(start: str | date, *, end: str | date | None = None, tz: str = "UTC") -> Partitions:
    """One partition a day from `start` to before `end`; keys like `2013-01-01`."""
    return _windows("daily", start, end, tz)


def weekly(start: str | date, *, end: str | date | None = None, tz: str = "UTC") -> Partitions:
    """One partition a week, from Sunday, as in Dagster; keys are the week's first day."""
    return _windows("weekly", start, end, tz)


def monthly(start: str | date, *, end: str | date | None = None, tz: str = "UTC") -> Partitions:
    """One partition a month; keys are the month's first day."""
    return _windows("monthly", start, end, tz)


def static(names: Sequence[str]) -> Partitions:
    """Partitions by name: `static(["eu", "us"])`."""
    if not names or len(set(names)) < len(names):
        where, wrong = here()
        raise DefinitionError(
            "static partitions need names, each once", where=where, wrong=wrong, right='static(["eu", "us"])'
        )
    return Partitions("static", names=tuple(names))
