"""What starts runs by itself, as plain data: times, updates of assets, events, and combinations of these.

    When
    ├── Timed               has occurrences, which time alone fires; all have start, end and jitter
    │   ├── Cron            kind "cron"       on the wall clock of a zone
    │   ├── Interval             "interval"   every so many seconds, from an anchor
    │   ├── Rule                 "rrule"      a recurrence rule of RFC 5545
    │   ├── Dates                "dates"      a calendar
    │   ├── Union                "union"      whenever one of its parts has an occurrence
    │   └── Without              "except"     a schedule minus what another one covers
    ├── AssetUpdates             "asset"      when assets were updated
    ├── Event                    "event"      when something is told from outside
    ├── AllOf                    "all"        when each of its parts has happened since the last time
    └── AnyOf                    "any"        when one of its parts happens

A trigger (`graph.TriggerSpec`, `rows.TriggerRow`) has it as `kind` and `spec`: the tag, and the fields that are not as
by default. What the data means is in `engine.occurrences`; when it fires, in `engine.schedules`.
"""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from plait.model.policies import Value

Aware = Annotated[datetime, msgspec.Meta(tz=True)]
Naive = Annotated[datetime, msgspec.Meta(tz=False)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Several = Annotated[tuple["When", ...], msgspec.Meta(min_length=1)]


class Catchup(StrEnum):
    """What becomes of the occurrences that passed while nobody fired them: each gets its run, the latest one does, or
    none of them."""

    ALL = "all"
    LATEST = "latest"
    NONE = "none"


class Edge(StrEnum):
    """An edge of a run's data interval."""

    START = "start"
    END = "end"


class Timed(Value, tag_field="kind", forbid_unknown_fields=True):
    """Base of what has occurrences in time.

    The first one is not before `start`, the last one before `end`. A run starts up to `jitter` seconds after its
    occurrence. Its data interval ends with the occurrence, and begins `width` seconds before it; without one, with the
    occurrence before it. `logical`: which edge of the interval is the run's logical date.
    """

    start: Aware | None = None
    end: Aware | None = None
    jitter: NotNegative = 0.0
    width: NotNegative | None = None
    logical: Edge = Edge.END


class Cron(Timed, kw_only=True, tag="cron"):
    """A cron expression: five fields, or six with the seconds first, on the wall clock of zone `tz`."""

    cron: str
    tz: str = "UTC"


class Interval(Timed, kw_only=True, tag="interval"):
    """Every so many seconds, counted from `anchor`, and not before it. Whole days in a zone other than UTC are counted
    on its wall clock: at the same time of each day."""

    seconds: Positive
    anchor: Aware
    tz: str = "UTC"


class Rule(Timed, kw_only=True, tag="rrule"):
    """A recurrence rule (RFC 5545) from `since` on, which is wall-clock time of zone `tz`."""

    rrule: str
    since: Naive
    tz: str = "UTC"


class Dates(Timed, tag="dates"):
    """Days and points in time, on the wall clock of zone `tz`. A day fires `seconds` after its midnight; where it is
    taken away from another schedule, it takes away all that is on it."""

    days: tuple[date, ...] = ()
    times: tuple[Naive, ...] = ()
    seconds: NotNegative = 0.0
    tz: str = "UTC"


class Union(Timed, kw_only=True, tag="union"):
    """Whenever one of its parts has an occurrence; what several have counts once."""

    parts: Annotated[tuple["TimedSchedule", ...], msgspec.Meta(min_length=1)]


class Without(Timed, kw_only=True, tag="except"):
    """The occurrences of one schedule that another one does not cover. A cron expression of five fields covers whole
    minutes, days of a calendar cover whole days, everything else the moment of its occurrence."""

    base: "TimedSchedule"
    without: "TimedSchedule"


TimedSchedule = Cron | Interval | Rule | Dates | Union | Without


class AssetCondition(Value):
    """A condition over updates of assets: `op` is `asset` (with `key`), `all` or `any` (with `parts`)."""

    op: str
    key: str = ""
    parts: tuple["AssetCondition", ...] = ()


class AssetUpdates(AssetCondition, tag_field="kind", tag="asset"):
    """When the condition holds, counting updates since it last fired."""


class Event(Value, tag_field="kind", tag="event", forbid_unknown_fields=True):
    """When an event called `name` is told whose data has the values of `match`."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    match: dict[str, Any] = {}


class AllOf(Value, tag_field="kind", tag="all", forbid_unknown_fields=True):
    """When each part has happened since this last fired: a time and an update, for instance."""

    parts: Several


class AnyOf(Value, tag_field="kind", tag="any", forbid_unknown_fields=True):
    """When one part happens: a time or an update, for instance."""

    parts: Several


When = TimedSchedule | AssetUpdates | Event | AllOf | AnyOf
