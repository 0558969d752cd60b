"""When assets are made by themselves, as plain data: conditions over an asset and what it is made from.

    Condition
    ├── Is              something about the asset itself: missing, in_progress, failed, code_changed, updated (since the
    │                   look before), updated_apart (by a run that does not make the asset that the condition is of),
    │                   requested (in this look), was_requested (in the look before), initial (the first look)
    ├── CronTick        a time of a cron expression has passed since the look before
    ├── LatestWindow    its latest partition, or those of the last `lookback` seconds
    ├── Since           true from when `trigger` became true until `reset` does
    ├── Newly           true in the look in which `part` became true
    ├── AnyDeps         some of what it is made from fulfils `part`
    ├── AllDeps         all of that does
    └── And, Or, Not

A condition is true of some of an asset's partitions (of an asset without partitions: of the whole). Conditions combine
with `&`, `|` and `~`. What each means is in `engine.automation`; the ready-made ones are at the end of this module.
"""

from typing import Annotated, Any

import msgspec

from plait.model.errors import DefinitionError
from plait.model.policies import Value

FACTS = (
    "missing",
    "in_progress",
    "failed",
    "updated",
    "updated_apart",
    "code_changed",
    "requested",
    "was_requested",
    "initial",
)
"""What `Is` may ask."""


class Combines(Value):
    """Base of all conditions. `label`: a name by which people, and `replace`, find it."""

    label: str = ""

    def __and__(self, other: "Condition") -> "And":
        return And(parts=(*_parts(And, self), *_parts(And, _checked(other, "&"))))

    def __or__(self, other: "Condition") -> "Or":
        return Or(parts=(*_parts(Or, self), *_parts(Or, _checked(other, "|"))))

    def __invert__(self) -> "Not":
        return Not(part=_self(self))

    def since(self, reset: "Condition") -> "Since":
        """True from when this becomes true until `reset` does: `updated().since(cron_tick("0 6 * * *"))`."""
        return Since(trigger=_self(self), reset=_checked(reset, ".since"))

    def newly_true(self) -> "Newly":
        """True in the look in which this became true."""
        return Newly(part=_self(self))

    def named(self, label: str) -> Any:
        """The same condition with a label."""
        return msgspec.structs.replace(self, label=label)

    def replace(self, old: "Condition | str", new: "Condition") -> Any:
        """The same condition with `new` in place of each part that equals `old`, or has that label. Raises
        DefinitionError when there is none."""
        made, found = _replaced(_self(self), old, _checked(new, ".replace"))
        if not found:
            labels = sorted(label for label in _labels(_self(self)))
            raise DefinitionError(
                f"the condition has no part {old!r}",
                right=f"one of the labels {', '.join(labels)}" if labels else "a part of it, or the label of one",
            )
        return made

    def without(self, old: "Condition | str") -> Any:
        """The same condition without the parts of an `&` or `|` that equal `old` or have that label."""
        made = _dropped(_self(self), old)
        if made is None or made == self:
            raise DefinitionError(f"the condition has no part {old!r} that it can do without")
        return made


class Is(Combines, kw_only=True, tag_field="op", tag="is"):
    """A fact about the asset's partitions: one of `FACTS`."""

    fact: str


class CronTick(Combines, kw_only=True, tag_field="op", tag="cron_tick"):
    """A time of a cron expression, on the clock of zone `tz`, has passed since the look before."""

    cron: str
    tz: str = "UTC"


class LatestWindow(Combines, kw_only=True, tag_field="op", tag="latest"):
    """The latest time window, or those that ended in the last `lookback` seconds; all partitions where they are not
    time windows."""

    lookback: float | None = None


class Since(Combines, kw_only=True, tag_field="op", tag="since"):
    """True from when `trigger` is true until `reset` is; where both are, it is not."""

    trigger: "Condition"
    reset: "Condition"


class Newly(Combines, kw_only=True, tag_field="op", tag="newly"):
    """True where `part` is true, and was not in the look before."""

    part: "Condition"


class AnyDeps(Combines, kw_only=True, tag_field="op", tag="any_deps"):
    """True where something that the partition is made from fulfils `part`. `only`: globs of the assets that count;
    `ignore`: of those that do not."""

    part: "Condition"
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


class AllDeps(Combines, kw_only=True, tag_field="op", tag="all_deps"):
    """True where everything that the partition is made from fulfils `part`; `only` and `ignore` as above."""

    part: "Condition"
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


Several = Annotated[tuple["Condition", ...], msgspec.Meta(min_length=1)]


class And(Combines, kw_only=True, tag_field="op", tag="and"):
    """True where all of its parts are."""

    parts: Several


class Or(Combines, kw_only=True, tag_field="op", tag="or"):
    """True where one of its parts is."""

    parts: Several


class Not(Combines, kw_only=True, tag_field="op", tag="not"):
    """True where its part is not."""

    part: "Condition"


Condition = Is | CronTick | LatestWindow | Since | Newly | AnyDeps | AllDeps | And | Or | Not


def children(condition: Condition) -> tuple[Condition, ...]:
    """The parts of a condition, in order."""
    match condition:
        case Since():
            return condition.trigger, condition.reset
        case Newly() | AnyDeps() | AllDeps() | Not():
            return (condition.part,)
        case And() | Or():
            return condition.parts
        case _:
            return ()


def with_children(condition: Condition, parts: tuple[Condition, ...]) -> Condition:
    """The same condition with other parts."""
    match condition:
        case Since():
            return msgspec.structs.replace(condition, trigger=parts[0], reset=parts[1])
        case Newly() | AnyDeps() | AllDeps() | Not():
            return msgspec.structs.replace(condition, part=parts[0])
        case And() | Or():
            return msgspec.structs.replace(condition, parts=parts)
        case _:
            return condition


def _self(condition: Combines) -> Condition:
    assert isinstance(condition, Condition)  # every subclass is one of them
    return condition


def _checked(given: object, what: str) -> Condition:
    if not isinstance(given, Condition):
        raise DefinitionError(f"{what} takes a condition, not {given!r}", right="eager() & ~in_progress()")
    return given


def _parts(kind: type[And] | type[Or], condition: Combines) -> tuple[Condition, ...]:
    if isinstance(condition, kind) and not condition.label:
        return condition.parts
    return (_self(condition),)


def _is(condition: Condition, old: "Condition | str") -> bool:
    return bool(condition.label) and condition.label == old if isinstance(old, str) else condition == old


def _replaced(condition: Condition, old: "Condition | str", new: Condition) -> tuple[Condition, bool]:
    if _is(condition, old):
        return new, True
    parts = [_replaced(part, old, new) for part in children(condition)]
    if not any(found for _, found in parts):
        return condition, False
    return with_children(condition, tuple(part for part, _ in parts)), True


def _dropped(condition: Condition, old: "Condition | str") -> Condition | None:
    if _is(condition, old):
        return None
    parts = [_dropped(part, old) for part in children(condition)]
    left = tuple(part for part in parts if part is not None)
    if len(left) == len(parts):
        return with_children(condition, left)
    return with_children(condition, left) if isinstance(condition, And | Or) and left else None


def _labels(condition: Condition) -> set[str]:
    found = {condition.label} if condition.label else set[str]()
    return found.union(*(_labels(part) for part in children(condition)))


# --- ready-made -------------------------------------------------------------------------------------------------------

MISSING, IN_PROGRESS, FAILED = Is(fact="missing"), Is(fact="in_progress"), Is(fact="failed")
UPDATED, CODE_CHANGED = Is(fact="updated"), Is(fact="code_changed")
UPDATED_APART = Is(fact="updated_apart")
REQUESTED, WAS_REQUESTED, INITIAL = Is(fact="requested"), Is(fact="was_requested"), Is(fact="initial")
HANDLED = Or(parts=(WAS_REQUESTED, UPDATED, INITIAL), label="handled")
"""What a partition was asked to be made for has been dealt with: it was requested or made; or we have only begun to
look."""
ANY_DEPS_MISSING = AnyDeps(part=MISSING & ~REQUESTED, label="any_deps_missing")
ANY_DEPS_IN_PROGRESS = AnyDeps(part=IN_PROGRESS, label="any_deps_in_progress")
ANY_DEPS_UPDATED = AnyDeps(part=UPDATED_APART | REQUESTED, label="any_deps_updated")


def eager() -> And:
    """As soon as something that it is made from is updated, or it is new: in the latest window, and not while something
    that it is made from is missing or being made, nor while it is being made itself."""
    newly_missing = Newly(part=MISSING, label="newly_missing")
    return And(
        parts=(
            LatestWindow(label="in_latest_window"),
            Since(trigger=newly_missing | ANY_DEPS_UPDATED, reset=HANDLED),
            ~ANY_DEPS_MISSING,
            ~ANY_DEPS_IN_PROGRESS,
            ~IN_PROGRESS,
        ),
        label="eager",
    )


def on_cron(cron: str, *, tz: str = "UTC") -> And:
    """After each time of a cron expression, once everything that it is made from was updated since."""
    tick = CronTick(cron=cron, tz=tz)
    updated = AllDeps(part=Since(trigger=UPDATED, reset=tick) | REQUESTED, label="all_deps_updated_since_cron")
    return And(
        parts=(LatestWindow(label="in_latest_window"), Since(trigger=tick, reset=HANDLED), updated), label="on_cron"
    )


def on_missing() -> And:
    """Once it is missing, and nothing that it is made from is."""
    return And(
        parts=(
            LatestWindow(label="in_latest_window"),
            Since(trigger=Newly(part=MISSING), reset=HANDLED),
            ~ANY_DEPS_MISSING,
        ),
        label="on_missing",
    )


# --- where automations stand -----------------------------------------------------------------------------------------

Bounds = tuple[int, ...]
"""Sets of partitions, as the edges of their ranges (`engine.partitions.keysets`)."""


class AssetState(Value):
    """Where an asset stands after a look: by which condition (its version), what its parts remember, and what was
    requested in that look. `again`: it has to be looked at in the next one, whatever happens. `held`: why it could
    not be looked at, when a custom mapping has not answered; `missed` is what was momentary in the looks of that while,
    which are gone through one by one later; `anew` says that it was never looked at by this condition."""

    version: str
    remembered: dict[str, Bounds] = {}
    requested: Bounds = ()
    again: bool = False
    held: str = ""
    anew: bool = False
    missed: tuple[dict[str, Bounds], ...] = ()


class Decision(Value):
    """What a look said of an asset: the partitions that it requested, those that are there, and those of which each
    part of the condition was true (by the numbers of the parts, `no@dep` for one that looked upstream). `held`: why it
    could not be looked at."""

    at: float
    version: str
    requested: Bounds = ()
    there: Bounds = ()
    results: dict[str, Bounds] = {}
    held: str = ""


class Looked(Value):
    """What is remembered of the last look itself: its number, when it was, what was seen of the updates of the last
    minutes (hashes), which asset runs were open, and the assets (without partitions) whose last run failed."""

    look: int = 0
    at: float = 0.0
    seen: tuple[bytes, ...] = ()
    open: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
