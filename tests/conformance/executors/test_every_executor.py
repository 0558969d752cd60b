"""What holds for every executor; of each is asked what it declares."""

import threading
import time

import pytest

from plait.model.ids import RunId
from plait.model.outcome import Verdict
from plait.model.wire import Finished, RunInfo
from plait.ports import Capture, Kill
from tests.conformance.executors.world import World, execution, world
from tests.waiting import wait_until

KINDS = ("inline", "threads", "processes")


@pytest.fixture(params=KINDS)
def here(request, tmp_path):
    with world(request.param, tmp_path) as made:
        yield made


def test_a_success_comes_back_with_its_outputs_and_times(here: World):
    [outcome] = here.run(execution(7))
    assert outcome.verdict is Verdict.SUCCESS
    assert outcome.outputs["result"].data == b"7"
    assert abs(outcome.started_at - time.time()) < 60
    assert outcome.finished_at >= outcome.started_at


def test_a_failure_is_reported_as_the_runner_tells_it(here: World):
    [outcome] = here.run(execution(1, "fail"))
    assert outcome.verdict is Verdict.FAILED
    assert outcome.error is not None
    assert outcome.error.text == "ValueError: no"


def test_a_runner_that_raises_does_not_take_the_executor_along(here: World):
    [outcome, after] = here.run(execution(1, "raise_"), execution(2))
    assert outcome.verdict is Verdict.CRASHED
    assert outcome.error is not None
    assert "a runner must not do this" in outcome.error.message
    assert "programs.py" in outcome.error.traceback
    assert after.verdict is Verdict.SUCCESS


def test_the_worker_gets_the_execution_as_it_was_submitted(here: World):
    run = RunInfo(run_id=RunId("r2"), workflow="other", target="t", params=b'{"a": 1}', tags=("x",), extra={"k": [1]})
    here.run(execution(1), execution(2, run=run, path=(3, "eu"), attempt=2, resume={"x": 1}), execution(3))
    ends = {(report.run_id, report.no) for report in here.sink.of(Finished)}
    assert ends == {(execution(1).run.run_id, 1), ("r2", 2), (execution(1).run.run_id, 3)}


@pytest.mark.parametrize("kind", KINDS)
def test_one_worker_keeps_the_order(kind, tmp_path):
    with world(kind, tmp_path, workers=1) as here:
        here.run(*(execution(no) for no in range(100)))
        assert list(here.sink.outcomes) == list(range(100))


def test_what_is_long_is_told_when_it_starts(here: World):
    here.submit_aside(execution(1, "nap", resume=0.3))
    here.sink.wait_started(1)
    assert not here.sink.outcomes
    here.sink.wait_finished(1)


def test_capacity_falls_with_what_is_taken_and_comes_back(here: World):
    before = here.executor.capacity()
    assert before == (1 if here.kind == "inline" else 2)
    here.submit_aside(*(execution(no, "nap", resume=0.2) for no in range(4)))
    wait_until(lambda: here.executor.capacity() == 0, "a full executor")
    here.sink.wait_finished(*range(4))
    wait_until(lambda: here.executor.capacity() >= 1, "room again")


def test_more_than_the_capacity_is_taken_all_the_same(here: World):
    outcomes = here.run(*(execution(no) for no in range(500)))
    assert all(outcome.verdict is Verdict.SUCCESS for outcome in outcomes)


def test_a_thousand_submits_from_reports_need_no_stack(here: World):
    def next_one(report):
        if isinstance(report, Finished) and report.no < 1000:
            here.submit(execution(report.no + 1))

    here.sink.then = next_one
    here.submit(execution(0))
    here.sink.wait_finished(1000)
    assert len(here.sink.outcomes) == 1001


def test_there_is_room_when_an_end_is_reported(here: World):
    """Who submits only when told of an end, as much as there is room for, never waits for ever."""
    left = list(range(200))

    def more(report=None):
        if report is None or isinstance(report, Finished):
            assert here.executor.capacity() > 0
            here.submit(*(execution(left.pop()) for _ in range(min(1, len(left)))))

    here.sink.then = more
    more()
    here.sink.wait(lambda: len(here.sink.outcomes) == 200, "200 ends")


def test_submits_from_many_threads(here: World):
    def some(base: int) -> None:
        for no in range(base, base + 50):
            here.submit(execution(no))

    threads = [threading.Thread(target=some, args=(base,)) for base in (0, 100, 200, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    here.sink.wait(lambda: len(here.sink.outcomes) == 200, "200 ends")


def test_a_timeout_ends_it_in_time_and_the_next_one_runs(here: World):
    begin = time.monotonic()
    key = "nap" if here.executor.capabilities.kill is Kill.COOPERATIVE else "deaf"
    here.submit(execution(1, key, timeout=0.3, resume=30.0), execution(2))
    [outcome, after] = here.sink.wait_finished(1, 2)
    assert 0.25 < time.monotonic() - begin < 5
    assert outcome.verdict is Verdict.FAILED
    assert outcome.error is not None
    assert outcome.error.text == "TaskTimeout: exceeded its timeout of 0.3 s"
    assert outcome.finished_at - outcome.started_at >= 0.29
    assert after.verdict is Verdict.SUCCESS


def test_a_timeout_that_is_kept_changes_nothing(here: World):
    outcomes = here.run(*(execution(no, "nap", timeout=5.0, resume=0.02) for no in range(3)))
    assert [outcome.verdict for outcome in outcomes] == [Verdict.SUCCESS] * 3


def test_cancel_of_one_that_runs(here: World):
    running = execution(1, "nap", resume=30.0)
    here.submit_aside(running, execution(2))
    here.sink.wait_started(1)
    here.cancel(running, "the user said so")
    [outcome, after] = here.sink.wait_finished(1, 2)
    assert outcome.verdict is Verdict.CANCELLED
    assert outcome.error is not None
    assert outcome.error.message == "the user said so"
    assert after.verdict is Verdict.SUCCESS


@pytest.mark.parametrize("kind", KINDS)
def test_cancel_of_one_that_waits_leaves_the_others_alone(kind, tmp_path):
    with world(kind, tmp_path, workers=1) as here:
        here.submit_aside(execution(1, "nap", resume=0.3), *(execution(no) for no in range(2, 6)))
        here.sink.wait_started(1)
        here.cancel(execution(3))
        outcomes = here.sink.wait_finished(1, 2, 3, 4, 5)
        assert [outcome.verdict.value for outcome in outcomes] == [
            "success",
            "success",
            "cancelled",
            "success",
            "success",
        ]


def test_cancel_of_what_is_not_here_is_nothing(here: World):
    here.run(execution(1))
    here.cancel(execution(1))
    here.cancel(execution(99))
    here.run(execution(2))
    assert set(here.sink.outcomes) == {1, 2}


@pytest.mark.parametrize("kind", KINDS)
def test_who_goes_on_with_a_run_learns_what_of_it_is_here(kind, tmp_path):
    with world(kind, tmp_path, workers=1) as here:
        other = RunInfo(run_id=RunId("r2"), workflow="w", target="t")
        here.submit_aside(execution(1, "nap", resume=30.0), execution(2), execution(3, run=other), execution(4))
        here.sink.wait_started(1)
        mine = execution(1).run.run_id
        wait_until(lambda: set(here.executor.adopt(mine)) == {1001, 1002, 1004}, "all that is here")
        assert here.executor.adopt(RunId("r2")) == [1003]
        here.cancel(execution(2))
        here.sink.wait_finished(2)
        assert set(here.executor.adopt(mine)) == {1001, 1004}
        here.executor.stop(0.1)
        here.sink.wait(lambda: len(here.sink.outcomes) + len(here.sink.returned) == 4, "four ends")
        assert here.executor.adopt(mine) == here.executor.adopt(RunId("r2")) == []


def test_what_is_out_of_time_is_not_held_though_its_thread_goes_on(here: World):
    here.submit_aside(execution(1, "deaf", timeout=0.2, resume=1.0))
    here.sink.wait_finished(1)
    assert here.executor.adopt(execution(1).run.run_id) == []


def test_what_python_prints_is_kept(here: World):
    assert here.executor.capabilities.capture in {Capture.STREAMS, Capture.DESCRIPTORS}
    first, second = here.run(execution(1, "say"), execution(2, "say"))
    for no, outcome in ((1, first), (2, second)):
        text = here.text(outcome)
        assert text.startswith(f"printed {no}\nto stderr\n")
        assert f"user: logged {no}" in text
        text = text.replace(next((line for line in text.splitlines(True) if "only where" in line), ""), "")
        assert text.count("\n") == 3


def test_output_is_readable_while_it_runs(here: World):
    here.submit_aside(execution(1, "say_and_nap", resume=0.5))
    here.sink.wait_started(1)
    run_id, no, token = execution(1).run.run_id, execution(1).no, execution(1).token

    def now() -> bytes:
        span = here.logs.find(run_id, no, token)
        return here.logs.read(span) if span is not None else b""

    wait_until(lambda: now() == b"alive\n", "readable output")
    assert not here.sink.outcomes
    here.sink.wait_finished(1)


def test_stop_gives_back_what_has_not_started_and_ends_the_rest(here: World):
    here.submit_aside(*(execution(no, "nap", resume=30.0) for no in range(5)))
    here.sink.wait_started(0)
    begin = time.monotonic()
    here.executor.stop(0.2)
    assert time.monotonic() - begin < 5
    here.sink.wait(lambda: len(here.sink.outcomes) + len(here.sink.returned) == 5, "five ends")
    assert here.sink.returned
    assert {outcome.verdict for outcome in here.sink.outcomes.values()} == {Verdict.CRASHED}
    here.submit(execution(9))
    assert 9 in here.sink.returned


def test_stop_lets_end_what_ends_in_time(here: World):
    here.submit_aside(execution(1, "nap", resume=0.2))
    here.sink.wait_started(1)
    here.executor.stop(10.0)
    assert here.sink.outcomes[1].verdict is Verdict.SUCCESS
