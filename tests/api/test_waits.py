"""`wait_for` and `ask` as users see them: code leaves at a wait, and begins again when it is over."""

import asyncio
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from plait import (
    DefinitionError,
    TriggerFailed,
    UsageError,
    WaitTimeout,
    answer,
    ask,
    context,
    dag,
    file_exists,
    flow,
    pool,
    run_finished,
    task,
    trigger,
    wait_for,
)
from plait.runtime.session import Session
from tests.api.helpers import Tally
from tests.api.waiting import arrives, asked, in_background, never, raises, until

pytestmark = pytest.mark.usefixtures("session")


# --- events -----------------------------------------------------------------------------------------------------------


def test_a_task_leaves_and_begins_again_with_the_event(session: Session):
    tally = Tally()

    @task
    def ships(number: int) -> dict[str, int]:
        tally.add("begun")
        event = wait_for(arrives(number), timeout=60)
        tally.add("went on")
        return {**event, "attempt": context().attempt}

    @dag
    def shop(number: int = 7):
        return ships(number)

    assert shop() == {"number": 7, "attempt": 1}
    assert tally.counts == {"begun": 2, "went on": 1}


def test_several_waits_in_one_task_each_give_their_own_event():
    tally = Tally()

    @task
    def steps() -> list[int]:
        tally.add("begun")
        found = [wait_for(arrives(number))["number"] for number in (1, 2, 2)]
        wait_for(0.01)
        wait_for(timedelta(milliseconds=10))
        return found

    @flow
    def several():
        return steps()

    assert several() == [1, 2, 2]
    assert tally["begun"] == 6


def test_an_async_task_waits_in_the_same_way():
    @task
    async def ships() -> int:
        return wait_for(arrives(3))["number"] + wait_for(arrives(4))["number"]

    @dag
    def in_dag():
        return ships()

    @flow
    async def in_flow():
        return await asyncio.gather(ships(), ships.submit())

    assert in_dag() == 7
    assert asyncio.run(in_flow()) == [7, 7]


def test_a_wait_holds_no_slot_and_no_thread(session: Session):
    @task(pool="narrow")
    def patient() -> str:
        wait_for(never(), timeout=0.5)
        return ""

    @task(pool="narrow")
    def quick() -> str:
        return "in between"

    @flow
    def both():
        slow = patient.submit()
        until(lambda: slow.state == "deferred")
        value = quick.submit().result()
        return value, type(slow.result(raise_on_failure=False)).__name__

    pool("narrow", slots=1)
    assert both() == ("in between", "WaitTimeout")


def test_what_does_not_come_in_time_is_a_timeout_that_code_may_catch():
    @task
    def patient() -> str:
        try:
            wait_for(never(), timeout=0.05)
        except WaitTimeout as error:
            return str(error)
        return ""

    @dag
    def one():
        return patient()

    assert one() == "'never' did not happen within 0.05 s"


def test_a_trigger_that_raises_fails_the_task_by_its_policy():
    tally = Tally()

    @task(retries=1)
    def unlucky() -> None:
        tally.add("begun")
        wait_for(raises("no such order"))

    @dag
    def one():
        return unlucky()

    with pytest.raises(TriggerFailed, match="'raises' failed: ValueError: no such order"):
        one()
    assert tally["begun"] == 4, "each attempt waits anew"


def test_a_point_in_time(session: Session):
    moment = datetime.now(UTC) + timedelta(seconds=0.1)
    before = set(threading.enumerate())

    @task
    def later() -> datetime:
        came = wait_for(moment)
        assert datetime.now(UTC) >= moment
        return came

    @dag
    def one():
        return later()

    assert abs((one() - moment).total_seconds()) < 0.001
    new = [thread.name for thread in threading.enumerate() if thread not in before]
    assert "plait-triggers" not in new, "the scheduler's own timer does it"


def test_a_time_without_a_zone_is_refused():
    @task
    def later() -> None:
        wait_for(datetime(2030, 1, 1))  # noqa: DTZ001  that is the mistake

    @dag
    def one():
        return later()

    with pytest.raises(UsageError, match="has no time zone"):
        one()


def test_a_file(tmp_path: Path):
    file = tmp_path / "rows.csv"

    @task
    def reads() -> str:
        path = wait_for(file_exists(file, poll=0.02), timeout=20)
        return path.read_text()

    @flow
    def load():
        rows = reads.submit()
        until(lambda: rows.state == "deferred")
        file.write_text("1,2")
        return rows.result()

    assert load() == "1,2"


def test_another_run(session: Session):
    @task
    def gated() -> int:
        return ask(int, "How many?")

    @flow
    def slow():
        return gated()

    @task
    def follows(run_id: str) -> str:
        return wait_for(run_finished(run_id), timeout=30)

    @flow
    def after(run_id: str):
        return follows(run_id)

    first = in_background(slow)
    run_id = asked(session)
    second = in_background(lambda: after(run_id))
    asked(session, "deferred")
    answer(run_id, 1)
    assert (first(), second(), after(run_id)) == (1, "success", "success")
    with pytest.raises(TriggerFailed, match="there is no run nope"):
        after("nope")


def test_a_trigger_may_be_a_dataclass_and_its_arguments_and_event_keep_their_types():
    class Order(BaseModel):
        number: int
        day: datetime

    @dataclass
    class Arrived:
        since: datetime
        within: timedelta

        async def run(self) -> Order:
            assert isinstance(self.since, datetime)
            assert isinstance(self.within, timedelta)
            return Order(number=5, day=self.since + self.within)

    @task
    def ships() -> Any:
        return wait_for(Arrived(datetime(2024, 1, 1, tzinfo=UTC), timedelta(days=1)))

    @flow
    def shop():
        return ships()

    assert shop() == Order(number=5, day=datetime(2024, 1, 2, tzinfo=UTC))


def test_what_cannot_travel_is_told_at_once():
    @trigger
    async def of(thing: Any) -> None: ...

    @trigger
    async def gives() -> Any:
        return threading.Lock()

    @task
    def waits(what: str) -> None:
        wait_for(of(threading.Lock()) if what == "argument" else gives() if what == "event" else "soon")

    @flow
    def run(what: str):
        return waits(what)

    with pytest.raises(UsageError, match=r"the argument 'thing' of .*of is a lock, which cannot travel"):
        run("argument")
    with pytest.raises(TriggerFailed, match=r"returns a lock; an event is plain data"):
        run("event")
    with pytest.raises(UsageError, match="'soon' is nothing to wait for"):
        run("nonsense")


def test_a_trigger_is_an_async_function():
    with pytest.raises(DefinitionError, match="@trigger is for an async function"):
        trigger(lambda: None)  # type: ignore[arg-type]  # that is the mistake


def test_what_stands_around_a_wait_is_left():
    seen: list[str] = []

    @task
    def careful() -> None:
        seen.append("in")
        try:
            wait_for(arrives(1))
        except Exception:
            seen.append("never")
            raise
        finally:
            seen.append("out")

    @dag
    def one():
        return careful()

    one()
    assert seen == ["in", "out"] * 2


def test_code_that_holds_on_to_a_wait_is_told():
    @task
    def stubborn() -> str:
        try:
            wait_for(arrives(1))
        except BaseException:  # noqa: BLE001  that is the mistake
            return "went on"
        return ""

    @flow
    def stubborn_body():
        try:
            wait_for(arrives(1))
        except:  # noqa: E722  that is the mistake
            return "went on"

    @dag
    def one():
        return stubborn()

    for run in (one, stubborn_body):
        with pytest.raises(UsageError, match="was to leave at its wait for 'arrives'"):
            run()


def test_waits_that_differ_each_time_are_waited_for_anew_and_said(session: Session, caplog: pytest.LogCaptureFixture):
    turns = iter([1, 2, 2, 2])

    @task
    def fickle() -> int:
        return wait_for(arrives(next(turns)))["number"]

    @flow
    def one():
        return fickle()

    assert one() == 2
    assert "it waits anew for 'arrives'" in caplog.text


def test_outside_of_a_run_a_wait_is_a_plain_wait(tmp_path: Path):
    @task
    def reads() -> str:
        wait_for(0.01)
        return wait_for(file_exists(tmp_path / "there", poll=0.01)).name

    (tmp_path / "there").touch()
    assert reads() == "there"
    with pytest.raises(WaitTimeout):
        wait_for(never(), timeout=0.01)
    with pytest.raises(WaitTimeout):
        wait_for(100, timeout=0.01)
    with pytest.raises(UsageError, match="known to plait only"):
        wait_for(run_finished("x"))
    with pytest.raises(UsageError, match="nobody can be asked"):
        ask(bool, "Well?")


def test_where_a_wait_makes_no_sense_it_says_so():
    def hook(event: dict[str, Any]) -> None:
        try:
            wait_for(1)
        except UsageError as error:
            told.append(str(error))

    told: list[str] = []

    @dag(on_success=hook)
    def traced():
        if told:
            wait_for(1)
        return task(lambda: 1, name="one")()

    traced()
    assert "is called in a hook" in told[0]

    @dag
    def wrong():
        wait_for(1)

    with pytest.raises(DefinitionError, match="while a workflow is defined"):
        wrong()


# --- many, and after the end of a process -----------------------------------------------------------------------------


def test_two_thousand_deferred_tasks_at_once(session: Session):
    @trigger
    async def opened(number: int) -> int:
        waiting.add(number)
        await asyncio.to_thread(gate.wait) if number == 0 else await released.wait()
        released.set()
        return number

    @task
    def waits(number: int) -> int:
        return wait_for(opened(number), timeout=100)

    @flow
    def many():
        running = waits.map(range(2000))
        until(lambda: len(waiting) == 2000, 60)
        deferred = sum(each.state == "deferred" for each in running)
        gate.set()
        return deferred, sum(running.result())

    waiting: set[int] = set()
    gate = threading.Event()
    released = asyncio.Event()
    assert many() == (2000, sum(range(2000)))
