"""PostgreSQL's connections: what happens when they break, when the server goes and comes back, when others wait."""

import contextlib
import os
import signal
import threading
import time

import psycopg
import pytest

from plait.adapters.stores.open import open_store
from plait.adapters.stores.postgres import connections, owners, pipeline, server, slots
from plait.model.errors import StaleToken, StoreError
from plait.model.rows import AssetRow, LimitRow, WorkflowRow
from plait.ports import RunBatch
from tests import pg
from tests.conformance.stores.kinds import acquire, create, event_rows, owner_row, run_row, slot_row, task_row, write
from tests.waiting import wait_until

pytestmark = pytest.mark.postgres
own_server = pytest.mark.skipif(pg.GIVEN in os.environ, reason=f"{pg.GIVEN} names a server that is not ours to stop")


@pytest.fixture
def url():
    with pg.emptied() as made:
        yield made


@pytest.fixture
def two(url):
    """Two stores, as two processes have them."""
    one, other = open_store(url), open_store(url)
    yield one, other
    one.close()
    other.close()


@pytest.fixture
def store(two):
    create(two[0], run_row())
    return two[0]


def asked(statement: str) -> list[tuple]:
    with psycopg.connect(pg.url(), autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


def end_connections() -> None:
    """End every connection of plait's, as a restart or a firewall would."""
    theirs = "FROM pg_stat_activity WHERE application_name = 'plait'"
    asked(f"SELECT pg_terminate_backend(pid) {theirs}")
    wait_until(lambda: not asked(f"SELECT 1 {theirs}"), "the end of the connections")


def wait_for_a_waiter() -> None:
    """Until a connection waits for a lock of another one's."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
    wait_until(lambda: asked(waiting), "somebody waiting for a lock")


# --- connections that break ------------------------------------------------------------------------------------------


def test_connections_that_were_ended_are_replaced(store):
    assert store.renew(owner_row())
    assert store.get_run("r1") == run_row()
    end_connections()
    write(store, tasks=[task_row(0)])
    assert store.tasks("r1") == [task_row(0)]
    assert store.renew(owner_row())
    end_connections()
    store.put_inbox("r1", b"x")
    assert store.load_run("r1").last_seq == 0
    assert store.take_over("r1", "me", 1.0) == 2


def test_all_readers_may_have_been_ended(store):
    ready = threading.Barrier(connections.READERS)
    found = []

    def read() -> None:
        ready.wait()
        found.extend(store.get_run("r1") for _ in range(10))

    for _ in range(2):
        threads = [threading.Thread(target=read) for _ in range(connections.READERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        end_connections()
    assert found == [run_row()] * 20 * connections.READERS


def write_in_a_transaction_that_breaks(store) -> None:
    with store.transaction() as tx:
        assert tx.acquire([slot_row()])
        end_connections()
        tx.write(RunBatch(run_id="r1", epoch=1, tasks=[task_row(0)]))


def test_a_transaction_that_breaks_is_told_and_nothing_of_it_stays(store):
    with pytest.raises(StoreError, match="nothing was written"):
        write_in_a_transaction_that_breaks(store)
    assert store.tasks("r1") == []
    assert store.slots() == []
    write(store, tasks=[task_row(0)])


@pytest.fixture
def breaking(url):
    """A store whose connections can be made to end just before a commit, by appending to the list."""
    breaks: list[bool] = []

    def hook(point: str) -> None:
        if point == "before_commit" and breaks:
            breaks.pop()
            end_connections()

    with contextlib.closing(open_store(url, on_commit=hook)) as store:
        create(store, run_row())
        yield store, breaks


def test_what_was_only_gathered_is_sent_again_when_the_server_has_said_that_it_ends(breaking):
    store, breaks = breaking
    breaks.append(True)
    write(store, tasks=[task_row(0)], events=event_rows(1, 1))
    assert store.tasks("r1") == [task_row(0)]
    breaks.append(True)
    store.put_inbox("r1", b"x")
    assert len(store.definitions.triggers()) == 0


def test_what_was_promised_is_not_promised_again(breaking):
    store, breaks = breaking
    breaks.append(True)
    with pytest.raises(StoreError, match="nothing was written"):
        acquire(store, slot_row())
    assert store.slots() == []


def test_what_becomes_of_a_commit_that_breaks_is_not_known(store, monkeypatch):
    """All was sent, and the answer never came."""

    def break_off(self: pipeline.Pipeline) -> None:
        raise psycopg.OperationalError("the cable was cut")

    monkeypatch.setattr(pipeline.Pipeline, "_result", break_off)
    with pytest.raises(StoreError, match=r"nobody knows whether it was carried out.*cable"):
        write(store, tasks=[task_row(0)], events=event_rows(1, 1))
    monkeypatch.undo()
    snapshot = store.load_run("r1")
    assert len(snapshot.tasks) == snapshot.last_seq, "all of it, or nothing"
    write(store, tasks=[task_row(1)])


def test_prepared_statements_that_somebody_dropped_are_prepared_again(store):
    write(store, tasks=[task_row(0)])
    store._writer.connection().execute("DEALLOCATE ALL")
    write(store, tasks=[task_row(1)])
    with store.transaction() as tx:
        store._writer.connection().execute("DEALLOCATE ALL")
        assert tx.acquire([slot_row()])
        tx.write(RunBatch(run_id="r1", epoch=1, tasks=[task_row(2)]))
    assert len(store.tasks("r1")) == 3


def test_an_interrupt_in_the_middle_of_a_commit(two, store):
    """Ctrl-C on the main thread while a row is locked: nothing is written, and the store goes on."""
    one, other = two

    def interrupt() -> None:
        wait_for_a_waiter()
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
    try:
        with other.transaction() as tx:
            assert tx.acquire([slot_row()])
            other._writer.connection().execute("SELECT 1 FROM runs FOR UPDATE")
            thread = threading.Thread(target=interrupt)
            thread.start()
            with pytest.raises(KeyboardInterrupt):
                write(one, tasks=[task_row(0)])
            thread.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert one.tasks("r1") == []
    write(one, tasks=[task_row(1)])
    assert one.tasks("r1") == [task_row(1)]


# --- a server that goes ----------------------------------------------------------------------------------------------


@own_server
@pytest.mark.parametrize("how", ["stop", "crash"])
def test_a_server_that_comes_back_is_waited_for(store, how):
    assert store.renew(owner_row())
    write(store, tasks=[task_row(0)], events=event_rows(1, 1))
    pg.shared().tell(how)
    done: list[object] = []
    acts = (
        lambda: write(store, tasks=[task_row(1)], events=event_rows(2, 2)),
        lambda: done.append(store.get_run("r1")),
        lambda: done.append(store.renew(owner_row())),
    )
    threads = [threading.Thread(target=act) for act in acts]
    for thread in threads:
        thread.start()
    pg.shared().tell("start")
    for thread in threads:
        thread.join()
    assert sorted(done, key=str) == [run_row(), True]
    assert store.load_run("r1").last_seq == 2


@own_server
def test_a_server_that_stays_away_is_told_in_the_end(store, monkeypatch):
    monkeypatch.setattr(server, "PATIENCE", 0.2)
    pg.shared().tell("stop")
    try:
        for act in (
            lambda: write(store, tasks=[task_row(0)]),
            lambda: store.get_run("r1"),
            lambda: store.renew(owner_row()),
            lambda: store.sweep(["me"], "died", 1.0),
        ):
            with pytest.raises(StoreError, match="is the server running there"):
                act()
    finally:
        pg.shared().tell("start")
    write(store, tasks=[task_row(0)])
    assert store.renew(owner_row())


def test_a_stopped_process_gives_its_locks_back(two, store, monkeypatch):
    """The server ends a transaction whose process does nothing for a while."""
    one, other = two
    one.save_limits([LimitRow(key="l", slots=1)])

    def stop_in_the_middle() -> None:
        with other.transaction() as tx:
            assert tx.acquire([slot_row()])
            other._writer.connection().execute("SET idle_in_transaction_session_timeout = 50")
            assert acquire(one, slot_row(no=1)), "it was waited for, and then it was gone"
            tx.write(RunBatch(run_id="r1", epoch=1, tasks=[task_row(0)]))

    with pytest.raises(StoreError, match="nothing was written"):
        stop_in_the_middle()
    assert one.slots() == [slot_row(no=1)]
    assert asked("SHOW idle_in_transaction_session_timeout") == [("0",)], "the server itself has none"
    [timeout] = one._writer.connection().execute("SHOW idle_in_transaction_session_timeout").fetchone()
    assert timeout == "15s"


# --- leases that are lost --------------------------------------------------------------------------------------------


def test_a_lease_that_is_lost_before_the_commit_is_noticed_there(two, store):
    one, other = two
    create(one, run_row("r2"))

    def write_late() -> None:
        with one.transaction() as tx:
            for run_id in ("r1", "r2"):
                tx.write(RunBatch(run_id=run_id, epoch=1, tasks=[task_row(0)], events=event_rows(1, 1), release=[0]))
            other.take_over("r2", "you", 1.0)

    acquire(one, slot_row())
    with pytest.raises(StaleToken, match="run r2 was taken over: its lease has epoch 2, not 1"):
        write_late()
    assert one.tasks("r1") == one.tasks("r2") == []
    assert one.slots() == [slot_row()]
    write(one, tasks=[task_row(0)])
    with pytest.raises(StaleToken, match="r2"):
        write(one, "r2", tasks=[task_row(0)])


def test_a_sweep_waits_for_the_runs_that_are_being_made_and_finds_them(two):
    one, other = two
    assert one.renew(owner_row())
    lost = []
    with one.transaction() as tx:
        assert tx.create_run(run_row("r1", owner="me", session=False))
        assert tx.create_run(run_row("r2", owner="me", session=True))
        thread = threading.Thread(target=lambda: lost.extend(other.sweep(["me"], "it was silent", 1.0)))
        thread.start()
        wait_for_a_waiter()
    thread.join()
    assert lost == ["r1", "r2"]
    assert other.claim("you", 5) == ["r1"]
    assert other.get_run("r2").state == "crashed"


def test_who_makes_a_run_while_it_is_swept_learns_of_it(two):
    one, other = two
    assert one.renew(owner_row())
    refused = []

    def make() -> None:
        try:
            create(one, run_row(owner="me"))
        except StaleToken as error:
            refused.append(str(error))

    with other.server.writer("on") as sweeping:
        sweeping.execute("BEGIN")
        owners.sweep(sweeping, ["me"], "it was silent", 1.0)
        thread = threading.Thread(target=make)
        thread.start()
        wait_for_a_waiter()
        sweeping.execute("COMMIT")
    thread.join()
    assert refused == ["me was declared dead, and cannot make run r1"]
    assert one.list_runs() == []


def test_a_take_over_waits_for_the_transaction_that_writes_the_run(two, store):
    one, other = two
    epochs = []
    with one.transaction() as tx:
        tx.write(RunBatch(run_id="r1", epoch=1, tasks=[task_row(0)]))
        assert tx.acquire([slot_row()])
        one._writer.connection().execute("SELECT 1 FROM runs FOR NO KEY UPDATE")
        thread = threading.Thread(target=lambda: epochs.append(other.take_over("r1", "you", 1.0)))
        thread.start()
        wait_for_a_waiter()
    thread.join()
    assert epochs == [2]
    assert one.tasks("r1") == [task_row(0)]
    assert one.slots() == [], "the take-over came after it, and freed them"


def test_a_run_that_is_deleted_and_made_again_elsewhere(two, store):
    one, other = two
    write(one, run=run_row(state="success", finished_at=1.0))
    other.delete_runs(2.0)
    with pytest.raises(StaleToken, match="not in the database any more"):
        write(one, tasks=[task_row(0)])
    create(other, run_row())
    write(one, tasks=[task_row(1)])
    assert other.tasks("r1") == [task_row(1)]


# --- limits that several want ----------------------------------------------------------------------------------------


def test_limits_in_the_wrong_order_are_not_waited_for_by_both(two, store):
    """One holds a and wants b, the other holds b and wants a."""
    one, other = two
    before = deadlocks()
    one.save_limits([LimitRow(key=key, slots=10) for key in ("a", "b")])
    got: dict[str, bool] = {}

    def want_a() -> None:
        with other.transaction() as tx:
            assert tx.acquire([slot_row("b", no=5)])
            holds_b.set()
            wait_for_a_waiter()
            got["a"] = tx.acquire([slot_row("a", no=5)])

    holds_b = threading.Event()
    thread = threading.Thread(target=want_a)
    with one.transaction() as tx:
        assert tx.acquire([slot_row("a", no=1)])
        thread.start()
        holds_b.wait()
        got["b"] = tx.acquire([slot_row("b", no=1)])
    thread.join()
    assert got == {"a": False, "b": True}, "who came late in the order gave way"
    assert {(row.key, row.no) for row in one.slots()} == {("a", 1), ("b", 1), ("b", 5)}
    assert deadlocks() == before


def test_limits_that_are_expected_are_granted_in_any_order(two, store):
    one, other = two
    before = deadlocks()
    one.save_limits([LimitRow(key=key, slots=1000) for key in ("a", "b")])
    refused = []

    def work(which, keys: str, first: int) -> None:
        for no in range(first, first + 40):
            with which.transaction() as tx:
                tx.expect(keys)
                refused.extend(key for key in keys if not tx.acquire([slot_row(key, no=no)]))

    threads = [
        threading.Thread(target=work, args=(one, "ab", 0)),
        threading.Thread(target=work, args=(other, "ba", 40)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == []
    assert len(one.slots("a")) == len(one.slots("b")) == 80
    assert deadlocks() == before


def test_a_limit_that_comes_late_in_the_order_is_waited_for_a_moment(two, store, monkeypatch):
    one, other = two
    monkeypatch.setattr(slots, "PATIENCE", 60.0)
    one.save_limits([LimitRow(key=key, slots=10) for key in ("a", "b")])
    holds_a, holds_b = threading.Event(), threading.Event()

    def hold_a() -> None:
        with other.transaction() as tx:
            assert tx.acquire([slot_row("a", no=5)])
            holds_a.set()
            holds_b.wait()

    thread = threading.Thread(target=hold_a)
    thread.start()
    holds_a.wait()
    with one.transaction() as tx:
        assert tx.acquire([slot_row("b", no=1)])
        holds_b.set()
        assert tx.acquire([slot_row("a", no=1)])
    thread.join()
    assert len(one.slots("a")) == 2


def test_assets_workflows_and_slots_in_any_order(two, store):
    """Two that write the same keys the other way round, again and again: neither is chosen as a deadlock's victim."""
    before = deadlocks()
    create(store, run_row("r2"))
    keys = [f"k{number}" for number in range(20)]
    failed = []

    def work(which, run_id: str, order: list[str]) -> None:
        try:
            for turn in range(30):
                with which.transaction() as tx:
                    for key in order:
                        tx.save_workflow(WorkflowRow(name=key, failures_in_a_row=turn))
                        asset = AssetRow(key=key, partition="", run_id=run_id, no=0, at=float(turn))
                        tx.write(RunBatch(run_id=run_id, epoch=1, assets=[asset]))
        except StoreError as error:
            failed.append(error)

    threads = [
        threading.Thread(target=work, args=(two[0], "r1", keys)),
        threading.Thread(target=work, args=(two[1], "r2", keys[::-1])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert deadlocks() == before


def deadlocks() -> int:
    return int(asked("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")[0][0])


# --- forks -----------------------------------------------------------------------------------------------------------


def test_a_child_does_not_use_its_parents_store(url):
    import subprocess
    import sys
    from pathlib import Path

    script = f"""
import os
from plait.adapters.stores.open import open_store
from plait.model.errors import StoreError
from tests.conformance.stores.kinds import create, owner_row, run_row
store = open_store({url!r})
create(store, run_row())
store.get_run("r1")
store.renew(owner_row())
child = os.fork()
if child == 0:
    for act in (lambda: store.get_run("r1"), lambda: create(store, run_row("r2")), lambda: store.renew(owner_row())):
        try:
            act()
        except StoreError as error:
            assert "before a fork" in str(error)
        else:
            os._exit(1)
    store.close()
    other = open_store({url!r})
    create(other, run_row("r3"))
    other.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
create(store, run_row("r4"))
store.renew(owner_row())
print(" ".join(row.run_id for row in store.list_runs()))
"""
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=False)
    assert (done.stdout, done.stderr) == ("r4 r3 r1\n", "")


def test_a_wait_for_the_server_does_not_hold_a_reader_up_for_ever(store, monkeypatch):
    monkeypatch.setattr(server, "PATIENCE", 0.0)
    begun = time.monotonic()
    with pytest.raises(StoreError):
        server.patiently(_refused)
    assert time.monotonic() - begun < 5


def _refused():
    from plait.adapters.stores.postgres.failures import NotThere

    raise NotThere("no")


def test_an_owner_outlives_a_crash_of_the_server():
    """Its first heartbeat does: whoever has leased runs is known, so that they are somebody else's when it dies."""
    own = pg.Server(**pg.SETTINGS, wal_writer_delay="10s")
    try:
        with contextlib.closing(open_store(own.url)) as store:
            assert store.renew(owner_row("me"))
            own.tell("crash")
            own.tell("start")
            assert [row.owner for row in store.owners()] == ["me"]
            assert store.renew(owner_row("me"))
    finally:
        own.close()
