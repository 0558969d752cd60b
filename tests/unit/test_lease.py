"""Who is taken for dead, and that a heartbeat goes on whatever its process is at (F3, F4, F26)."""

import threading

import pytest

from plait.adapters.stores.memory import MemoryStore
from plait.model.errors import StoreError
from plait.runtime import lease as leases
from plait.runtime.lease import LEASE_SECONDS, RENEW_SECONDS, Heartbeat, Lease, sweep_dead
from plait.testing.clock import FakeClock
from tests.waiting import wait_until


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def clock():
    return FakeClock()


def lease_of(store, clock, name: str, host: str, pid: int = 1, *, dead: tuple[int, ...] = ()) -> Lease:
    made = Lease(store, clock, name=name, host=host, pid=pid, alive=lambda pid: pid not in dead)
    assert made.renew()
    return made


def go_on(clock, seconds: float, *live: Lease) -> None:
    """Time passes, in which these prolong their leases and see who is dead."""
    for _ in range(int(seconds / RENEW_SECONDS)):
        clock.advance(RENEW_SECONDS)
        for each in live:
            assert each.renew()
        for each in live:
            each.sweep()


def owners(store) -> list[str]:
    return [row.owner for row in store.owners()]


def test_a_silent_owner_of_another_host_is_swept_after_its_lease(store, clock):
    here = lease_of(store, clock, "here", "a")
    go_on(clock, 60.0, here)
    lease_of(store, clock, "there", "b")
    go_on(clock, LEASE_SECONDS, here)
    assert owners(store) == ["here", "there"]
    go_on(clock, RENEW_SECONDS, here)
    assert owners(store) == ["here"]


def test_a_process_that_is_gone_is_swept_at_once_also_by_who_has_just_begun(store, clock):
    lease_of(store, clock, "gone", "a", pid=7)
    assert sweep_dead(store, clock.now(), host="a", alive=lambda pid: pid != 7) == []
    assert owners(store) == []


def test_after_an_outage_the_first_one_back_waits_for_the_others(store, clock):
    first, second = lease_of(store, clock, "first", "a"), lease_of(store, clock, "second", "b")
    third = lease_of(store, clock, "third", "c")
    go_on(clock, 60.0, first, second, third)
    clock.advance(300.0)  # the database was away: nobody could prolong anything
    assert first.renew()
    first.sweep()
    assert owners(store) == ["first", "second", "third"]
    go_on(clock, LEASE_SECONDS - RENEW_SECONDS, first)
    assert second.renew()
    go_on(clock, 2 * RENEW_SECONDS, first, second)
    assert owners(store) == ["first", "second"], "who did not come back in a lease's time is dead"


def test_who_has_just_begun_does_not_know_whether_there_was_an_outage(store, clock):
    other = lease_of(store, clock, "other", "b")
    clock.advance(300.0)
    begun = lease_of(store, clock, "begun", "a")
    begun.sweep()
    assert sweep_dead(store, clock.now(), host="a") == []
    assert owners(store) == ["begun", "other"]
    go_on(clock, LEASE_SECONDS, begun, other)
    assert owners(store) == ["begun", "other"]


def test_who_has_lost_touch_itself_takes_nobody_for_dead(store, clock):
    frozen, other = lease_of(store, clock, "frozen", "a"), lease_of(store, clock, "other", "b")
    go_on(clock, 60.0, frozen, other)
    clock.advance(300.0)
    frozen.sweep()  # a thread of it that was about to, before its heartbeat comes to its turn
    assert owners(store) == ["frozen", "other"]


def test_a_heartbeat_goes_on_while_its_process_is_busy_or_its_database_fails(store, clock, monkeypatch):
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.005)
    lease = lease_of(store, clock, "here", "a")
    busy, looked, failures = threading.Event(), threading.Event(), iter([StoreError("away"), RuntimeError("odd")])
    renew = lease.renew

    def renew_or_fail() -> bool:
        for error in failures:
            raise error
        return renew()

    monkeypatch.setattr(lease, "renew", renew_or_fail)

    def look() -> None:
        looked.set()
        assert busy.wait(60)

    lost: list[bool] = []
    heartbeat = Heartbeat(lease, look=look, lost=lambda: lost.append(True))
    try:
        assert looked.wait(60)
        for _ in range(3):
            clock.advance(LEASE_SECONDS)
            wait_until(lambda: store.owners()[0].lease_until > clock.now(), "the lease is prolonged", 60)
        assert not lost
        store.sweep(["here"], "it was silent", clock.now())
        wait_until(lambda: lost, "it learns that it was taken for dead", 60)
    finally:
        busy.set()
        heartbeat.stop()
    assert lost == [True]


def test_an_outage_as_long_as_a_lease_counts(store, clock):
    first, second = lease_of(store, clock, "first", "a"), lease_of(store, clock, "second", "b")
    go_on(clock, 60.0, first, second)
    clock.advance(LEASE_SECONDS)
    assert first.renew()
    clock.advance(0.001)
    first.sweep()
    assert owners(store) == ["first", "second"]


def test_an_outage_that_only_the_others_lease_does_not_outlast_counts(store, clock):
    """Both were away for as long; the other one had prolonged its lease a while before this one."""
    first, second = lease_of(store, clock, "first", "a"), lease_of(store, clock, "second", "b")
    go_on(clock, 60.0, first, second)
    clock.advance(RENEW_SECONDS)
    assert first.renew()
    clock.advance(LEASE_SECONDS - RENEW_SECONDS + 0.001)
    assert first.renew()
    first.sweep()
    assert owners(store) == ["first", "second"]
