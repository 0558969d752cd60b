"""What is particular to threads: nothing can be killed, so what cannot be ended is left behind."""

import random
import threading
import time

from plait.model.outcome import Verdict
from tests.conformance.executors.world import execution, world
from tests.waiting import wait_until


def test_a_thread_that_does_not_end_loses_its_slot_and_its_say(tmp_path):
    with world("threads", tmp_path, workers=1) as here:
        here.submit(execution(1, "deaf", timeout=0.1, resume=0.6), execution(2))
        late, after = here.sink.wait_finished(1, 2)
        assert late.error is not None
        assert late.error.type == "TaskTimeout"
        assert after.verdict is Verdict.SUCCESS
        time.sleep(0.7)  # its thread ends, and says nothing more
        assert here.run(execution(3))[0].verdict is Verdict.SUCCESS
        wait_until(lambda: here.executor.capacity() == 1, "one slot")
        assert len(here.sink.outcomes) == 3


def test_a_cancel_that_nobody_hears_is_reported_after_its_grace(tmp_path):
    with world("threads", tmp_path, workers=1, cancel_grace=0.2) as here:
        here.submit(execution(1, "deaf", resume=1.0), execution(2))
        here.sink.wait_started(1)
        begin = time.monotonic()
        here.cancel(execution(1))
        [cancelled, _] = here.sink.wait_finished(1, 2)
        assert 0.15 < time.monotonic() - begin < 0.8
        assert cancelled.verdict is Verdict.CANCELLED


def test_cancels_at_any_moment_break_no_thread(tmp_path):
    """They race with the starts and ends of executions; threads, slots and reports stay whole."""
    chance = random.Random(3)
    with world("threads", tmp_path, workers=4) as here:
        batch = [execution(no, "nap", resume=chance.random() * 0.004) for no in range(600)]
        here.submit(*batch)
        while len(here.sink.outcomes) < 600:
            here.cancel(batch[min(599, len(here.sink.outcomes) + chance.randrange(4))])
        assert {outcome.verdict for outcome in here.sink.outcomes.values()} <= {Verdict.SUCCESS, Verdict.CANCELLED}
        assert all(
            outcome.verdict is Verdict.SUCCESS for outcome in here.run(*(execution(no) for no in range(700, 720)))
        )
        assert here.executor.capacity() == 4


def test_stop_ends_the_threads(tmp_path):
    before = threading.active_count()
    with world("threads", tmp_path) as here:
        here.run(*(execution(no, timeout=5.0) for no in range(10)))
    wait_until(lambda: threading.active_count() == before, "the end of the threads", 3)


def test_an_execution_may_stop_its_own_executor(tmp_path):
    with world("threads", tmp_path) as here:
        here.sink.then = lambda report: here.executor.stop(0.1)
        here.submit(execution(1))
        here.sink.wait_finished(1)


def test_many_tasks_that_wait_run_at_once_and_their_threads_go_with_them(tmp_path):
    def ours() -> int:
        return sum(thread.name.startswith("plait-worker") for thread in threading.enumerate())

    before = ours()
    with world("threads", tmp_path, workers=1000) as here:
        here.submit(*(execution(no, "nap", resume=30.0) for no in range(200)))
        here.sink.wait(lambda: len(here.sink.started) == 200, "200 starts")
        for no in range(200):
            here.cancel(execution(no))
        here.sink.wait_finished(*range(200))
        wait_until(lambda: ours() - before < 50, "few threads")
        assert here.executor.capacity() == 1000


def test_short_tasks_have_few_threads_and_tell_few_starts(tmp_path):
    with world("threads", tmp_path, workers=1000) as here:
        here.run(execution(0))
        names: set[str] = set()
        here.sink.then = lambda report: names.add(threading.current_thread().name)
        here.run(*(execution(no) for no in range(1, 3000)))
        assert len(here.sink.started) < 300  # of those that came before it was known how short they are
        assert len(names) < 500
