"""What is asked of every triggerer: each wait is told once, and what keeps the event loop fails alone."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.api.helpers import lines
from tests.conformance.triggerers.conftest import RUN, Waiting

MANY = 2000


def process_of(waiting: Waiting) -> Any:
    return waiting.hosts[-1]._process


# --- events -----------------------------------------------------------------------------------------------------------


def test_events_and_failures_are_told_once(waiting: Waiting, programs: Any):
    waiting.start(1, programs.says({"number": 5, "when": [1.5, None, "ü"]}, 0.01))
    waiting.start(2, programs.fails("nothing there"))
    waiting.start(3, programs.Counts(40))
    waiting.start(4, programs.gives_up())
    waiting.start(5, programs.leaves())
    waiting.start(6, programs.too_much())
    one, two, three, four, five, six = waiting.told.wait(1, 2, 3, 4, 5, 6)
    assert (one.run_id, one.payload, one.error) == (RUN, {"number": 5, "when": [1.5, None, "ü"]}, None)
    assert (two.payload, two.error) == (None, "LookupError: nothing there")
    assert three.payload == 42
    assert four.error == "CancelledError: it cancelled itself"
    assert five.error == "SystemExit: 3"
    assert "returns 292 KB, and an event has at most 256 KB" in str(six.error)
    assert len(waiting.hosts) == 1


def test_what_is_not_there_or_does_not_fit_fails_alone(waiting: Waiting, programs: Any):
    gone = {"kind": "code", "module": "nowhere", "file": "/nowhere.py", "name": "gone", "args": {}}
    waiting.triggerer.start(RUN, 1, gone)  # type: ignore[arg-type]  # a number
    wrong = {"kind": "code", "module": programs.__name__, "file": programs.__file__, "name": "blocks", "args": {}}
    waiting.triggerer.start(RUN, 2, {**wrong, "args": {"seconds": "many"}})  # type: ignore[arg-type]  # likewise
    waiting.triggerer.start(RUN, 3, {**wrong, "name": "note"})  # type: ignore[arg-type]  # likewise
    one, two, three = waiting.told.wait(1, 2, 3)
    assert one.error == "TriggerFailed: there is no gone in /nowhere.py"
    assert "parameter 'seconds' of 'blocks' does not fit" in str(two.error)
    assert "is no trigger any more" in str(three.error)


def test_a_wait_that_is_dropped_is_ended_and_not_told(waiting: Waiting, programs: Any, tmp_path: Path):
    ledger, go = tmp_path / "ledger", tmp_path / "go"
    for no, name in enumerate(["a", "b"]):
        waiting.start(no, programs.waits(str(ledger), name, str(go)))
    waiting.until(lambda: len(lines(ledger)) == 2)
    waiting.drop(0)
    waiting.drop(77)
    waiting.until(lambda: "a was dropped" in lines(ledger))
    waiting.start(1, programs.says("instead"))  # the wait that it had before is dropped
    (told,) = waiting.told.wait(1)
    waiting.until(lambda: "b was dropped" in lines(ledger))
    assert (told.payload, waiting.told.of(0)) == ("instead", [])


def test_thousands_wait_in_one_place(waiting: Waiting, programs: Any, tmp_path: Path):
    for no in range(MANY):
        waiting.start(no, programs.says(no, 0.2))
    events = waiting.told.wait(*range(MANY), seconds=60)
    assert [event.payload for event in events] == list(range(MANY))
    assert len(waiting.hosts) == 1


# --- what keeps the loop ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["blocks", "blocks_below", "spins"])
def test_who_keeps_the_loop_fails_and_the_others_begin_again(strict: Waiting, programs: Any, tmp_path: Path, how: str):
    ledger, go = tmp_path / "ledger", tmp_path / "go"
    strict.start(1, programs.waits(str(ledger), "a", str(go)))
    strict.until(lambda: lines(ledger))
    strict.start(2, programs.spins() if how == "spins" else getattr(programs, how)(40))
    strict.start(3, programs.waits(str(ledger), "b", str(go)))
    (told,) = strict.told.wait(2)
    assert f"{how} blocked the event loop for more than 1 s, at {programs.__file__}:" in str(told.error)
    go.touch()
    one, three = strict.told.wait(1, 3)
    assert (one.payload, three.payload) == ("a", "b")
    assert lines(ledger).count("a began") >= 2


def test_a_short_block_is_borne(waiting: Waiting, programs: Any):
    waiting.start(1, programs.blocks(0.3))
    (told,) = waiting.told.wait(1)
    assert (told.payload, len(waiting.hosts)) == ("too late", 1)


def test_three_of_a_kind_and_all_of_the_kind_fail(strict: Waiting, programs: Any, tmp_path: Path):
    for no in range(20):
        strict.start(no, programs.blocks(40, 0.01))
    strict.start(20, programs.waits(str(tmp_path / "ledger"), "fine", str(tmp_path / "go")))
    events = strict.told.wait(*range(20))
    assert sum("had to be stopped 3 times" in str(event.error) for event in events) == 17
    (tmp_path / "go").touch()
    (fine,) = strict.told.wait(20)
    assert fine.payload == "fine"


def test_a_loop_that_nobody_is_known_to_keep_begins_again_but_not_for_ever(strict: Waiting, programs: Any):
    strict.start(1, programs.blocks_unseen(3.0))
    (told,) = strict.told.wait(1, seconds=60)
    assert "4 times in a row, and no single trigger is known to blame: something blocked" in str(told.error)


# --- processes --------------------------------------------------------------------------------------------------------


@pytest.fixture
def in_process(open_triggerer: Callable[..., Waiting]) -> Waiting:
    return open_triggerer("process")


def test_native_code_that_holds_the_interpreter_is_stopped_too(open_triggerer: Callable[..., Waiting], programs: Any):
    strict = open_triggerer("process", stall=1.0)
    strict.start(1, programs.holds_everything())
    strict.start(2, programs.says("fine", 1.0))
    told, fine = strict.told.wait(1, 2)
    assert "holds_everything blocked the event loop" in str(told.error)
    assert fine.payload == "fine"


@pytest.mark.parametrize(("how", "what"), [("exit", "exited with code 5"), ("signal", "was killed by signal SIGSEGV")])
def test_who_ends_the_process_fails_and_the_others_begin_again(
    how: str, what: str, in_process: Waiting, programs: Any, tmp_path: Path
):
    ledger, go = tmp_path / "ledger", tmp_path / "go"
    in_process.start(1, programs.waits(str(ledger), "a", str(go)))
    in_process.until(lambda: lines(ledger))
    in_process.start(2, programs.dies(how))
    (told,) = in_process.told.wait(2)
    assert f"dies ended the process that it ran in: the process of the triggers {what}" in str(told.error)
    go.touch()
    assert in_process.told.wait(1)[0].payload == "a"
    assert lines(ledger) == ["a began", "a began"]


def test_a_process_that_is_killed_from_outside_is_replaced_and_nobody_blamed(
    in_process: Waiting, programs: Any, tmp_path: Path
):
    ledger, go = tmp_path / "ledger", tmp_path / "go"
    in_process.start(1, programs.waits(str(ledger), "a", str(go)))
    in_process.until(lambda: lines(ledger))
    os.kill(process_of(in_process).pid, signal.SIGKILL)
    in_process.until(lambda: len(lines(ledger)) == 2)
    go.touch()
    assert in_process.told.wait(1)[0].payload == "a"


def test_code_that_does_not_load_fails_what_waits_for_it(open_triggerer: Callable[..., Waiting], tmp_path: Path):
    file = tmp_path / "broken.py"
    file.write_text("import asyncio\n\nraise RuntimeError('not today')\n")
    waiting = open_triggerer("process", target=file)
    trigger = {"kind": "code", "module": "broken", "file": str(file), "name": "x", "args": {}}
    for no in (1, 2):
        waiting.triggerer.start(RUN, no, trigger)  # type: ignore[arg-type]  # a number
    for told in waiting.told.wait(1, 2):
        assert "the code of the triggers does not load" in str(told.error)
        assert "not today" in str(told.error)


def test_it_ends_when_there_is_nothing_to_wait_for_and_begins_again(
    open_triggerer: Callable[..., Waiting], programs: Any
):
    waiting = open_triggerer("process", idle=0.2)
    waiting.start(1, programs.pid())
    (first,) = waiting.told.wait(1)
    waiting.until(lambda: process_of(waiting).returncode is not None)
    waiting.start(2, programs.pid())
    (second,) = waiting.told.wait(2)
    assert first.payload != second.payload


def test_a_stop_leaves_nothing(open_triggerer: Callable[..., Waiting], programs: Any, tmp_path: Path):
    before = set(threading.enumerate())  # also those that other tests have left stuck
    for kind in ("thread", "process"):
        waiting = open_triggerer(kind)
        waiting.start(1, programs.waits(str(tmp_path / kind), "a", str(tmp_path / "never")))
        waiting.until(lambda kind=kind: lines(tmp_path / kind))
        waiting.triggerer.stop()
        waiting.triggerer.stop()
        waiting.triggerer.drop(RUN, 1)  # type: ignore[arg-type]  # a number
        waiting.start(2, programs.says(1))
        assert waiting.told.events == []
        assert lines(tmp_path / kind) == ["a began", "a was dropped"]
    assert process_of(waiting).returncode == 0
    assert not list((tmp_path / "logs").iterdir())
    assert set(threading.enumerate()) <= before
