"""What a type checker makes of the public names. `make check` reads this file (pyright, strict); nothing runs it.

A line with an ignore is a mistake that the checker has to see: without its error, the ignore itself is one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, assert_type

from plait import (
    Asset,
    AssetUpdate,
    Cache,
    Check,
    CheckResult,
    Context,
    Dag,
    DefinitionError,
    DuckDBTables,
    ExternalAsset,
    Fail,
    Files,
    Flow,
    Future,
    FutureList,
    Group,
    IOContext,
    IOManager,
    JsonFiles,
    Limit,
    LoadError,
    LookAgain,
    MultiAsset,
    Out,
    ParameterError,
    ParquetFiles,
    PartitionMapping,
    Partitions,
    PickleFiles,
    PlaitError,
    PublishedEvent,
    Retry,
    RetryAfter,
    Schedule,
    Skip,
    Task,
    TaskCancelled,
    TaskFailed,
    Trigger,
    TriggerFailed,
    Unfinished,
    UsageError,
    UserError,
    WaitTimeout,
    __version__,
    answer,
    ask,
    asset,
    check,
    context,
    cron,
    dag,
    daily,
    dynamic,
    eager,
    event,
    every,
    external,
    file_exists,
    flow,
    fresh,
    group,
    hourly,
    limit,
    logical_date,
    materialize,
    monthly,
    multi,
    multi_asset,
    observe,
    on_cron,
    on_dates,
    on_missing,
    partition_key,
    pool,
    publish,
    rrule,
    run_finished,
    static,
    task,
    transaction,
    trigger,
    unmapped,
    updated,
    wait_for,
    weekly,
    when,
    windows,
)

# --- tasks keep their parameters and their value ----------------------------------------------------------------------


@task
def plain(day: date, *, rows: int = 1) -> list[int]:
    return [day.day] * rows


@task(retries=Retry(3, delay=60, factor=2, cap=3600), timeout=7200, pool="warehouse", cache=Cache(expires=60))
def with_options(number: int) -> str:
    return str(number)


@task
async def waits(number: int) -> str:
    return str(number)


assert_type(plain(date(2026, 1, 1), rows=2), list[int])
assert_type(plain.submit(date(2026, 1, 1)), Future[list[int]])
assert_type(plain.submit(date(2026, 1, 1)).result(), list[int])
assert_type(plain.map([date(2026, 1, 1)], rows=unmapped(2)), FutureList[list[int]])
assert_type(plain.map([]).result(), list[list[int]])
assert_type(plain.product([]).result(), list[list[int]])
assert_type(plain.options(name="other")(date(2026, 1, 1)), list[int])
assert_type(with_options(1), str)
a_task: Task[[int], str] = with_options
from_lambda: Task[[int], int] = task(lambda number: number, name="same")

plain("today")  # pyright: ignore[reportArgumentType]
plain(date(2026, 1, 1), row=2)  # pyright: ignore[reportCallIssue]
plain()  # pyright: ignore[reportCallIssue]
task(retires=3)  # pyright: ignore[reportCallIssue]
task(timeout="soon")  # pyright: ignore[reportArgumentType]

# --- flows and dags too -----------------------------------------------------------------------------------------------


@flow(retries=1, executor="processes")
def reload(first: date, last: date = logical_date()) -> int:
    with transaction():
        assert_type(with_options(1), str)
    return len(plain.map([first, last]).result())


@flow
async def waiting(region: str = partition_key()) -> str:
    return await waits(1) + await with_options.submit(1) + region


@group
def part(number: int) -> str:
    return with_options(number)


@dag(schedule=cron("0 6 * * *", tz="America/New_York"), catchup="all", start="2026-01-01", max_active_runs=1)
def nightly(day: date = logical_date()) -> list[int]:
    with group("first"):
        part(1)
    return plain(day)


assert_type(reload(date(2026, 1, 1)), int)
assert_type(reload.submit(date(2026, 1, 1)), Future[int])
assert_type(nightly(), list[int])
assert_type(nightly.submit(), Future[list[int]])


async def in_an_event_loop() -> None:
    assert_type(await waits(1), str)
    assert_type(await waiting(), str)


a_flow: Flow[[date], int] = flow(name="other")(reload.fn)
a_dag: Dag[[date], list[int]] = nightly.options(name="other")
a_group: Group[[int], str] = part

reload("today")  # pyright: ignore[reportArgumentType]
reload()  # pyright: ignore[reportCallIssue]
nightly(dya=date(2026, 1, 1))  # pyright: ignore[reportCallIssue]
dag(retries=3)  # pyright: ignore[reportCallIssue]

# --- assets -----------------------------------------------------------------------------------------------------------

days: Partitions = daily("2026-01-01")


@asset(partitions=days, retries=2)
def flights(context: Context) -> list[str]:
    context.add_metadata(rows=1)
    return [context.partition_key]


@check(asset=flights, blocking=True)
def has_rows(flights: list[str]) -> bool:
    return len(flights) > 0


an_asset: Asset[[Context], list[str]] = flights
a_check: Check[[list[str]], bool] = has_rows
assert_type(has_rows(["LH 400"]), bool)
assert_type(materialize(flights, has_rows, partition="2026-01-02"), dict[str, Any])
assert_type([hourly("2026-01-01"), weekly("2026-01-01"), monthly("2026-01-01"), static(["eu"])], list[Partitions])
asset(partition=days)(flights.fn)


@multi_asset(outs={"users": Out(group="raw", io=JsonFiles("data")), "orders": Out(required=False)}, subset=True)
def load(context: Context) -> dict[str, Any]:
    context.add_asset_metadata("users", rows=3)
    context.add_check("rows", CheckResult(True), asset="users", blocking=True)
    return dict.fromkeys(context.selected)


@observe(key="prices")
def look() -> str:
    return "7"


class Shelf(IOManager):
    def load(self, context: IOContext) -> str:
        return context.path


several: MultiAsset[[Context], dict[str, Any]] = load
outside: ExternalAsset = external("clicks", io=Shelf(), freshness=fresh(lag=timedelta(days=1)))
seen: Asset[[], str] = look
files: list[Files] = [PickleFiles("a"), JsonFiles("b"), ParquetFiles("c", into="polars")]
kept: list[IOManager] = [DuckDBTables("d.duckdb"), *files]
assert_type(load["users"], str)


@asset(automation=(eager() | on_cron("0 6 * * *", tz="Europe/Berlin") | on_missing()) & ~when.in_progress())
def by_itself(flights: list[str]) -> int:
    return len(flights)


weekly_report = eager().replace("in_latest_window", when.in_latest_window(timedelta(days=7)))
check(flights)  # pyright: ignore[reportCallIssue]

# --- waits ------------------------------------------------------------------------------------------------------------


@trigger
async def parcel(number: int) -> dict[str, int]:
    return {"number": number}


@dataclass
class Letter:
    street: str

    async def run(self) -> str:
        return self.street


def waiting_for() -> None:
    assert_type(wait_for(parcel(5), timeout=60), dict[str, int])
    assert_type(wait_for(Letter("Hauptstr. 1")), str)
    assert_type(wait_for(60), datetime)
    assert_type(wait_for(timedelta(hours=1)), datetime)
    assert_type(wait_for(file_exists("rows.csv", poll=5)), Path)
    assert_type(wait_for(run_finished("0199")), str)
    assert_type(ask(bool, "Go on?"), bool)
    assert_type(ask(Literal["go", "stop"], "Go on?", timeout=60, name="go"), Any)
    answer("0199", True, task="go")


a_trigger: Trigger[dict[str, int]] = parcel(5)

parcel("five")  # pyright: ignore[reportArgumentType]
wait_for("soon")  # pyright: ignore[reportArgumentType, reportCallIssue]
ask(bool)  # pyright: ignore[reportCallIssue]

# --- the rest ---------------------------------------------------------------------------------------------------------

assert_type(context(), Context)
assert_type(context().updates, list[AssetUpdate])
assert_type(context().events, list[PublishedEvent])
assert_type(publish("ready", {"n": 1}), str)
assert_type((updated("orders", an_asset) & event("ready", {"n": 1})) | cron("@daily"), Schedule)
assert_type([pool("warehouse", slots=1), limit(tag="db", slots=4)], list[Limit])
assert_type(every(3600), Schedule)
assert_type(rrule("FREQ=DAILY", start=date(2026, 1, 1)), Schedule)
assert_type(on_dates("2026-12-24", date(2026, 12, 31), at="18:00"), Schedule)
assert_type((cron("@daily") | every(7) - on_dates("2026-12-24")).between("2026-01-01").jitter(60), Schedule)
version: str = __version__
pool("warehouse", slots="one")  # pyright: ignore[reportArgumentType]


def mistakes() -> type[PlaitError]:
    users: list[type[UserError]] = [DefinitionError, LoadError, ParameterError, UsageError]
    others: list[type[PlaitError]] = [TaskFailed, TriggerFailed, Unfinished, WaitTimeout]
    return [*users, *others][0]


signals: list[Callable[[], BaseException]] = [
    lambda: Skip("no rows"), lambda: Fail("no table"), lambda: RetryAfter(60), lambda: LookAgain(30), TaskCancelled,
]  # fmt: skip

shifts: Partitions = windows("0 9,17 * * *", start="2026-01-01")
assert_type(multi(day=days, customer=dynamic("customers")), Partitions)
assert_type(PartitionMapping.windows(-1).of("balance").key, str)
