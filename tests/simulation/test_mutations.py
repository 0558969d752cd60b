"""Mistakes that are planted into the runtime make seeds break: the simulation would find them."""

from collections import Counter
from itertools import product

import msgspec
import pytest

from plait.adapters.stores.memory_transaction import MemoryTransaction
from plait.adapters.workers import messages
from plait.adapters.workers.hub import WorkerHub
from plait.engine import executions
from plait.model.states import LIVE
from plait.runtime import commit, lease
from plait.runtime.commit import Committer
from plait.runtime.firing import Firing
from plait.runtime.scheduler import Scheduler
from plait.runtime.service import Service
from plait.testing.simulation import SCENARIOS, Faults, simulate

SEEDS = 100


def batch_without(field):
    """Batches that lack something."""
    real = commit.batch_of

    def batch_of(*args, **kwargs):
        batch, seq = real(*args, **kwargs)
        return msgspec.structs.replace(batch, **{field: []}), seq

    return batch_of


def commands_before_their_commit(monkeypatch):
    real = Committer._batches

    def batches(self, touched, now):
        found = real(self, touched, now)
        for hosted, decision, _ in found:
            self._carrier.carry_out([(hosted, command) for command in decision.commands])
            decision.commands.clear()
        return found

    monkeypatch.setattr(Committer, "_batches", batches)


def tokens_are_not_checked(monkeypatch):
    def holder(run, no, token):
        task = run.tasks.get(no)
        return task if task is not None and task.state in LIVE else None

    monkeypatch.setattr(executions, "holder", holder)


def slots_are_not_freed(monkeypatch):
    monkeypatch.setattr(commit, "batch_of", batch_without("release"))


def requests_are_not_deleted(monkeypatch):
    monkeypatch.setattr(commit, "batch_of", batch_without("inbox"))


def epochs_are_not_checked(monkeypatch):
    real = MemoryTransaction.write

    def write(self, batch):
        real(self, msgspec.structs.replace(batch, epoch=self._tables.runs[batch.run_id].run.epoch))

    monkeypatch.setattr(MemoryTransaction, "write", write)


def adopting_forgets_the_reports(monkeypatch):
    def adopt(self, run_id):
        orphans = [key[1] for key in self._orphans if key[0] == run_id]
        return orphans + [
            key[1] for key, entry in self._entries.items() if key[0] == run_id and entry.kind == messages.TASKS
        ]

    monkeypatch.setattr(WorkerHub, "adopt", adopt)


def no_stock_is_taken(monkeypatch):
    monkeypatch.setattr(Service, "_take_stock", lambda self: None)


def retries_of_a_commit_write_twice(monkeypatch):
    real = Scheduler.fail

    def fail(self, hosted, error):
        for each in hosted:
            if each.row.session or self.recover is None:
                real(self, [each], error)
            else:
                self._dirty[each.run.run_id] = each

    monkeypatch.setattr(Scheduler, "fail", fail)


def signals_are_counted_and_stay(monkeypatch):
    def take_signals(self, limit=200):
        return list(self._tables.signals.signals.values())[:limit]

    monkeypatch.setattr(MemoryTransaction, "take_signals", take_signals)


def what_was_counted_is_not_kept(monkeypatch):
    real = MemoryTransaction.advance_trigger

    def advance_trigger(self, row):
        real(self, msgspec.structs.replace(row, state=b"") if row.awaits else row)

    monkeypatch.setattr(MemoryTransaction, "advance_trigger", advance_trigger)


def runs_follow_in_a_transaction_of_their_own(monkeypatch):
    make, host = Firing._make, Firing._host
    later = []

    def make_later(self, tx, deployed, occurrence, logical_date, made, opened, **more):
        later.append((deployed, occurrence, logical_date, more))

    def make_now(self, made):
        due, later[:] = list(later), []
        if due:
            with self._scheduler.store.transaction() as tx:
                for deployed, occurrence, logical_date, more in due:
                    make(self, tx, deployed, occurrence, logical_date, made, Counter(), **more)
        host(self, made)

    monkeypatch.setattr(Firing, "_make", make_later)
    monkeypatch.setattr(Firing, "_host", make_now)


def leases_count_at_once(monkeypatch):
    def sweep(self):
        return lease.sweep_dead(self._store, self._clock.now(), host=self._host, alive=self._alive, leases=True)

    monkeypatch.setattr(lease.Lease, "sweep", sweep)


@pytest.mark.parametrize(
    "plant",
    [
        commands_before_their_commit,
        tokens_are_not_checked,
        slots_are_not_freed,
        requests_are_not_deleted,
        epochs_are_not_checked,
        adopting_forgets_the_reports,
        no_stock_is_taken,
        retries_of_a_commit_write_twice,
    ],
    ids=lambda plant: plant.__name__,
)
def test_a_planted_mistake_is_found(monkeypatch, plant):
    plant(monkeypatch)
    for seed, scenario in product(range(SEEDS), SCENARIOS):
        if simulate(scenario, seed).breach is not None:
            return
    pytest.fail(f"{plant.__name__} was not found in {SEEDS} seeds of each scenario")


@pytest.mark.parametrize(
    "plant",
    [signals_are_counted_and_stay, what_was_counted_is_not_kept, runs_follow_in_a_transaction_of_their_own],
    ids=lambda plant: plant.__name__,
)
def test_a_mistake_of_counting_is_found(monkeypatch, plant):
    plant(monkeypatch)
    assert any(simulate("updates", seed).breach for seed in range(SEEDS))


def test_whoever_trusts_leases_too_early_is_found(monkeypatch):
    leases_count_at_once(monkeypatch)
    assert any(simulate("crowd", seed, Faults(blackout=15.0)).breach for seed in range(10))
