"""What the functions of custom mappings have said, kept as numbers.

A function is asked for one key at a time, so that what it says can be read in both directions. Whoever can call it
(a process that has loaded the code) answers; what it has said is not asked again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from plait.engine.partitions.keysets import EMPTY, KeySet
from plait.engine.partitions.spaces import Space
from plait.model import partitions as model
from plait.model.errors import DefinitionError, ParameterError

MOST_ASKED = 100_000
"""Partitions of which a function is asked (C8): it is called once for each."""


class Said(NamedTuple):
    """What a function, which stands at `place` (file:line), says about each of some downstream keys."""

    place: str
    keys: tuple[tuple[str, ...], ...]


Texts = Callable[[str, Sequence[str]], Said]
"""Asks a function (`module:name`) about downstream keys. Raises MappingUnknown."""


class MappingUnknown(DefinitionError):
    """What a custom mapping says is not known: its function failed, or has not answered as yet (`pending`)."""

    pending = False


class Unanswered(MappingUnknown):
    """Nobody has answered as yet. Whoever was asked says so when the answer is there."""

    pending = True


class Pairs:
    """What belongs together. `known` are the downstream partitions that were asked about."""

    __slots__ = ("_down", "_up", "known")

    def __init__(self) -> None:
        self.known = EMPTY
        self._up: dict[int, tuple[int, ...]] = {}
        self._down: dict[int, list[int]] = {}

    def add(self, keys: KeySet, answers: Sequence[Sequence[int]]) -> None:
        """An answer for each of these downstream partitions."""
        for no, above in zip(keys, answers, strict=True):
            self._up[no] = tuple(above)
            for each in above:
                self._down.setdefault(each, []).append(no)
        self.known |= keys

    def upstream(self, keys: KeySet) -> KeySet:
        """What these are made from."""
        return KeySet.of(each for no in _common(keys, self._up) for each in self._up[no])

    def downstream(self, keys: KeySet) -> KeySet:
        """What is made from these."""
        return KeySet.of(each for no in _common(keys, self._down) for each in self._down[no])


def _common(keys: KeySet, known: Mapping[int, object]) -> Iterator[int]:
    if len(keys) <= len(known):
        return (no for no in keys if no in known)
    return (no for no in known if no in keys)


class Answers:
    """Asks one version of a code location by `texts`, and keeps what it said."""

    def __init__(self, texts: Texts):
        self._texts = texts
        self._pairs: dict[tuple[str, str, str], Pairs] = {}

    def __call__(self, ref: str, down: Space, up: Space, keys: KeySet) -> Pairs:
        """What a function says of these downstream partitions, at least. Raises MappingUnknown when it failed, was not
        asked as yet, or says what is no partition."""
        pairs = self._pairs.setdefault((ref, down.name, up.name), Pairs())
        new = keys - pairs.known
        if new:
            if len(new) > MOST_ASKED:
                raise MappingUnknown(
                    f"{ref} would be asked for {len(new):,} partitions: {MOST_ASKED:,} are the most",
                    right="one of PartitionMapping's own, or a static table",
                )
            texts = [down.key(no) for no in new]
            pairs.add(new, _numbers(ref, up, texts, self._texts(ref, texts)))
        return pairs


def _numbers(ref: str, up: Space, keys: Sequence[str], said: Said) -> list[list[int]]:
    known: dict[str, int] = {}
    found: list[list[int]] = []
    for key, above in zip(keys, said.keys, strict=True):
        for each in above:
            if each not in known:
                try:
                    known[each] = up.ordinal(each)
                except ParameterError as error:
                    what = f"the mapping {ref} says that {key!r} is made from {each!r}: {error.what}"
                    raise MappingUnknown(what, where=said.place, right=error.right) from None
        found.append([known[each] for each in above])
    return found


def is_custom(mapping: model.Mapping | None) -> bool:
    """Whether only user code knows a mapping."""
    if isinstance(mapping, model.Dimensions):
        return any(isinstance(each.mapping, model.Custom) for each in mapping.by)
    return isinstance(mapping, model.Custom)
