"""What a task can ask about its run while it runs: `context()`."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from plait.authoring.scope import Within
from plait.authoring.waiting import Waiter
from plait.authoring.where import here
from plait.model.errors import UsageError
from plait.model.partitions import RANGE, SEPARATOR

if TYPE_CHECKING:
    from plait.authoring.checks import CheckResult


class AssetUpdate(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """An update of an asset that has started a run: when it was (`at`, aware), which task of which run made it, and
    with which data version and metadata (up to 4 KB of them). `observed`: of an asset that is made elsewhere."""

    asset: str
    at: datetime
    run_id: str
    partition: str | None = None
    workflow: str = ""
    task: str = ""
    data_version: str | None = None
    metadata: dict[str, Any] = {}
    observed: bool = False


class PublishedEvent(msgspec.Struct, frozen=True):
    """An event that has started a run: its `data`, and when it was published (`at`, aware) under which id."""

    name: str
    data: Any
    at: datetime
    id: str


class Context(msgspec.Struct, repr_omit_defaults=True):
    """The run and the task run that user code is in.

    `run_id`, `workflow`, `task` and `map_path` name them; `attempt` counts from 1; `logical_date` is aware (UTC);
    `data_interval_start` and `data_interval_end` are, too: what the run is about, from the one to before the other, by
    its workflow's schedule (none without a schedule or a date); `partition_key` is none for a run without partition;
    `params` are the run's parameters; `metadata` collects what `add_metadata` is given, and is recorded with a
    materialization; `selected` are the keys of the assets that it is to make; `data_version` (of several assets
    `data_versions`, by key) may be set to what tells this value from others: a checksum, a revision; `waits` answers
    `wait_for` and `ask` in a task; `started_by` is what `updates` and `events` tell.
    """

    run_id: str
    workflow: str
    task: str
    map_path: tuple[int | str, ...] = ()
    attempt: int = 1
    max_attempts: int = 1
    logical_date: datetime | None = None
    data_interval_start: datetime | None = None
    data_interval_end: datetime | None = None
    partition: str | None = None
    partitions: dict[str, Any] | None = None
    partition_list: list[str] | None = None
    params: dict[str, Any] = {}
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}
    resume: Any = None
    selected: tuple[str, ...] = ()
    data_version: str | None = None
    data_versions: dict[str, str] = {}
    asset_metadata: dict[str, dict[str, Any]] = {}
    checks: list[tuple[str, str | None, CheckResult, bool]] = []
    waits: Waiter | None = None
    started_by: dict[str, Any] = {}

    @property
    def updates(self) -> list[AssetUpdate]:
        """The updates of assets that have started the run, oldest first: all since the run before it, at most 100 (of
        each asset at least the last one). Empty for a run that was started otherwise."""
        return [_update(told) for told in self.started_by.get("asset_events", ())]

    @property
    def events(self) -> list[PublishedEvent]:
        """The published events that have started the run, likewise."""
        found = self.started_by.get("events", ())
        return [PublishedEvent(told["name"], told["data"], _aware(told["at"]), told["id"]) for told in found]

    @property
    def partition_key(self) -> str:
        """The run's partition key. Raises UsageError when the run has none."""
        if self.partition is None:
            where, wrong = here()
            raise UsageError(
                "this run has no partition",
                where=where,
                wrong=wrong,
                right="give it one: plait run ... --partition KEY",
            )
        if self.partitions is not None and RANGE in self.partition:
            where, wrong = here()
            raise UsageError(
                f"this run is for a range of {len(self.partition_keys)} partitions, {self.partition}",
                where=where,
                wrong=wrong,
                right="context.partition_keys, or context.partition_window for partitions in time",
            )
        return self.partition

    @property
    def partition_keys(self) -> list[str]:
        """The keys of the partitions that the run is for: one, or those of a range. Raises UsageError for none."""
        if self.partition is None or self.partitions is None or RANGE not in self.partition:
            return [self.partition_key]
        if self.partition_list is not None:
            return list(self.partition_list)
        from plait.authoring import partition_ranges  # imported where it is needed, as all of partitions

        return partition_ranges.keys(self.partitions, self.partition)

    @property
    def partition_window(self) -> tuple[datetime, datetime]:
        """The time of the partition (aware): from its begin to before its end; of a range, all of it. Raises UsageError
        for partitions that are not in time."""
        if self.partition is not None and self.partitions is not None:
            from plait.authoring import partition_ranges  # likewise

            found = partition_ranges.window(self.partitions, self.partition, self.partition_list)
            if found is not None:
                return found
        where, wrong = here()
        raise UsageError(
            "this run has no partition in time", where=where, wrong=wrong, right='partitions=daily("2026-01-01")'
        )

    @property
    def partition_dimensions(self) -> dict[str, str]:
        """The parts of the key of several dimensions, by their names. Raises UsageError for a key without."""
        key = self.partition_key
        if self.partitions is None or self.partitions.get("kind") != "multi":
            where, wrong = here()
            raise UsageError(f"partition {key!r} has no dimensions", where=where, wrong=wrong)
        names = [each["name"] for each in self.partitions["dimensions"]]
        return dict(zip(names, key.split(SEPARATOR), strict=True))

    @property
    def has_partition_key(self) -> bool:
        """Whether the run has a partition."""
        return self.partition is not None

    @property
    def log(self) -> logging.Logger:
        """A logger whose lines land in this task run's log."""
        return logging.getLogger(f"plait.task.{self.task}")

    def __plait_fingerprint__(self) -> Any:
        """What a cached result may depend on: not the run, but what it is about."""
        about = [self.logical_date, self.partition, self.params]
        if self.data_interval_start is not None:
            about += [self.data_interval_start, self.data_interval_end]
        if self.started_by:
            about.append(self.started_by)
        return about

    def add_metadata(self, **values: Any) -> None:
        """Record values (plain data) with what this task materializes: `context.add_metadata(rows=len(table))`."""
        self.metadata.update(values)

    def add_asset_metadata(self, key: str, **values: Any) -> None:
        """Record values with one of several assets that this task materializes."""
        self.asset_metadata.setdefault(key, {}).update(values)

    def add_check(
        self, name: str, passed: bool | CheckResult, *, asset: str | None = None, blocking: bool = False
    ) -> None:
        """Record a check of the asset that this task materializes (of several: of `asset`), which has just been made.
        One that is `blocking` and fails, with severity "error", fails the task, and so stops what is below."""
        from plait.authoring.checks import CheckResult  # only who has assets needs it

        result = passed if isinstance(passed, CheckResult) else CheckResult(passed=bool(passed))
        self.checks.append((name, asset, result, blocking))


def _aware(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _update(told: dict[str, Any]) -> AssetUpdate:
    return AssetUpdate(
        asset=told["key"],
        at=_aware(told["at"]),
        run_id=told["run_id"],
        partition=told["partition"] or None,
        workflow=told["workflow"],
        task=told["task"],
        data_version=told.get("data_version"),
        metadata=told.get("metadata", {}),
        observed=told.get("observed", False),
    )


_current: ContextVar[Context | None] = ContextVar("plait_context", default=None)


def context() -> Context:
    """The context of the task (or flow) that is running here. Raises UsageError outside of one."""
    found = _current.get()
    if found is None:
        where, wrong = here()
        raise UsageError(
            "there is no context outside of a run", where=where, wrong=wrong, right="call it inside of a task or a flow"
        )
    return found


def current_context() -> Context | None:
    """The context here, or none."""
    return _current.get()


def in_context(value: Context) -> Within[Context | None]:
    """Be in a context for a block."""
    return Within(_current, value)
