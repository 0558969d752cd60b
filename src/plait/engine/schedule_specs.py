"""Schedules as plain data: read from the `kind` and `spec` of a trigger, checked, and told to people."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec

from plait.engine import occurrences
from plait.model.errors import DefinitionError
from plait.model.graph import TriggerSpec
from plait.model.schedules import (
    AllOf,
    AnyOf,
    AssetCondition,
    AssetUpdates,
    Catchup,
    Cron,
    Dates,
    Event,
    Interval,
    Rule,
    TimedSchedule,
    Union,
    When,
    Without,
)

TIMED: frozenset[str] = frozenset(str(kind.__struct_config__.tag) for kind in get_args(TimedSchedule))
"""The kinds of triggers that time alone fires."""
KINDS: frozenset[str] = frozenset(str(kind.__struct_config__.tag) for kind in get_args(When))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC).timestamp()


class _Boxed(msgspec.Struct):
    """msgspec reads the fields of a struct without looking at their types anew each time."""

    when: When


def parse(kind: str, spec: dict[str, Any]) -> When:
    """What starts a trigger's runs. Raises DefinitionError that names the field which is wrong."""
    if kind not in KINDS:
        raise DefinitionError(
            f"there are no triggers of the kind {kind!r}", right=f"one of: {', '.join(sorted(KINDS))}"
        )
    try:
        return msgspec.convert({"when": {**spec, "kind": kind}}, _Boxed).when
    except msgspec.ValidationError as error:
        told = str(error).replace("$.when.", "").replace("$.when", "the schedule")
        raise DefinitionError(f"a trigger of the kind {kind!r} is not as it should be: {told}") from None


def timed(kind: str, spec: dict[str, Any]) -> TimedSchedule:
    """As `parse`, for a trigger that time alone fires. Raises DefinitionError for another one."""
    when = parse(kind, spec)
    if isinstance(when, AssetUpdates | Event | AllOf | AnyOf):
        raise DefinitionError(f"a trigger of the kind {kind!r} has no times of its own: {describe(when)}")
    return when


def spec_of(when: When, catchup: Catchup = Catchup.LATEST) -> TriggerSpec:
    """A trigger as a graph has it."""
    spec = msgspec.json.decode(msgspec.json.encode(when))
    return TriggerSpec(kind=spec.pop("kind"), spec=spec, catchup=catchup)


def check(when: When) -> None:
    """Look at everything that the types do not say. Raises DefinitionError."""
    try:
        _check(when)
    except ValueError as error:
        raise DefinitionError(str(error)) from None
    for each in _times_in(when):
        if occurrences.following(each, EPOCH) is None:
            raise DefinitionError(f"this schedule never comes: {describe(each)}")


def _times_in(when: When) -> Iterator[TimedSchedule]:
    """The schedules of an expression."""
    match when:
        case AllOf() | AnyOf():
            for part in when.parts:
                yield from _times_in(part)
        case AssetUpdates() | Event():
            pass
        case _:
            yield when


def _check(when: When, *, counted: bool = False) -> None:
    """`counted`: it is a part of an expression whose times do not start runs by themselves."""
    match when:
        case AllOf() | AnyOf():
            for part in when.parts:
                _check(part, counted=counted or isinstance(when, AllOf))
        case AssetUpdates():
            _check_assets(when)
        case Event():
            pass
        case _ if counted:
            _check_part(when)
        case _:
            _check_timed(when)


def _check_part(when: TimedSchedule) -> None:
    if when.jitter:
        raise ValueError("a part of a schedule has no jitter of its own; the whole schedule may have")
    _check_timed(when)


def _check_timed(when: TimedSchedule) -> None:
    if when.start is not None and when.end is not None and when.start >= when.end:
        raise ValueError(f"a schedule starts before it ends, not from {when.start} to {when.end}")
    match when:
        case Union():
            for part in when.parts:
                _check_part(part)
        case Without():
            _check_part(when.base)
            _check_part(when.without)
        case _:
            _check_walls(when)


def _check_walls(when: Cron | Rule | Dates | Interval) -> None:
    occurrences.zone_of(when.tz)
    if isinstance(when, Dates) and not when.days and not when.times:
        raise ValueError("a calendar has at least one date")
    try:
        occurrences.walls_of(when)
    except ValueError as error:
        what = f"{when.cron!r} is not a cron expression" if isinstance(when, Cron) else _times(when)
        what = f"{when.rrule!r} is not a recurrence rule" if isinstance(when, Rule) else what
        raise ValueError(f"{what}: {error}") from None


def _check_assets(condition: AssetCondition) -> None:
    if condition.op not in ("asset", "all", "any"):
        raise ValueError(f"a condition over assets is asset, all or any, not {condition.op!r}")
    if (condition.op == "asset") != bool(condition.key) or (condition.op == "asset") == bool(condition.parts):
        raise ValueError("a condition `asset` has a key, `all` and `any` have parts")
    for part in condition.parts:
        _check_assets(part)


# --- for people -------------------------------------------------------------------------------------------------------


def describe(when: When) -> str:
    """When it is, in one line."""
    match when:
        case AllOf() | AnyOf():
            return (" and " if isinstance(when, AllOf) else " or ").join(_part(part) for part in when.parts)
        case AssetCondition():
            return _assets(when)
        case Event():
            return f"event {when.name}"
        case _:
            between = (f" from {when.start}" if when.start is not None else "") + (
                f" to {when.end}" if when.end is not None else ""
            )
            return _times(when) + between + (f", up to {when.jitter:g} s later" if when.jitter else "")


def _part(when: When) -> str:
    text = describe(when)
    return f"({text})" if isinstance(when, AllOf | AnyOf | Union | Without) else text


def _times(when: TimedSchedule) -> str:
    match when:
        case Union():
            return " | ".join(_part(part) for part in when.parts)
        case Without():
            return f"{_part(when.base)} - {_part(when.without)}"
        case Cron():
            text = when.cron
        case Rule():
            text = when.rrule
        case Interval():
            text = f"every {when.seconds:g} s"
        case Dates():
            listed = [*map(str, when.days), *map(str, when.times)]
            text = ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
    return text + (f" {when.tz}" if when.tz != "UTC" else "")


def _assets(condition: AssetCondition) -> str:
    if condition.op == "asset":
        return f"asset {condition.key}"
    word = " and " if condition.op == "all" else " or "
    return word.join(f"({_assets(part)})" if part.parts else _assets(part) for part in condition.parts)
