"""Run ids and the clock."""

import threading
import time
import uuid

from plait.adapters import ids
from plait.adapters.clock import SystemClock
from plait.adapters.ids import Uuid7Source


def test_ids_are_uuids_of_version_7_and_tell_the_time():
    before = int(time.time() * 1000)
    made = uuid.UUID(Uuid7Source().run_id())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before <= made.int >> 80 <= int(time.time() * 1000)


def test_each_id_is_greater_than_all_before_also_between_threads():
    source = Uuid7Source()
    per_thread: list[list[str]] = []

    def make() -> None:
        per_thread.append([source.run_id() for _ in range(5000)])

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = [run_id for each in per_thread for run_id in each]
    assert all(each == sorted(each) for each in per_thread)
    assert len(set(made)) == len(made)
    assert source.run_id() > max(made)


def test_a_clock_that_jumps_back_does_not_bring_smaller_ids(monkeypatch):
    times = iter([2_000_000_000_000, 1_000_000_000_000, 1_000_000_000_000])
    monkeypatch.setattr(ids.time, "time_ns", lambda: next(times))
    source = Uuid7Source()
    first, second, third = (source.run_id() for _ in range(3))
    assert first < second < third


def test_the_clock_is_the_systems():
    assert abs(SystemClock().now() - time.time()) < 5
