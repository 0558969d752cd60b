"""The buses: who hears what, what is left behind, what a dead or a full receiver does."""

import os
import queue
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from plait.adapters.bus import local
from plait.adapters.bus.local import LocalBus
from plait.adapters.bus.memory import MemoryBus
from plait.adapters.bus.postgres import PostgresBus
from plait.model.errors import StoreError
from plait.ports import EventBus
from tests import pg

WAIT = 5.0


class Heard:
    """Collects what a bus tells."""

    def __init__(self, bus: EventBus):
        self.bus = bus
        self.topics: queue.Queue[str] = queue.Queue()
        self.threads: set[str] = set()
        bus.subscribe(self._hear)

    def _hear(self, topic: str) -> None:
        self.threads.add(threading.current_thread().name)
        self.topics.put(topic)

    def next(self) -> str:
        return self.topics.get(timeout=WAIT)

    def nothing(self) -> bool:
        time.sleep(0.05)
        return self.topics.empty()


@pytest.fixture
def opened():
    """Buses to be closed at the end."""
    buses: list[EventBus] = []
    yield buses
    for bus in buses:
        bus.close()


@pytest.fixture(params=["memory", "local", pytest.param("postgres", marks=pytest.mark.postgres)])
def three(request, tmp_path, opened):
    """Three ends of one bus."""
    if request.param == "memory":
        first = MemoryBus()
        opened += [first, first.peer(), first.peer()]
    elif request.param == "postgres":
        url = pg.in_schema(f"bus_{uuid.uuid4().hex[:8]}")  # only a name: a bus needs no tables
        opened += [PostgresBus(url) for _ in range(3)]
    else:
        opened += [LocalBus(f"sqlite:///{tmp_path / 'plait.db'}") for _ in range(3)]
    return opened


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'plait.db'}"


# --- every bus -------------------------------------------------------------------------------------------------------


def test_all_others_hear_and_the_publisher_does_not(three):
    heard = [Heard(bus) for bus in three]
    three[0].publish("inbox")
    three[0].publish("slöts")
    assert [heard[1].next(), heard[1].next()] == ["inbox", "slöts"]
    assert [heard[2].next(), heard[2].next()] == ["inbox", "slöts"]
    assert heard[0].nothing()


def test_callbacks_come_on_a_thread_of_the_bus(three):
    heard = Heard(three[1])
    three[0].publish("x")
    heard.next()
    assert heard.threads == {"plait-bus"}


def test_nobody_listens(three):
    three[0].publish("x")
    three[0].close()  # by now it has been sent
    assert Heard(three[1]).nothing()


def test_several_callbacks_and_one_that_fails(three, caplog):
    def fail(topic: str) -> None:
        raise ValueError(topic)

    three[1].subscribe(fail)
    heard = Heard(three[1])
    three[0].publish("x")
    three[0].publish("y")
    assert [heard.next(), heard.next()] == ["x", "y"]
    assert "a subscriber failed on 'x'" in caplog.text


def test_who_has_left_hears_nothing_and_does_no_harm(three):
    gone, stays = Heard(three[1]), Heard(three[2])
    three[1].close()
    three[1].close()
    three[0].publish("x")
    assert stays.next() == "x"
    assert gone.nothing()
    mine = 2 if isinstance(stays.bus, PostgresBus) else 1  # there a thread publishes
    assert [thread.name for thread in threading.enumerate()].count("plait-bus") == mine


def test_a_subscriber_may_close_its_own_bus(three):
    done = threading.Event()

    def close(topic: str) -> None:
        three[1].close()
        done.set()

    before = set(threading.enumerate())
    three[1].subscribe(close)
    [thread] = set(threading.enumerate()) - before
    three[0].publish("x")
    assert done.wait(WAIT)
    thread.join(WAIT)
    assert not thread.is_alive()


def test_a_slow_subscriber_holds_nobody_up(three):
    release = threading.Event()
    three[1].subscribe(lambda topic: release.wait(WAIT))
    heard = Heard(three[2])
    begun = time.monotonic()
    for number in range(3000):
        three[0].publish(str(number))
        if number < 5:
            heard.next()
    assert time.monotonic() - begun < WAIT
    release.set()


# --- between processes -----------------------------------------------------------------------------------------------


def folder_of(url: str) -> Path:
    return LocalBus(url)._folder


PROGRAM = """
import sys
from plait.adapters.bus.local import LocalBus
bus = LocalBus(sys.argv[1])
if sys.argv[2] == "publish":
    bus.publish("from another process")
else:
    bus.subscribe(lambda topic: print("heard", topic, flush=True))
    print("ready", flush=True)
    sys.stdin.read()
bus.close()
"""


def process(url: str, what: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "TMPDIR": url.removeprefix("sqlite:///").rpartition("/")[0],
    }
    arguments = [sys.executable, "-c", PROGRAM, url, what]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def test_another_process_hears_and_is_heard(url, opened):
    opened.append(LocalBus(url))
    heard = Heard(opened[0])
    with process(url, "publish"):
        assert heard.next() == "from another process"
    with process(url, "listen") as other:
        assert other.stdout.readline() == "ready\n"
        opened[0].publish("hello")
        assert other.stdout.readline() == "heard hello\n"
        other.stdin.close()
    assert other.returncode == 0


def test_the_socket_of_a_killed_process_is_removed(url, opened):
    opened.append(LocalBus(url))
    with process(url, "listen") as other:
        other.stdout.readline()
        assert len(list(folder_of(url).iterdir())) == 1
        other.kill()
    opened[0].publish("x")
    assert list(folder_of(url).iterdir()) == []


def test_nothing_is_left_behind(url):
    bus, other = LocalBus(url), LocalBus(url)
    Heard(bus)
    Heard(other)
    assert len(list(folder_of(url).iterdir())) == 2
    bus.close()
    other.close()
    assert not folder_of(url).exists()


def test_one_database_by_any_name_and_no_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    names = [
        "plait.db",
        "sqlite:///plait.db",
        f"sqlite:///{tmp_path}/link/plait.db?synchronous=NORMAL",
        "link/plait.db",
    ]
    assert len({folder_of(name) for name in names}) == 1
    assert folder_of("other.db") != folder_of("plait.db")
    assert folder_of("memory://") != folder_of("plait.db")


def test_the_folder_is_private_and_its_names_are_short(url, opened):
    opened.append(LocalBus(url))
    Heard(opened[0])
    folder = folder_of(url)
    assert folder.stat().st_mode & 0o777 == 0o700
    [name] = folder.iterdir()
    assert len(os.fsencode(name)) < 100
    folder.chmod(0o755)
    LocalBus(url)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_name_that_somebody_else_took_is_left_alone(url, tmp_path):
    taken = folder_of(url)
    taken.symlink_to(tmp_path)
    try:
        assert folder_of(url) == Path(f"{taken}1")
    finally:
        taken.unlink()


def test_a_folder_that_is_swept_away_does_not_stop_anything(url, opened):
    opened += [LocalBus(url), LocalBus(url)]
    Heard(opened[0])
    for path in folder_of(url).iterdir():
        path.unlink()
    folder_of(url).rmdir()
    opened[1].publish("x")
    again = LocalBus(url)
    opened.append(again)
    heard = Heard(again)
    opened[0].publish("y")
    assert heard.next() == "y"


def test_a_long_topic_is_cut_and_bytes_that_are_no_text_do_no_harm(url, opened):
    opened += [LocalBus(url), LocalBus(url)]
    heard = Heard(opened[1])
    opened[0].publish("ä" * 1000)
    assert len(heard.next()) == local.LONGEST // 2
    opened[0].publish("x" + "ä" * 1000)
    assert heard.next().startswith("xä")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        [path] = folder_of(url).iterdir()
        stranger.sendto(b"\xff\xfe", str(path))
    assert heard.next()


def test_where_no_socket_can_be_made_is_told(url, monkeypatch, tmp_path):
    bus = LocalBus(url)
    monkeypatch.setattr(bus, "_folder", tmp_path / ("x" * 120))
    with pytest.raises(StoreError, match="no socket can be made"):
        bus.subscribe(lambda topic: None)
    bus.close()


def test_after_a_fork_the_child_publishes_but_takes_nothing_away(url, opened):
    opened.append(LocalBus(url))
    heard = Heard(opened[0])
    script = f"""
import os, sys
from plait.adapters.bus.local import LocalBus
from plait.model.errors import StoreError
bus = LocalBus({url!r})
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
assert bus._path.exists()
bus.close()
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
    assert heard.next() == "child"
