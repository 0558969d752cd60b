"""`plait backfill`: runs for many partitions, or dates: planned, shown, and carried out here or by services."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

import click

from plait.cli.common import listen, open_store, print_json, ring, say, settings, users_code
from plait.cli.options import db_option, json_option

if TYPE_CHECKING:
    from plait.authoring.definitions import Definitions
    from plait.model.rows import BackfillRow
    from plait.ports import RunStore
    from plait.runtime.session import Session
    from plait.services.backfill_plans import Asked as AskedFor
    from plait.services.backfill_plans import Planned, PlanView
    from plait.services.backfills import BackfillView

FAILED, INTERRUPTED = 1, 130
STATES = ("missing", "failed")


@click.command()
@click.argument("target", type=click.Path())
@click.argument("name", required=False)
@click.option("--partitions", multiple=True, metavar="KEYS",
              help="Partitions: KEY or FIRST...LAST. May be given several times.")  # fmt: skip
@click.option("--from", "first", metavar="ISO", help="From this day, or point in time, on.")
@click.option("--to", "last", metavar="ISO", help="Until this day, or point in time, which counts as well.")
@click.option("--select", metavar="EXPR", help="Which assets. Default: all.")
@click.option("-p", "--param", "params", multiple=True, metavar="KEY=VALUE", help="A parameter of a workflow's runs.")
@click.option("--only", type=click.Choice(STATES), multiple=True, help="Only partitions that are missing, or failed.")
@click.option("--batch", type=click.IntRange(min=1), metavar="N", help="Partitions that a run makes. Default: 1.")
@click.option("--single-run", is_flag=True, help="One run for a whole range.")
@click.option("--concurrency", type=click.IntRange(min=1), default=4, show_default=True, metavar="N",
              help="Runs at the same time.")  # fmt: skip
@click.option("--backward", is_flag=True, help="The last partitions first.")
@click.option("--dry-run", is_flag=True, help="Show the plan, and do nothing.")
@click.option("--detach", is_flag=True, help="Leave it to the scheduler services on this database.")
@click.option("--resume", metavar="ID", help="Go on with a backfill that was interrupted here.")
@click.option("--executor", type=click.Choice(["inline", "threads", "processes"]), help="As for plait run.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="How many worker processes.")
@json_option
@db_option
def backfill(**given: Any) -> int:
    """Make many partitions of the assets of TARGET (a file, a folder or a module), or of the one called NAME; or run
    the workflow NAME for many dates.

    It goes on here until it is over; killed or interrupted, it is resumed where it was. The exit code is 0 for success
    and 1 if a run failed.

    \b
      plait backfill assets.py --partitions 2013-01-01...2013-12-31
      plait backfill assets.py --select "+report" --from 2013-01-01 --only missing --dry-run
      plait backfill flows.py daily --from 2013-01-01 --to 2013-01-31 --backward
      plait backfill assets.py --resume 0199b3f2
    """
    return _backfill(Typed(**given))


@dataclass(frozen=True)
class Typed:
    """What was typed."""

    target: str
    name: str | None
    partitions: tuple[str, ...]
    first: str | None
    last: str | None
    select: str | None
    params: tuple[str, ...]
    only: tuple[str, ...]
    batch: int | None
    single_run: bool
    concurrency: int
    backward: bool
    dry_run: bool
    detach: bool
    resume: str | None
    executor: str | None
    workers: int | None
    as_json: bool


def _backfill(typed: Typed) -> int:
    from plait.cli.running import load

    if typed.batch is not None and typed.single_run:
        raise click.UsageError("--batch and --single-run exclude each other")
    definitions = load(typed.target)
    if typed.resume is not None:
        return _carry_out(typed, definitions, lambda store: _resumed(store, str(typed.resume)))
    asked = _asked(typed)
    with open_store() as store:
        planned, title = _planned(typed, store, definitions, asked)
        if typed.dry_run:
            return _show_plan(typed, store, planned)
        if typed.detach:
            return _leave(typed, store, planned, title)
    return _carry_out(typed, definitions, lambda store: _begun(store, planned, title))


def _asked(typed: Typed) -> AskedFor:
    from plait.model.backfills import WHOLE
    from plait.services.backfill_plans import Asked
    from plait.services.partitions import Status

    return Asked(
        partitions=tuple(part.strip() for text in typed.partitions for part in text.split(",") if part.strip()),
        first=_point(typed.first, "--from"),
        last=_point(typed.last, "--to"),
        only=tuple(Status(each) for each in typed.only),
        size=WHOLE if typed.single_run else typed.batch or 1,
        most=typed.concurrency,
        backward=typed.backward,
    )


def _point(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.combine(date.fromisoformat(text), time()) if len(text) <= 10 else datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not a date like 2013-02-09 or 2013-02-09T06:00", param_hint=option
        ) from None


def _planned(typed: Typed, store: RunStore, definitions: Definitions, asked: AskedFor) -> tuple[Planned, str]:
    from plait import bootstrap
    from plait.cli.run import choose, parse_params, split_params
    from plait.engine.partitions.answers import Answers
    from plait.services.backfill_plans import Planner
    from plait.worker.asking import ask_here

    target = _place(typed.target)
    planner = Planner(store, bootstrap.clock(), definitions, target, Answers(ask_here))
    assets = bool(typed.partitions or typed.select)
    workflow = choose(definitions, typed.name, assets=assets)
    session = not typed.detach
    if workflow is not None:
        if typed.select is not None:
            raise click.UsageError(f"--select chooses assets, and {workflow.name!r} is a {workflow.kind}")
        values = parse_params(split_params(typed.params), workflow)
        planned = planner.workflow(workflow, values, asked, session=session)
        return planned, f"{workflow.kind} {workflow.name}"
    if typed.params:
        raise click.UsageError("-p is for workflows; assets have no parameters")
    select = typed.select if typed.select is not None else typed.name
    keys = _selected(definitions, store, select)
    return planner.assets(keys, asked, session=session), "assets" + (f" {select}" if select else "")


def _selected(definitions: Definitions, store: RunStore, select: str | None) -> list[str]:
    from plait import bootstrap
    from plait.engine.assets import staleness
    from plait.engine.assets.selection import select as selected
    from plait.engine.partitions.answers import Answers
    from plait.worker.asking import ask_here

    index = definitions.asset_index()
    if select is None:
        return index.runnable()
    answers = Answers(ask_here)
    known = staleness.Known(index, store, None, bootstrap.clock().now(), lambda key: answers)
    states = staleness.states(index, known)
    found = selected(select, index, states)
    return [key for key in index.keys if key in set(found)]


def _place(target: str) -> str:
    from pathlib import Path

    return str(Path(target).resolve()) if Path(target).exists() else target


# --- what is shown ----------------------------------------------------------------------------------------------------


def _show_plan(typed: Typed, store: RunStore, planned: Planned) -> int:
    from plait.services.backfill_plans import view_of

    view = view_of(planned, store.partitions.keys)
    if typed.as_json:
        print_json(view)
        return 0
    _print_plan(view)
    return 0


def _print_plan(view: PlanView) -> None:
    from plait.cli import tables

    tables.show(
        ("runs of", "partitions", "runs", "begins with", "ends with", "after"),
        [
            (each.name, f"{each.partitions:,}", f"{each.runs:,}", each.first or "-", each.last or "-",
             ", ".join(dict.fromkeys(each.after)) or "-")
            for each in view.groups
        ],
    )  # fmt: skip
    for each in view.groups:
        for skipped in each.skipped:
            ranges = f": {', '.join(skipped.ranges)}" if skipped.ranges else ""
            say(f"{each.name}: {skipped.count:,} left out, {skipped.reason}{ranges}")
    say(f"{view.runs:,} runs, {view.concurrency} at a time{', backward' if view.backward else ''}")


def show(view: BackfillView) -> None:
    """What a backfill has come to."""
    from plait.cli import tables

    tables.show(
        ("runs of", "partitions", "done", "failed", "skipped", "running", "left"),
        [
            (each.name, *(f"{count:,}" for count in (each.total, each.done, each.failed, each.skipped, each.running,
                                                      each.left)))
            for each in view.groups
        ],
    )  # fmt: skip
    for each in view.groups:
        if each.failed_ranges:
            say(f"{each.name} failed for {', '.join(each.failed_ranges)}")
        if each.held:
            say(f"{each.name} waits: {each.held}")
    say(f"backfill {view.id}: {view.state}, {view.done:,} of {view.total:,} partitions done")


class Ticker:
    """One line that is written over while people look, else a line for each tenth."""

    def __init__(self) -> None:
        self._there = sys.stderr.isatty()
        self._tenth = -1

    def tell(self, view: BackfillView) -> None:
        """How far it is."""
        over = view.done + view.failed + view.skipped
        text = f"{over:,} of {view.total:,} partitions"
        text += "".join(
            f", {count:,} {what}" for count, what in ((view.failed, "failed"), (view.running, "running")) if count
        )
        if self._there:
            click.echo(f"\r\x1b[K{text}", err=True, nl=False)
        elif (tenth := over * 10 // max(1, view.total)) != self._tenth:
            self._tenth = tenth
            say(text)

    def end(self) -> None:
        """Nothing more is written over."""
        if self._there:
            click.echo("\r\x1b[K", err=True, nl=False)


# --- carrying out -----------------------------------------------------------------------------------------------------


def _begun(store: RunStore, planned: Planned, title: str) -> str:
    from plait import bootstrap
    from plait.services.backfills import BackfillRequests

    return BackfillRequests(store, bootstrap.clock(), lambda: ring("backfills")).begin(
        planned.plan, title, bootstrap.ids()
    )


def _leave(typed: Typed, store: RunStore, planned: Planned, title: str) -> int:
    id = _begun(store, planned, title)
    if typed.as_json:
        print_json({"backfill": id})
    else:
        click.echo(id)
    if not any(owner.address for owner in store.owners()):
        say("no scheduler is running on this database: it begins when there is one (plait scheduler, plait dev)")
    return 0


def _resumed(store: RunStore, text: str) -> str:
    """The backfill to go on with. Raises UsageError for one that services drive."""
    from plait import bootstrap
    from plait.engine.backfill import decode
    from plait.model.backfills import OVER, BackfillState
    from plait.model.errors import UsageError
    from plait.services.backfills import BackfillRequests

    requests = BackfillRequests(store, bootstrap.clock())
    row = requests.find(text)
    plan, _ = decode(row.plan, row.cursor)
    if not plan.session:
        raise UsageError(f"backfill {row.id} is the services'", right=f"plait backfills resume {row.id}")
    if row.state == BackfillState.PAUSED.value and BackfillState(row.state) not in OVER:
        requests.change(row.id, BackfillState.RUNNING)
    return row.id


def _carry_out(typed: Typed, definitions: Definitions, begin: Callable[[RunStore], str]) -> int:
    from plait import bootstrap
    from plait.runtime.session_backfills import SessionBackfill
    from plait.services.backfills import BackfillRequests, is_over

    where = settings()
    with ExitStack() as stack:
        session: Session = stack.enter_context(
            bootstrap.open_session(
                where, target=typed.target, executor=typed.executor, workers=typed.workers, echo=False
            )
        )
        requests = BackfillRequests(session.store, bootstrap.clock())
        id = begin(session.store)
        driven = SessionBackfill(session, definitions, id)
        stack.enter_context(listen(driven.wake))
        ticker, interrupted = Ticker(), Interrupt(requests, id, driven.wake)
        say(f"backfill {id}")

        def tell(row: BackfillRow) -> None:
            ticker.tell(requests.view(row))

        with users_code(), interrupted:
            row = driven.carry_out(tell)
        ticker.end()
        view = requests.view(row)
    if typed.as_json:
        print_json(view)
    else:
        show(view)
    if not is_over(view):
        say(f"plait backfill {typed.target} --resume {id} goes on where it is")
        return INTERRUPTED if interrupted.count else 0
    return 0 if view.state == "success" else FAILED


class Interrupt:
    """Ctrl-C pauses the backfill: what has begun is finished. Once more leaves at once, and it can be resumed."""

    def __init__(self, requests: Any, id: str, wake: Callable[[], None]):
        from plait.cli.interrupts import Interrupts

        self._requests = requests
        self._id = id
        self._wake = wake
        self._interrupts = Interrupts(
            self._pause,
            lambda: True,
            first="pausing the backfill when what has begun is over; once more to leave at once",
            second=f"plait backfill ... --resume {id} goes on where it was",
        )

    @property
    def count(self) -> int:
        """How often."""
        return self._interrupts.count

    def _pause(self) -> None:
        from plait.model.backfills import BackfillState

        self._requests.change(self._id, BackfillState.PAUSED)
        self._wake()

    def __enter__(self) -> None:
        self._interrupts.__enter__()

    def __exit__(self, *exc: object) -> None:
        self._interrupts.__exit__(*exc)
