"""Asking custom mappings: in a process of their own, once, by nobody who waits."""

import gc
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path

import pytest

from plait.engine.assets.index import Source
from plait.engine.partitions.answers import MappingUnknown, Said, Unanswered
from plait.engine.partitions.keysets import KeySet
from plait.engine.partitions.spaces import space_of
from plait.model.partitions import Names
from plait.runtime.asking import ASK_AGAIN, MOST_SOURCES, Asking
from plait.testing import FakeClock
from plait.worker.asking import ASK_TIMEOUT, Question
from plait.worker.isolated import ask_isolated
from tests.waiting import wait_until

CODE = """
import os
import time


def both(keys):
    return ["moon", *keys]


def raises(keys):
    return [{}[key] for key in keys]


def hangs(keys):
    while True:
        time.sleep(0.1)


def leaves(keys):
    os._exit(3)


def text(keys):
    return "moon"
"""
LINES: list[str] = [*CODE.splitlines()]
DOWN, UP = space_of(Names(keys=("eu", "us"))), space_of(Names(keys=("eu", "us", "moon")))
ALL = KeySet.span(0, 2)


def ask(folder: Path, name: str, timeout: float = ASK_TIMEOUT) -> Said:
    file = folder / "worlds.py"
    file.write_text(CODE)
    return ask_isolated(Question(ref=f"worlds:{name}", keys=("eu", "us")), str(folder), [str(file)], timeout=timeout)


def line_of(text: str) -> str:
    return f"worlds.py:{1 + LINES.index(text)}"


def test_each_key_is_asked_by_itself(tmp_path: Path):
    said = ask(tmp_path, "both")
    assert said.keys == (("moon", "eu"), ("moon", "us"))
    assert said.place.endswith(line_of("def both(keys):"))


@pytest.mark.parametrize(
    ("name", "message", "line"),
    [
        ("raises", "the mapping worlds:raises raised for 'eu': KeyError: 'eu'", "    return [{}[key] for key in keys]"),
        ("hangs", "was asked for what worlds:hangs says, and was stopped after 2 s", "        time.sleep(0.1)"),
        (
            "leaves",
            "while it was asked for what worlds:leaves says, with exit code 3",
            "    os._exit(3)",
        ),
        ("text", "returned 'moon' for 'eu', which is no list of keys", "def text(keys):"),
    ],
)
def test_what_a_mapping_does_is_told_with_its_place(tmp_path: Path, name: str, message: str, line: str):
    with pytest.raises(MappingUnknown) as told:
        ask(tmp_path, name, timeout=2.0)
    assert message in str(told.value)
    assert line_of(line) in str(told.value)


def test_a_mapping_that_is_gone_is_told(tmp_path: Path):
    with pytest.raises(MappingUnknown, match="worlds:gone is not to be found"):
        ask(tmp_path, "gone")


class Host:
    """Answers by `said`, about `tell` keys at most; or fails with `error`, or `dies`. Counts how often it was asked."""

    def __init__(self, *said: str):
        self.said = said
        self.error: str | None = None
        self.tell: int | None = None
        self.dies = False
        self.count = 0

    def __call__(self, question: Question, target: str, files: Sequence[str] | None, /) -> Said:
        self.count += 1
        if self.error is not None:
            raise MappingUnknown(self.error)
        if self.dies:
            raise GeneratorExit
        return Said("worlds.py:6", tuple((*self.said, key) for key in question.keys[: self.tell]))


def asked(host: Host, clock: FakeClock) -> tuple[Asking, list[None]]:
    woken: list[None] = []
    return Asking(host, clock, lambda: woken.append(None)), woken


def test_who_asks_hears_when_there_is_an_answer_which_is_kept_by_version():
    host = Host("moon")
    asking, woken = asked(host, FakeClock())
    old, new = Source("a.py", "/a", "1"), Source("a.py", "/a", "2")
    for source in (old, new):
        with pytest.raises(Unanswered):
            asking.of(source)("worlds:both", DOWN, UP, ALL)
        wait_until(lambda: woken, "an answer")
        woken.clear()
        pairs = [asking.of(source)("worlds:both", DOWN, UP, ALL) for _ in range(3)][-1]
        assert pairs.upstream(KeySet.span(0, 1)) == KeySet.of([0, 2])
        assert pairs.downstream(KeySet.span(2, 3)) == ALL
    assert host.count == 2


def test_what_failed_is_asked_again_after_a_while():
    host, clock = Host(), FakeClock()
    asking, woken = asked(host, clock)
    host.error = "it raised"
    with pytest.raises(Unanswered):
        asking.of(Source("", "/a"))("worlds:both", DOWN, UP, ALL)
    wait_until(lambda: woken, "an answer")
    for _ in range(3):
        with pytest.raises(MappingUnknown, match="it raised") as told:
            asking.of(Source("", "/a"))("worlds:both", DOWN, UP, ALL)
        assert not told.value.pending
    host.error = None
    clock.advance(ASK_AGAIN + 1)
    with pytest.raises(Unanswered):
        asking.of(Source("", "/a"))("worlds:both", DOWN, UP, ALL)
    wait_until(lambda: len(woken) == 2, "an answer")
    assert asking.of(Source("", "/a"))("worlds:both", DOWN, UP, ALL).known == ALL
    assert host.count == 2


def test_keys_that_are_none_are_told():
    host = Host("mars")
    asking, woken = asked(host, FakeClock())
    with pytest.raises(Unanswered):
        asking.of(Source("", "/a"))("worlds:both", DOWN, UP, ALL)
    wait_until(lambda: woken, "an answer")
    with pytest.raises(MappingUnknown) as told:
        asking.of(Source("", "/a"))("worlds:both", DOWN, UP, ALL)
    assert "says that 'eu' is made from 'mars': there is no partition 'mars'" in str(told.value)
    assert "worlds.py:6" in str(told.value)


def test_who_answers_is_kept_while_it_is_in_use():
    """However many they are; of the others, as many as there is room for."""
    asking, _ = asked(Host(), FakeClock())
    sources = [Source("", "/a", str(number)) for number in range(2 * MOST_SOURCES)]
    kept = [asking.of(source) for source in sources]
    assert [asking.of(source) for source in sources] == kept
    gone = weakref.ref(kept[0])
    kept.clear()
    gc.collect()
    assert gone() is None


def test_too_few_answers_are_told():
    host = Host()
    host.tell = 1
    asking, woken = asked(host, FakeClock())
    with pytest.raises(Unanswered):
        asking.of(Source("", "/a"))("worlds:both", DOWN, UP, ALL)
    wait_until(lambda: woken, "an answer")
    with pytest.raises(MappingUnknown, match="worlds:both was asked about 2 partitions, and 1 were told"):
        asking.of(Source("", "/a"))("worlds:both", DOWN, UP, ALL)


def test_it_asks_on_after_somebody_could_not_be_woken():
    woken: list[None] = []

    def wake() -> None:
        woken.append(None)
        raise RuntimeError("nobody is there")

    asking = Asking(Host(), FakeClock(), wake)
    for count, name in enumerate(("worlds:both", "worlds:more"), 1):
        with pytest.raises(Unanswered):
            asking.of(Source("", "/a"))(name, DOWN, UP, ALL)
        wait_until(lambda: len(woken) == count, "an answer")  # noqa: B023  it is called here
        assert asking.of(Source("", "/a"))(name, DOWN, UP, ALL).known == ALL


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # it is what is tested
def test_it_asks_on_after_its_thread_has_died():
    host = Host()
    asking, woken = asked(host, FakeClock())
    host.dies = True
    with pytest.raises(Unanswered):
        asking.of(Source("", "/a"))("worlds:both", DOWN, UP, ALL)
    wait_until(lambda: host.count == 1 and not named("plait-mappings"), "its end")
    host.dies = False
    with pytest.raises(Unanswered):
        asking.of(Source("", "/a"))("worlds:both", DOWN, UP, ALL)
    wait_until(lambda: woken, "an answer")
    assert asking.of(Source("", "/a"))("worlds:both", DOWN, UP, ALL).known == ALL


def named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]
