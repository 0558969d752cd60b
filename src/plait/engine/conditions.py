"""Triggers that wait for more than time: updates of assets, events, and expressions of these and of times.

A trigger counts what has happened since it fired last. It fires when its expression holds of that, and then counts from
nothing. What happens is a signal (`rows.SignalRow`), and each is counted once: it goes in the transaction that keeps
where the trigger stands. A time has happened when it has an occurrence between the cursor, which is when the trigger
fired last, and now.

An expression whose outermost word is `or` is several triggers: each of its times fires by itself, with an interval and
a catch-up of its own, and takes away nothing of what the rest counts (as Airflow's AssetOrTimeSchedule).

Times are epoch seconds (UTC).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, cast, get_args

import msgspec

from plait.engine import occurrences
from plait.engine.occurrences import moment
from plait.engine.schedule_specs import parse, spec_of
from plait.model.assets import HistoryEvent
from plait.model.graph import TriggerSpec
from plait.model.hashes import blake2b
from plait.model.rows import SignalRow, TriggerRow
from plait.model.schedules import AllOf, AnyOf, AssetCondition, Event, TimedSchedule, When
from plait.model.wire import travels

MOST_EVENTS = 100
"""What happened that a run is told, unless it waits for more than so many things; of each the last is kept."""
MOST_BYTES = 200_000
"""So much of it, about (JSON)."""
MOST_METADATA = 4096
"""Bytes of an update's metadata that a run is told; larger metadata are left out."""
ASSET, EVENT = "asset:", "event:"
"""What subjects of signals begin with."""
_timed = get_args(TimedSchedule)
_payloads = msgspec.json.Decoder(dict[str, Any])


class Leaf(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that an expression waits for: a `time`, or signals of a `subject` whose data have the values of
    `match`. `name` tells it from the others."""

    name: str
    time: TimedSchedule | None = None
    subject: str | None = None
    match: dict[str, Any] = {}


class Standing(msgspec.Struct, kw_only=True):
    """What has happened since a trigger fired last: of each leaf how often and when last, and what a run is told of it
    (`events`, each under the name of its leaf). `last` names what was counted last, in `at`. Of a subject, signals up
    to the number in `since` do not count: they were there when the trigger was deployed."""

    counted: dict[str, tuple[int, float]] = {}
    events: list[tuple[str, dict[str, Any]]] = []
    left_out: int = 0
    last: str = ""
    at: float = 0.0
    since: dict[str, int] = {}


class Fired(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is due: the name of its occurrence, when it came to be due, and what it is told."""

    occurrence: str
    at: float
    extra: dict[str, Any]


# --- what an expression waits for -------------------------------------------------------------------------------------


def apart(trigger: TriggerSpec) -> list[TriggerSpec]:
    """The triggers that a trigger is: of alternatives, each time is one, and all the others together are one."""
    when = parse(trigger.kind, trigger.spec)
    if not isinstance(when, AnyOf):
        return [trigger]
    parts = list(_alternatives(when))
    rest = tuple(part for part in parts if not isinstance(part, _timed))
    found: list[When] = [part for part in parts if isinstance(part, _timed)]
    if rest:
        found.append(rest[0] if len(rest) == 1 else AnyOf(parts=rest))
    return [spec_of(part, trigger.catchup) for part in found]


def _alternatives(when: AnyOf) -> Iterator[When]:
    for part in when.parts:
        if isinstance(part, AnyOf):
            yield from _alternatives(part)
        else:
            yield part


def leaves(when: When | AssetCondition) -> dict[str, Leaf]:
    """Everything that an expression waits for, by name."""
    name = name_of(when)
    match when:
        case AllOf() | AnyOf():
            return _leaves_of(when.parts)
        case AssetCondition():
            return _leaves_of(when.parts) if when.parts else {name: Leaf(name=name, subject=ASSET + when.key)}
        case Event():
            return {name: Leaf(name=name, subject=EVENT + when.name, match=when.match)}
        case _:
            return {name: Leaf(name=name, time=when)}


def _leaves_of(parts: Sequence[When | AssetCondition]) -> dict[str, Leaf]:
    return {name: leaf for part in parts for name, leaf in leaves(part).items()}


def name_of(leaf: When | AssetCondition) -> str:
    """What a leaf is called where it is counted; equal ones have one name."""
    match leaf:
        case AssetCondition():
            return ASSET + leaf.key
        case Event() if not leaf.match:
            return EVENT + leaf.name
        case _:
            return msgspec.json.encode(leaf, order="deterministic").decode()


def subjects(when: When) -> tuple[str, ...]:
    """The subjects of the signals that an expression waits for."""
    return tuple(sorted({leaf.subject for leaf in leaves(when).values() if leaf.subject is not None}))


def assets_of(trigger: TriggerSpec) -> list[str]:
    """The keys of the assets for whose updates a trigger waits."""
    found = subjects(parse(trigger.kind, trigger.spec))
    return [subject.removeprefix(ASSET) for subject in found if subject.startswith(ASSET)]


def holds(when: When | AssetCondition, happened: Collection[str]) -> bool:
    """Whether an expression holds when exactly these leaves have happened."""
    match when:
        case AllOf():
            return all(holds(part, happened) for part in when.parts)
        case AnyOf():
            return any(holds(part, happened) for part in when.parts)
        case AssetCondition() if when.op == "all":
            return all(holds(part, happened) for part in when.parts)
        case AssetCondition() if when.op == "any":
            return any(holds(part, happened) for part in when.parts)
        case _:
            return name_of(when) in happened


# --- where a trigger stands -------------------------------------------------------------------------------------------


def standing_of(row: TriggerRow) -> Standing:
    """What a trigger has counted."""
    return msgspec.msgpack.decode(row.state, type=Standing) if row.state else Standing()


def begin(row: TriggerRow, when: When, now: float, known: TriggerRow | None = None, last_signal: int = 0) -> TriggerRow:
    """A trigger that was deployed just now: signals up to `last_signal` are not its business. What another one had
    counted, which it takes the place of, counts on, and so does what that one waited for."""
    row = msgspec.structs.replace(row, cursor=now, awaits=subjects(when))
    standing, before = Standing(), set[str]()
    if known is not None:
        standing, mine = standing_of(known), leaves(when)
        standing.counted = {name: count for name, count in standing.counted.items() if name in mine}
        standing.events = [(name, event) for name, event in standing.events if name in mine]
        row.cursor = known.cursor
        before = set(map(_key, known.awaits))
    added = dict.fromkeys(map(_key, row.awaits), last_signal)
    standing.since = {key: standing.since.get(key, 0) if key in before else no for key, no in added.items()}
    standing.since = {key: no for key, no in standing.since.items() if no}
    return _kept(row, when, standing, now)


def _key(subject: str) -> str:
    """A subject where the trigger stands, which has no characters that cannot be encoded."""
    return subject.encode(errors="backslashreplace").decode()


def _kept(row: TriggerRow, when: When, standing: Standing, now: float) -> TriggerRow:
    """The trigger's row as it stands: due at once when it holds, else when the next of its times comes."""
    due = holds(when, standing.counted)
    next_at = now if due else _next_time(when, standing, row.cursor or 0.0)
    state = msgspec.msgpack.encode(standing) if standing.counted or standing.since else b""
    return msgspec.structs.replace(row, next_at=next_at, state=state)


def _next_time(when: When, standing: Standing, cursor: float) -> float | None:
    times = [leaf.time for leaf in leaves(when).values() if leaf.name not in standing.counted]
    found = [occurrences.following(each, cursor) for each in times if each is not None]
    return min((at for at in found if at is not None), default=None)


# --- what happens -----------------------------------------------------------------------------------------------------


def advance(row: TriggerRow, signals: Sequence[SignalRow], now: float, room: int) -> tuple[list[Fired], TriggerRow]:
    """What is due when time has come to `now` and these signals came, in order; and the trigger as it is from then on.

    It fires each time its expression comes to hold, at most `room` times; what comes after that is gathered, and fires
    once when there is room. Raises DefinitionError for a trigger that cannot be read.
    """
    when = parse(row.kind, row.spec)
    known, standing = leaves(when), standing_of(row)
    fired: list[Fired] = []

    def look() -> None:
        nonlocal standing
        _count_times(known, standing, row.cursor or 0.0, now)
        if len(fired) < room and holds(when, standing.counted):
            fired.append(_fired(row, standing))
            standing = Standing(since=standing.since)
            row.cursor = now

    row = msgspec.structs.replace(row)
    look()
    for signal in signals:
        if signal.id <= standing.since.get(_key(signal.subject), 0):
            continue
        matching = [leaf for leaf in known.values() if _matches(leaf, signal)]
        if matching:
            _count(standing, matching, signal)
            look()
    return fired, _kept(row, when, standing, now)


def _count_times(known: Mapping[str, Leaf], standing: Standing, cursor: float, now: float) -> None:
    for name, leaf in known.items():
        if leaf.time is not None and name not in standing.counted:
            at = occurrences.latest(leaf.time, now)
            if at is not None and at > cursor:
                standing.counted[name] = (1, at)
                standing.last, standing.at = moment(at), at


def _matches(leaf: Leaf, signal: SignalRow) -> bool:
    """Whether a signal is what a leaf waits for."""
    if leaf.subject != signal.subject or not leaf.match:
        return leaf.subject == signal.subject
    try:
        data = _payloads.decode(signal.data)
    except msgspec.ValidationError:  # no object
        return False
    return all(key in data and _equal(data[key], value) for key, value in leaf.match.items())


def _equal(found: Any, wanted: Any) -> bool:
    """Whether two JSON values are equal; `true` is no 1."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        mine, others = cast(dict[str, Any], found), cast(dict[str, Any], wanted)
        return mine.keys() == others.keys() and all(_equal(value, others[key]) for key, value in mine.items())
    if isinstance(found, list) and isinstance(wanted, list):
        items, rest = cast(list[Any], found), cast(list[Any], wanted)
        return len(items) == len(rest) and all(map(_equal, items, rest))
    return isinstance(found, bool) == isinstance(wanted, bool) and found == wanted


def _count(standing: Standing, matching: Sequence[Leaf], signal: SignalRow) -> None:
    for leaf in matching:
        count, at = standing.counted.get(leaf.name, (0, signal.at))
        standing.counted[leaf.name] = (count + 1, max(at, signal.at))
    standing.events.append((matching[0].name, told(signal)))
    standing.last, standing.at = str(signal.id), signal.at
    while len(standing.events) > MOST_EVENTS or _size(standing) > MOST_BYTES:
        spare = _spare(standing)
        if spare is None:
            break
        del standing.events[spare]
        standing.left_out += 1


def _size(standing: Standing) -> int:
    return sum(event.get("size", 0) for _, event in standing.events)


def _spare(standing: Standing) -> int | None:
    """The oldest event whose leaf has a later one."""
    seen: set[str] = set()
    found: int | None = None
    for no in reversed(range(len(standing.events))):
        name = standing.events[no][0]
        if name in seen:
            found = no
        seen.add(name)
    return found


def told(signal: SignalRow) -> dict[str, Any]:
    """What a run is told of a signal."""
    if signal.kind == "event":
        return {
            "name": signal.subject.removeprefix(EVENT),
            "id": signal.source,
            "at": signal.at,
            "data": msgspec.json.decode(signal.data),
            "size": len(signal.data),
        }
    found: dict[str, Any] = {
        "key": signal.subject.removeprefix(ASSET),
        "partition": signal.partition,
        "at": signal.at,
        "run_id": signal.source,
        "no": signal.no,
        "workflow": signal.workflow,
        "task": signal.task,
    }
    about = msgspec.json.decode(signal.data, type=HistoryEvent)
    if about.data_version is not None:
        found["data_version"] = about.data_version
    if signal.kind == "observed":
        found["observed"] = True
    size = len(msgspec.json.encode(about.metadata))
    if about.metadata and size <= MOST_METADATA and travels(about.metadata):
        found["metadata"], found["size"] = about.metadata, size
    return found


def called(row: TriggerRow) -> str:
    """What the names of a trigger's occurrences begin with. Its number is not part of it: a redeploy may give that to
    another one."""
    spec = blake2b(msgspec.json.encode(row.spec, order="deterministic"), digest_size=8).hexdigest()
    return f"{row.workflow}#{row.kind}.{spec}:"


def _fired(row: TriggerRow, standing: Standing) -> Fired:
    extra: dict[str, Any] = {}
    for _, event in standing.events:
        kept = {name: value for name, value in event.items() if name != "size"}
        extra.setdefault("asset_events" if "key" in event else "events", []).append(kept)
    if standing.left_out:
        extra["events_left_out"] = standing.left_out
    return Fired(occurrence=called(row) + standing.last, at=standing.at, extra=extra)
