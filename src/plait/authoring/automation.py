"""When assets are made by themselves, as users write it: `eager`, `on_cron`, `on_missing`, and `when` for the parts of
conditions of your own."""

from collections.abc import Sequence

from plait.authoring.retry import Seconds, seconds
from plait.authoring.schedules import cron as schedule
from plait.model import automation as model
from plait.model.automation import And, Condition


def eager() -> And:
    """As soon as something that it is made from is updated, or it is new: in the latest window, and not while something
    that it is made from is missing or being made, nor while it is being made itself.

        @asset(automation=eager())
        def report(orders): ...
    """
    return model.eager()


def on_cron(cron: str, *, tz: str = "UTC") -> And:
    """After each time of a cron expression (on the clock of zone `tz`), once all it is made from was updated since.

    @asset(automation=on_cron("0 6 * * *", tz="Europe/Berlin"))
    def report(orders): ...
    """
    schedule(cron, tz=tz)
    return model.on_cron(cron, tz=tz)


def on_missing() -> And:
    """Once it is missing, and nothing that it is made from is.

    @asset(partitions=days, automation=on_missing())
    def report(orders): ...
    """
    return model.on_missing()


class when:
    """The parts of conditions. They combine with `&`, `|` and `~`, and with `.since(reset)`, `.newly_true()`,
    `.replace(part, other)`, `.without(part)` and `.named(label)`; parts are found by their labels or as they are.

        condition = when.any_deps(when.updated()) & ~when.in_progress()
        condition = eager().replace("in_latest_window", when.in_latest_window(timedelta(days=7)))
    """

    @staticmethod
    def missing() -> Condition:
        """It was never materialized."""
        return model.MISSING

    @staticmethod
    def in_progress() -> Condition:
        """A run is making it."""
        return model.IN_PROGRESS

    @staticmethod
    def failed() -> Condition:
        """Its last run failed."""
        return model.FAILED

    @staticmethod
    def updated() -> Condition:
        """It was materialized (or observed) since the look before."""
        return model.UPDATED

    @staticmethod
    def updated_apart() -> Condition:
        """It was, by a run that does not make the asset whose condition this is."""
        return model.UPDATED_APART

    @staticmethod
    def code_changed() -> Condition:
        """It was materialized by another code version than it has now."""
        return model.CODE_CHANGED

    @staticmethod
    def requested() -> Condition:
        """It is being requested in this look, and so is made in the same run."""
        return model.REQUESTED

    @staticmethod
    def was_requested() -> Condition:
        """It was requested in the look before."""
        return model.WAS_REQUESTED

    @staticmethod
    def initial() -> Condition:
        """It is looked at for the first time, or for the first time by this condition."""
        return model.INITIAL

    @staticmethod
    def handled() -> Condition:
        """What it was requested for is done: it was requested, updated, or is looked at for the first time."""
        return model.HANDLED

    @staticmethod
    def cron(cron: str, *, tz: str = "UTC") -> Condition:
        """A time of a cron expression has passed since the look before."""
        schedule(cron, tz=tz)
        return model.CronTick(cron=cron, tz=tz)

    @staticmethod
    def in_latest_window(lookback: Seconds | None = None) -> Condition:
        """It is in the latest time window, or in one that has ended in the last seconds (or timedelta)."""
        return model.LatestWindow(
            lookback=seconds(lookback) if lookback is not None else None, label="in_latest_window"
        )

    @staticmethod
    def any_deps(part: Condition, *, only: Sequence[str] = (), ignore: Sequence[str] = ()) -> Condition:
        """Something that it is made from fulfils a condition: of all, of `only` some (keys, globs), or but for those to
        `ignore`."""
        return model.AnyDeps(part=part, only=tuple(only), ignore=tuple(ignore))

    @staticmethod
    def all_deps(part: Condition, *, only: Sequence[str] = (), ignore: Sequence[str] = ()) -> Condition:
        """Everything that it is made from does."""
        return model.AllDeps(part=part, only=tuple(only), ignore=tuple(ignore))
