"""The bus on PostgreSQL: connections that break, processes, forks, what is sent before the end."""

import os
import subprocess
import sys
import threading
import uuid

import psycopg
import pytest

from plait.adapters.bus import postgres
from plait.adapters.bus.postgres import RECONNECTED, PostgresBus
from plait.model.errors import StoreError
from tests import pg
from tests.unit.test_bus import WAIT, Heard
from tests.waiting import wait_until

pytestmark = pytest.mark.postgres
own_server = pytest.mark.skipif(pg.GIVEN in os.environ, reason=f"{pg.GIVEN} names a server that is not ours to stop")


@pytest.fixture
def url() -> str:
    """A bus needs no tables: only a name that nobody else uses."""
    return pg.in_schema(f"bus_{uuid.uuid4().hex[:8]}")


@pytest.fixture
def two(url):
    """A bus that listens, and one that publishes."""
    buses = PostgresBus(url), PostgresBus(url)
    yield buses
    for bus in buses:
        bus.close()


def end_connections() -> None:
    with psycopg.connect(pg.url(), autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'plait'")


def test_a_connection_that_breaks_is_replaced_and_who_listens_looks(two, caplog):
    heard = Heard(two[0])
    two[1].publish("before")
    assert heard.next() == "before"
    end_connections()
    assert heard.next() == RECONNECTED
    wait_until(lambda: two[1].publish("after") or not heard.topics.empty(), "a message")
    assert heard.next() == "after"
    assert "cannot wake each other just now" in caplog.text


@own_server
def test_a_server_that_restarts_is_waited_for(two):
    heard = Heard(two[0])
    two[1].publish("before")
    assert heard.next() == "before"
    pg.shared().tell("crash")
    two[1].publish("lost")  # or late: it may still be on its way when the server is there again
    pg.shared().tell("start")
    assert heard.topics.get(timeout=4 * WAIT) == RECONNECTED
    wait_until(lambda: two[1].publish("after") or not heard.topics.empty(), "a message")
    assert heard.next() == "after" or heard.next() == "after"


@own_server
def test_a_server_that_is_away_stops_nobody(url):
    pg.shared().tell("stop")
    try:
        bus = PostgresBus(url)
        bus.publish("x")
        with pytest.raises(StoreError, match="is the server running there"):
            bus.subscribe(lambda topic: None)
        bus.close()
    finally:
        pg.shared().tell("start")


def test_what_was_published_is_sent_before_the_end(two, url):
    heard = Heard(two[0])
    for number in range(20):
        bus = PostgresBus(url)
        bus.publish(str(number))
        bus.close()
        bus.publish("too late")
        assert heard.next() == str(number)
    assert heard.nothing()


def test_the_same_message_waits_once(two, monkeypatch):
    gate = threading.Event()
    real = postgres._End._send
    monkeypatch.setattr(postgres._End, "_send", lambda self, connection: gate.wait(WAIT) and real(self, connection))
    for topic in ("inbox", "inbox", "slots", "inbox"):
        two[1].publish(topic)
    gate.set()
    heard = Heard(two[0])
    two[1].publish("end")
    topics = [heard.next()]
    while topics[-1] != "end":
        topics.append(heard.next())
    assert topics.count("inbox") <= 1


def test_schemas_of_one_database_hear_nothing_of_each_other(two):
    other = PostgresBus(pg.in_schema(f"bus_{uuid.uuid4().hex[:8]}"))
    heard, elsewhere = Heard(two[0]), Heard(other)
    two[1].publish("here")
    other.publish("there")
    assert heard.next() == "here"
    assert heard.nothing()
    assert elsewhere.nothing()
    other.close()


def test_a_long_topic_is_cut_and_a_nul_does_no_harm(two):
    heard = Heard(two[0])
    two[1].publish("ä" * 1000)
    assert len(heard.next()) == postgres.LONGEST // 2
    two[1].publish("a\0b \udcff c")
    assert heard.next() == "ab ? c"


def test_no_thread_and_no_connection_is_left(url):
    before = set(threading.enumerate())
    buses = [PostgresBus(url) for _ in range(3)]
    for bus in buses:
        Heard(bus)
        bus.publish("x")
    assert len(set(threading.enumerate()) - before) == 3
    for bus in buses:
        bus.close()
        bus.close()
    assert set(threading.enumerate()) <= before


PROGRAM = """
import sys
from plait.adapters.bus.postgres import PostgresBus
bus = PostgresBus(sys.argv[1])
bus.subscribe(lambda topic: print("heard", topic, flush=True))
bus.publish("from another process")
sys.stdin.read()
bus.close()
"""


def test_another_process_hears_and_is_heard(two, url):
    heard = Heard(two[0])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as other:
        assert heard.topics.get(timeout=60) == "from another process"
        two[0].publish("hello")
        assert other.stdout.readline() == "heard hello\n"
        other.stdin.close()
    assert other.returncode == 0


def test_after_a_fork_the_child_publishes_but_takes_nothing_away(two, url):
    heard = Heard(two[0])
    script = f"""
import os
from plait.adapters.bus.postgres import PostgresBus
from plait.model.errors import StoreError
bus = PostgresBus({url!r})
bus.subscribe(lambda topic: None)
if os.fork() == 0:
    bus.publish("child")
    try:
        bus.subscribe(print)
    except StoreError:
        bus.close()
        os._exit(0)
    os._exit(1)
assert os.wait()[1] == 0
bus.publish("parent")
bus.close()
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
    assert [heard.next(), heard.next()] == ["child", "parent"]
