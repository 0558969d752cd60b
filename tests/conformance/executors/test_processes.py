"""What only processes can promise: death, file descriptors, a zygote, and leaving nothing behind."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from plait.model.outcome import Verdict
from tests.conformance.executors.world import World, execution, world
from tests.waiting import wait_until


@pytest.fixture
def here(tmp_path):
    with world("processes", tmp_path) as made:
        yield made


@pytest.fixture
def alone(tmp_path):
    """With one worker."""
    with world("processes", tmp_path, workers=1) as made:
        yield made


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return state.stdout.strip()[:1] not in {"", "Z"}


def error(outcome) -> str:
    assert outcome.verdict is Verdict.CRASHED, outcome
    return outcome.error.message


# --- death -----------------------------------------------------------------------------------------------------------


def test_a_crash_says_what_happened(here: World):
    by_exit, by_signal, by_kill = here.run(execution(1, "exit_3"), execution(2, "segfault"), execution(3, "abort"))
    assert "exited with code 3" in error(by_exit)
    assert "SIGSEGV" in error(by_signal)
    assert "SIGKILL (from outside; most often the out-of-memory killer)" in error(by_kill)
    assert "Fatal Python error: Segmentation fault" in here.text(by_signal)
    assert here.run(execution(4))[0].verdict is Verdict.SUCCESS


def test_a_kill_from_outside_is_seen_at_once(here: World):
    here.submit(execution(1, "nap", resume=30.0), execution(2, "pid"))
    here.sink.wait_started(1)
    [worker] = {
        pid for pid in children_of(zygotes_of(os.getpid())[0]) if str(pid) != here.sink.wait_finished(2)[0].name
    }
    os.kill(worker, signal.SIGKILL)
    begin = time.monotonic()
    [outcome] = here.sink.wait_finished(1)
    assert time.monotonic() - begin < 2
    assert "SIGKILL" in error(outcome)
    assert outcome.started_at > 0


def test_what_was_printed_before_a_kill_is_there(here: World):
    [outcome] = here.run(execution(1, "say_and_exit"))
    assert here.text(outcome) == "last words\n"


def test_what_waits_behind_a_crash_comes_back_unharmed(alone: World):
    alone.run(*(execution(no, "once_slow") for no in range(20)))  # it is known to be short
    crash = execution(100, "exit_3")
    alone.run(execution(99, "exit_3"))
    alone.submit(crash, *(execution(no, "once_slow") for no in range(200, 210)))
    alone.sink.wait(lambda: len(alone.sink.outcomes) + len(alone.sink.returned) == 32, "all")
    crashed = [no for no, outcome in alone.sink.outcomes.items() if outcome.verdict is Verdict.CRASHED]
    assert crashed == [99, 100]


def test_what_was_sent_to_a_worker_and_not_begun_is_returned(alone: World):
    alone.run(*(execution(no, "once_slow") for no in range(20)))
    victim = execution(100, "once_slow", timeout=0.01, resume=30.0)
    alone.submit(victim, *(execution(no, "once_slow") for no in range(200, 210)))
    alone.sink.wait(lambda: len(alone.sink.outcomes) + len(alone.sink.returned) == 31, "all")
    assert alone.sink.outcomes[100].error.type == "TaskTimeout"
    assert alone.sink.returned == list(range(200, 210))


def test_a_timeout_kills_only_the_process_that_ran_it(here: World):
    here.submit(execution(1, "deaf", resume=0.8), execution(2, "deaf", timeout=0.2, resume=30.0))
    kept, late = here.sink.wait_finished(1, 2)
    assert kept.verdict is Verdict.SUCCESS
    assert late.error is not None
    assert late.error.type == "TaskTimeout"


def test_a_timeout_counts_from_the_start_not_from_the_queue(alone: World):
    outcomes = alone.run(*(execution(no, "deaf", timeout=0.4, resume=0.15) for no in range(5)))
    assert [outcome.verdict for outcome in outcomes] == [Verdict.SUCCESS] * 5


def test_a_timeout_ends_the_sub_processes_too(here: World):
    [outcome] = here.run(execution(1, "child_process", timeout=0.5, resume=30.0))
    child = re.search(r"child (\d+)", here.text(outcome))
    assert child is not None
    wait_until(lambda: not alive(int(child[1])), "the end of the sub-process", 3)


def test_a_crash_ends_the_sub_processes_too(here: World):
    here.submit(execution(1, "child_process", resume=30.0), execution(2, "pid"))
    here.sink.wait_started(1)
    span = None
    while span is None or b"child" not in here.logs.read(span):
        span = here.logs.find(execution(1).run.run_id, execution(1).no, execution(1).token)
    [worker] = {
        pid for pid in children_of(zygotes_of(os.getpid())[0]) if str(pid) != here.sink.wait_finished(2)[0].name
    }
    child = int(here.logs.read(span).split()[1])
    os.kill(worker, signal.SIGSEGV)
    here.sink.wait_finished(1)
    wait_until(lambda: not alive(child), "the end of the sub-process", 3)


# --- who waits behind whom -------------------------------------------------------------------------------------------


def test_what_is_stuck_behind_a_long_one_is_recalled_and_runs_once(here: World):
    here.run(*(execution(no, "once_slow") for no in range(50)))
    begin = time.monotonic()
    here.submit(execution(100, "once_slow", resume=2.0), *(execution(no, "once_slow") for no in range(101, 130)))
    here.sink.wait_finished(*range(101, 130))
    assert time.monotonic() - begin < 1
    assert not here.sink.returned
    here.sink.wait_finished(100)


def test_cancel_of_one_that_was_sent_but_has_not_begun_spares_the_worker(alone: World):
    alone.run(*(execution(no, "once_slow") for no in range(20)))
    [before] = alone.run(execution(30, "pid"))
    alone.submit(execution(100, "once_slow", resume=0.3), *(execution(no, "once_slow") for no in range(101, 106)))
    alone.cancel(execution(103))
    outcomes = alone.sink.wait_finished(*range(100, 106))
    assert [outcome.verdict.value for outcome in outcomes] == ["success"] * 3 + ["cancelled"] + ["success"] * 2
    [after] = alone.run(execution(31, "pid"))
    assert before.name == after.name


def test_an_outcome_that_cannot_be_sent_is_a_crash_that_says_so(here: World):
    [outcome] = here.run(execution(1, "unsendable"))
    assert "object" in error(outcome)


def test_nothing_runs_twice_whatever_happens(tmp_path):
    """Short work in floods, with crashes, timeouts, cancels and stalls in between: each began at most once, and what
    was returned or cancelled before its start never began."""
    chance = random.Random(7)
    count = 3000
    with world("processes", tmp_path / "logs", workers=3) as here:
        waiting = [
            execution(no, "mark", resume=(str(tmp_path), *_fate(chance)), timeout=_timeout(chance))
            for no in range(count)
        ]

        def more(_report=None) -> None:
            room = here.executor.capacity()
            batch, waiting[:room] = waiting[:room], []
            if batch:
                here.submit(*batch)
                if chance.random() < 0.05:
                    here.cancel(chance.choice(batch))

        here.sink.then = more
        more()
        here.sink.wait(lambda: len(here.sink.outcomes) + len(here.sink.returned) == count, "all ends")
        began = [int(line) for line in (tmp_path / "marks").read_text().split()]
        assert len(began) == len(set(began))
        assert not set(began) & set(here.sink.returned)
        ended = {no: outcome.verdict for no, outcome in here.sink.outcomes.items()}
        assert {no for no, verdict in ended.items() if verdict is not Verdict.CANCELLED} <= set(began)
        assert set(ended.values()) == {Verdict.SUCCESS, Verdict.CRASHED, Verdict.FAILED, Verdict.CANCELLED}


def _fate(chance: random.Random) -> tuple[str, float]:
    draw = chance.random()
    if draw < 0.01:
        return "die", 0.0
    return "sleep", 0.2 if draw < 0.015 else chance.random() * 0.001


def _timeout(chance: random.Random) -> float | None:
    return 0.05 if chance.random() < 0.5 else None


def test_a_task_that_forks_and_returns_twice_is_one(here: World):
    here.run(execution(1, "fork_and_return"), execution(2), execution(3))


def test_a_task_that_changes_the_folder_leaves_the_next_one_where_it_was(alone: World):
    _, outcome = alone.run(execution(1, "leave"), execution(2, "where"))
    assert outcome.name == os.getcwd()


# --- output ----------------------------------------------------------------------------------------------------------


def test_sub_processes_and_native_code_are_captured_in_order(here: World):
    [outcome] = here.run(execution(1, "say_low"))
    assert here.text(outcome) == "before\nfrom a shell\nits stderr\nby descriptor\n"


def test_twins_draw_different_numbers(tmp_path):
    pytest.importorskip("numpy")
    with world("processes", tmp_path, config={"import": "numpy"}) as here:
        first, second = here.run(execution(1, "draw"), execution(2, "draw"))
        assert first.name != second.name


# --- the zygote ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        ("make_raising", "LookupError: there is no table like this"),
        ("make_sys_exit", "SystemExit: definitions should not do this"),
        ("make_exiting", "exited with code 7"),
        ("no_such_factory", "AttributeError"),
    ],
)
def test_definitions_that_do_not_load_crash_each_execution_with_the_reason(tmp_path, factory, expected):
    with world("processes", tmp_path, factory=factory) as here:
        for no in range(10):  # also beyond the bound on restarts
            [outcome] = here.run(execution(no))
            assert expected in error(outcome)
        if factory == "make_raising":
            assert outcome.error is not None
            assert "make_raising" in outcome.error.traceback
        if factory == "make_exiting":
            assert "about to leave" in error(outcome)


def test_definitions_that_hang_are_given_up_and_the_place_is_shown(tmp_path):
    with world("processes", tmp_path, factory="make_hanging", load_timeout=1.0) as here:
        [outcome] = here.run(execution(1))
        assert "did not load within 1 s" in error(outcome)
        assert "make_hanging" in error(outcome)


def test_threads_started_while_loading_are_warned_of(tmp_path):
    with world("processes", tmp_path, factory="make_with_thread") as here:
        [outcome] = here.run(execution(1, "threads"))
        assert outcome.name == "MainThread"
        [log] = tmp_path.glob("*-zygote.log")
        assert "started threads (stray)" in log.read_text()


def test_a_zygote_that_dies_is_replaced_and_its_workers_end(here: World):
    here.submit(execution(1, "nap", resume=30.0))
    here.sink.wait_started(1)
    [zygote] = zygotes_of(os.getpid())
    workers = children_of(zygote)
    os.kill(zygote, signal.SIGKILL)
    [outcome] = here.sink.wait_finished(1)
    assert "while serving" in error(outcome)
    assert here.run(execution(2))[0].verdict is Verdict.SUCCESS
    wait_until(lambda: not any(map(alive, workers)), "the end of the workers", 3)


def test_workers_that_cannot_start_are_not_forked_for_ever(tmp_path):
    with world("processes", tmp_path / "logs") as here:
        wait_until(lambda: children_of(os.getpid()) and list((tmp_path / "logs").glob("*-zygote.log")), "a zygote")
        shutil.rmtree(tmp_path / "logs")
        [outcome] = here.run(execution(1))
        assert "5 times in a row, before anything began" in error(outcome)


# --- leaving nothing behind ------------------------------------------------------------------------------------------


def children_of(pid: int) -> list[int]:
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listing.splitlines()]
    return [int(row[0]) for row in rows if int(row[1]) == pid and not row[2].startswith("Z")]


def zygotes_of(pid: int) -> list[int]:
    def command(child: int) -> str:
        return subprocess.run(
            ["ps", "-o", "command=", "-p", str(child)], capture_output=True, text=True, check=False
        ).stdout

    return [child for child in children_of(pid) if "plait.worker.zygote" in command(child)]


def test_stop_leaves_no_process_thread_or_handle(tmp_path):
    import threading

    fds = Path("/proc/self/fd") if Path("/proc/self/fd").exists() else Path("/dev/fd")
    before = len(list(fds.iterdir()))
    threads = threading.active_count()
    with world("processes", tmp_path) as here:
        here.submit(execution(1, "deaf", resume=30.0), execution(2))
        here.sink.wait_started(1)
        [zygote] = zygotes_of(os.getpid())
        processes = [zygote, *children_of(zygote)]
        here.executor.stop(0.1)
    assert not any(map(alive, processes))
    assert threading.active_count() == threads
    assert len(list(fds.iterdir())) == before


def test_a_forked_child_of_the_parent_neither_keeps_nor_ends_the_workers(here: World):
    here.run(execution(1))
    child = os.fork()
    if child == 0:
        here.executor.stop(0.1)
        time.sleep(30)
        os._exit(0)
    try:
        assert here.run(execution(2))[0].verdict is Verdict.SUCCESS
        [zygote] = zygotes_of(os.getpid())
        here.executor.stop(1.0)
        assert not alive(zygote)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_stop_before_anything_ran(tmp_path):
    with world("processes", tmp_path):
        pass
    assert not zygotes_of(os.getpid())


HOST = """
import sys, time
sys.path[:0] = {path!r}
from tests.conformance.executors.world import World, execution
from pathlib import Path
here = World("processes", Path({folder!r}), 2)
here.executor.start(here.sink)
here.submit(execution(1, "child_process", resume=30.0), execution(2, "deaf", resume=30.0))
here.sink.wait_started(1)
here.sink.wait_started(2)
time.sleep(0.2)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("whole_group", [False, True])
def test_a_parent_that_is_killed_leaves_nothing(tmp_path, whole_group):
    script = HOST.format(path=sys.path, folder=str(tmp_path))
    host = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True, env={**os.environ}
    )
    assert host.stdout is not None
    assert host.stdout.readline() == b"ready\n"
    [zygote] = zygotes_of(host.pid)
    workers = children_of(zygote)
    below = [child for worker in workers for child in children_of(worker)]
    assert len(workers) == 2
    assert below
    if whole_group:
        os.killpg(host.pid, signal.SIGKILL)
    else:
        os.kill(host.pid, signal.SIGKILL)
    host.wait()
    host.stdout.close()
    begin = time.monotonic()
    wait_until(lambda: not any(map(alive, [zygote, *workers, *below])), "the end of all", 5)
    assert time.monotonic() - begin < 2


def test_an_interrupt_from_the_keyboard_leaves_workers_alone(here: World):
    here.submit(execution(1, "nap", resume=0.5), execution(2, "pid"))
    here.sink.wait_started(1)
    for worker in children_of(zygotes_of(os.getpid())[0]):
        os.kill(worker, signal.SIGINT)
    assert here.sink.wait_finished(1)[0].verdict is Verdict.SUCCESS
