"""Asking custom mappings for a service, which runs no user code (C7, C10): a process that has the code answers.

Nobody waits for an answer. Who asks hears that there is none as yet (`Unanswered`), holds back what depends on it, and
is woken when there is one. What was said is kept, for each version of a code location; what failed is asked again after
a while, or by another version.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol
from weakref import WeakValueDictionary

from plait.engine.assets.index import Source
from plait.engine.partitions.answers import Answers, MappingUnknown, Said, Unanswered
from plait.model.errors import PlaitError
from plait.ports import Clock
from plait.worker.asking import Question

MOST_SOURCES = 100
"""Versions of code locations whose answers are kept for who comes back (C8). Those that somebody holds are not counted:
whoever keeps the `Answers` of a source has them for as long."""
ASK_AGAIN = 60.0
"""Seconds after which a mapping that failed is asked again."""
log = logging.getLogger("plait.mappings")


class Host(Protocol):
    """Asks user code, in a process of its own: `worker.isolated.ask_isolated`."""

    def __call__(self, question: Question, target: str, files: Sequence[str] | None, /) -> Said: ...


class _Mapping:
    """A mapping's function, by one version of its code: what it said, and what it is to be asked."""

    def __init__(self, source: Source, ref: str):
        self.source = source
        self.ref = ref
        self.said: dict[str, tuple[str, ...]] = {}
        self.wanted: dict[str, None] = {}
        self.place = ""
        self.error: str | None = None
        self.again_at = 0.0


class Asking:
    """Answers for the custom mappings of code locations. `woken` is called when something was answered, or failed."""

    def __init__(self, host: Host, clock: Clock, woken: Callable[[], None]):
        self._host = host
        self._clock = clock
        self._woken = woken
        self._in_use: WeakValueDictionary[Source, Answers] = WeakValueDictionary()
        self._recent: OrderedDict[Source, Answers] = OrderedDict()
        self._lock = threading.Lock()
        self._asked: list[_Mapping] = []
        self._thread: threading.Thread | None = None

    def of(self, source: Source) -> Answers:
        """Who answers for this version of a code location: the same one for as long as somebody keeps it."""
        with self._lock:
            answers = self._in_use.get(source)
            if answers is None:
                mappings: dict[str, _Mapping] = {}
                answers = Answers(lambda ref, keys: self._ask(source, mappings, ref, keys))
                self._in_use[source] = answers
            self._recent[source] = answers
            self._recent.move_to_end(source)
            while len(self._recent) > MOST_SOURCES:
                self._recent.popitem(last=False)
            return answers

    def _ask(self, source: Source, mappings: dict[str, _Mapping], ref: str, keys: Sequence[str]) -> Said:
        with self._lock:
            mapping = mappings.setdefault(ref, _Mapping(source, ref))
            new = [key for key in keys if key not in mapping.said]
            if not new:
                return Said(mapping.place, tuple(mapping.said[key] for key in keys))
            if mapping.error is not None and self._clock.now() < mapping.again_at:
                raise MappingUnknown(mapping.error)
            mapping.wanted.update(dict.fromkeys(new))
            if mapping not in self._asked:
                self._asked.append(mapping)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="plait-mappings", daemon=True)
                self._thread.start()
            before = f"; before, {mapping.error}" if mapping.error is not None else ""
            raise Unanswered(f"{ref} is being asked which partitions belong together{before}")

    def _work(self) -> None:
        """Ask until there is nothing to ask; then the thread ends. If it dies, who asks next begins another one."""
        try:
            while (wanted := self._next()) is not None:
                mapping, keys = wanted
                try:
                    self._take(mapping, keys, *self._answer(mapping, keys))
                    self._woken()
                except Exception:  # who waits looks again by itself, later
                    log.exception("what %s says could not be told to who waits for it", mapping.ref)
        finally:
            with self._lock:
                if self._thread is threading.current_thread():
                    self._thread = None

    def _next(self) -> tuple[_Mapping, tuple[str, ...]] | None:
        """What is to be asked now; with nothing, the thread is none any more, before somebody counts on it."""
        with self._lock:
            if not self._asked:
                self._thread = None
                return None
            return self._asked[0], tuple(self._asked[0].wanted)

    def _answer(self, mapping: _Mapping, keys: tuple[str, ...]) -> tuple[Said, str | None]:
        """What a mapping says, or why that is not known."""
        try:
            files = [mapping.source.path] if mapping.source.path else None
            said = self._host(Question(ref=mapping.ref, keys=keys), mapping.source.location, files)
        except PlaitError as failed:
            return Said("", ()), str(failed)
        except Exception as failed:
            error = f"{mapping.ref} could not be asked: {failed}"
            log.exception("%s", error)
            return Said("", ()), error
        if len(said.keys) != len(keys):
            return Said("", ()), f"{mapping.ref} was asked about {len(keys)} partitions, and {len(said.keys)} were told"
        return said, None

    def _take(self, mapping: _Mapping, keys: Sequence[str], said: Said, error: str | None) -> None:
        with self._lock:
            self._asked.remove(mapping)
            if error is not None and error != mapping.error:
                log.warning("what depends on it is held back: %s", error)
            mapping.error, mapping.again_at = error, self._clock.now() + ASK_AGAIN
            mapping.said.update(zip(keys, said.keys, strict=error is None))
            mapping.place = said.place
            for key in keys:
                del mapping.wanted[key]
            if mapping.wanted:  # somebody asked for more in the meantime
                if error is None:
                    self._asked.append(mapping)
                else:
                    mapping.wanted.clear()
