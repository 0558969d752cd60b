"""Asking functions of user code that decide nothing by themselves: what custom mappings of partitions say (C10)."""

import importlib
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from plait.authoring.where import frames_of_user, place_of
from plait.engine.partitions.answers import MappingUnknown, Said
from plait.worker.found import Found, problem
from plait.worker.loading import load_file, load_target, put_on_path

ASK_TIMEOUT = 30.0
"""Seconds in which code is loaded and has answered."""
_ERRORS = (ImportError, AttributeError)


class Question(msgspec.Struct, kw_only=True, frozen=True):
    """What the function `ref` (module:name) says about each of these downstream keys."""

    ref: str
    keys: tuple[str, ...]


def ask_here(ref: str, keys: Sequence[str]) -> Said:
    """What a function of the code that is loaded in this process says. Raises MappingUnknown, with the place, for one
    that raises, or answers something else than keys."""
    module, _, name = ref.partition(":")
    try:
        function: Any = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
    except _ERRORS as error:
        raise MappingUnknown(f"the mapping {ref} is not to be found: {error}", where=frames_of_user(error)) from error
    place = place_of(function) if hasattr(function, "__code__") else ""
    return Said(place, tuple(_answer(function, ref, key, place) for key in keys))


def _answer(function: Callable[[list[str]], Sequence[str]], ref: str, key: str, place: str) -> tuple[str, ...]:
    try:
        answer = function([key])
        keys = tuple(answer)
    except Exception as error:
        last = traceback.format_exception_only(error)[-1].strip()
        where = frames_of_user(error) or place
        raise MappingUnknown(f"the mapping {ref} raised for {key!r}: {last}", where=where) from error
    if isinstance(answer, str) or not all(isinstance(each, str) for each in keys):
        what = f"the mapping {ref} returned {answer!r} for {key!r}, which is no list of keys"
        raise MappingUnknown(what, where=place, right=f"return [{key!r}]")
    return keys


def answer(question: Question, target: str, files: Sequence[Path] | None) -> Found:
    """In a process of its own: load these files of a target (none: all of it), and ask. What goes wrong is told."""
    found = Found(files=[str(file) for file in files or ()] or [target])
    try:
        if Path(target).is_dir():
            put_on_path(Path(target).resolve())
        for file in files or ():
            load_file(file)
        if files is None:
            load_target(target, validate=False)
        found.said = ask_here(question.ref, question.keys)
    except BaseException as error:  # noqa: BLE001  a file may raise anything, SystemExit too: it is told, whatever it is
        found.errors.append(problem(error, found.files[0]))
    return found
