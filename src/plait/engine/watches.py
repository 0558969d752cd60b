"""Waits across runs, as one mechanism: a predicate over states of subjects, indexed by subject.

A subject is a tuple of texts: `("run", run id)`, `("task", run id, key, path)`, `("asset", key)`, `("workflow",
name)`. Whoever changes a subject tells the index; it says which watches came true, or can no longer come true.
"""

from collections.abc import Hashable
from enum import StrEnum
from typing import NamedTuple

Subject = tuple[Hashable, ...]


class Watch(NamedTuple):
    """`owner` waits until `subject` is in one of `states`; one of `failing` ends the wait badly, one of `skipping` says
    that there is nothing to do."""

    owner: Hashable
    subject: Subject
    states: frozenset[str]
    failing: frozenset[str] = frozenset()
    skipping: frozenset[str] = frozenset()


class Said(StrEnum):
    """What a watch came to."""

    TRUE = "true"
    FAILED = "failed"
    SKIP = "skip"


class WatchIndex:
    """All open watches, by subject."""

    def __init__(self) -> None:
        self._by_subject: dict[Subject, list[Watch]] = {}
        self._by_owner: dict[Hashable, Watch] = {}

    def add(self, watch: Watch, state: str | None) -> Said | None:
        """Begin a watch, given its subject's state now. What that decides, none when it waits."""
        said = answer(watch, state)
        if said is None:
            self._by_subject.setdefault(watch.subject, []).append(watch)
            self._by_owner[watch.owner] = watch
        return said

    def changed(self, subject: Subject, state: str) -> list[tuple[Watch, Said]]:
        """A subject is in a new state: the watches that this decides, which end."""
        decided = [
            (watch, said) for watch in self._by_subject.get(subject, ()) if (said := answer(watch, state)) is not None
        ]
        for watch, _ in decided:
            self.drop(watch.owner)
        return decided

    def drop(self, owner: Hashable) -> None:
        """End an owner's watch, if there is one."""
        watch = self._by_owner.pop(owner, None)
        if watch is not None:
            rest = [other for other in self._by_subject[watch.subject] if other is not watch]
            if rest:
                self._by_subject[watch.subject] = rest
            else:
                del self._by_subject[watch.subject]

    def subjects(self) -> list[Subject]:
        """What is watched."""
        return list(self._by_subject)

    def watches(self, subject: Subject) -> list[Watch]:
        """Who watches a subject."""
        return list(self._by_subject.get(subject, ()))


def answer(watch: Watch, state: str | None) -> Said | None:
    """What a state means for a watch."""
    if state is None:
        return None
    if state in watch.states:
        return Said.TRUE
    if state in watch.skipping:
        return Said.SKIP
    return Said.FAILED if state in watch.failing else None
