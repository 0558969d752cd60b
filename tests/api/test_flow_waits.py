"""Waits in the bodies of flows: the body leaves, its children go on, and it finds again what it has done."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest

from plait import (
    TriggerFailed,
    UsageError,
    WaitTimeout,
    answer,
    ask,
    flow,
    task,
    transaction,
    wait_for,
)
from plait.model.ids import RunId
from plait.runtime.session import Session
from tests.api.helpers import Tally
from tests.api.waiting import arrives, asked, asks, in_background, never, raises, until

pytestmark = pytest.mark.usefixtures("session")


def test_a_flow_leaves_its_thread_and_finds_what_it_has_done(session: Session):
    tally = Tally()

    @task
    def step(name: str) -> str:
        tally.add(name)
        return name

    @flow
    def long():
        tally.add("body")
        first = step("a")
        event = wait_for(arrives(1, 0.05))
        second = step("b")
        day = wait_for(timedelta(milliseconds=20))
        return first, event, second, day < datetime.now(UTC)

    assert long() == ("a", {"number": 1}, "b", True)
    assert tally.counts == {"body": 3, "a": 1, "b": 1}


def test_the_other_children_go_on_while_a_flow_waits(session: Session):
    go = threading.Event()
    tally = Tally()

    @task
    def works(number: int) -> int:
        tally.add(number)
        go.wait(20)
        return number

    @flow
    def busy():
        running = works.map([1, 2, 3])
        sure = ask(bool, "Go on?")
        return sure, running.result()

    result = in_background(busy)
    run_id = asked(session)
    go.set()
    until(lambda: [each.state for each in session.store.tasks(RunId(run_id))].count("success") == 3)
    answer(run_id, True)
    assert result() == (True, [1, 2, 3])
    assert tally.counts == {1: 1, 2: 1, 3: 1}


def test_an_async_flow_waits_and_what_runs_on_its_loop_ends_first(session: Session):
    tally = Tally()

    @task
    async def works(number: int) -> int:
        tally.add(number)
        await asyncio.sleep(0.1)
        return number

    @flow
    async def busy():
        running = [works.submit(number) for number in (1, 2)]
        await asyncio.sleep(0)
        event = wait_for(arrives(3))
        return event["number"], [await each for each in running]

    @flow
    def outer():
        return busy.submit().result()

    assert asyncio.run(busy()) == (3, [1, 2])
    assert tally.counts == {1: 1, 2: 1}
    assert outer() == (3, [1, 2])
    assert tally.counts == {1: 2, 2: 2}


def test_a_flow_in_a_flow_waits_for_itself(session: Session):
    tally = Tally()

    @flow
    def inner(name: str) -> int:
        tally.add(name)
        return wait_for(arrives(1, 0.05))["number"] + ask(int, f"How many {name}?", name=name)

    @flow
    def outer():
        tally.add("outer")
        both = [inner.submit(name) for name in ("apples", "pears")]
        return sum(each.result() for each in both)

    result = in_background(outer)
    for name, number in {"apples": 10, "pears": 100}.items():
        run_id = until(lambda name=name: asks(session, name))
        answer(run_id, number, task=name)
    assert result() == 112
    assert tally.counts == {"outer": 1, "apples": 3, "pears": 3}


def test_a_flow_cannot_leave_everywhere():
    @flow
    def undone():
        with transaction():
            wait_for(1)

    @flow
    def threaded():
        told: list[str] = []

        def work() -> None:
            try:
                wait_for(1)
            except UsageError as error:
                told.append(str(error))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return told[0]

    with pytest.raises(UsageError, match="inside of a transaction"):
        undone()
    assert "in a thread of the flow" in threaded()


def test_a_trigger_that_fails_raises_in_the_flow():
    @flow
    def tries():
        try:
            wait_for(raises("gone"))
        except TriggerFailed as error:
            first = str(error)
        try:
            wait_for(never(), timeout=0.05)
        except WaitTimeout as error:
            return first, str(error)

    assert tries() == ("'raises' failed: ValueError: gone", "'never' did not happen within 0.05 s")
