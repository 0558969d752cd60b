"""Where in the user's code something was written: the first frame outside of plait, and its source line."""

import inspect
import linecache
import os
from collections.abc import Callable, Collection, Iterator
from types import FrameType, TracebackType
from typing import Any

from plait.model.errors import DefinitionError
from plait.model.graph import CodeRef

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_STDLIB = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_INSTALLED = f"{os.sep}site-packages{os.sep}"


def here() -> tuple[str, str]:
    """`file:line` and the source line of the user's code that called plait."""
    frames = [frame for frame in _frames(inspect.currentframe()) if not _is_ours(frame)]
    frame = next((frame for frame in frames if not _is_stdlib(frame)), frames[0] if frames else None)
    if frame is None:
        return "", ""
    filename, line = frame.f_code.co_filename, frame.f_lineno
    return f"{filename}:{line}", linecache.getline(filename, line).strip()


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_ours(frame: FrameType) -> bool:
    """Whether plait wrote it; what a dataclass generates has no file, but its module's globals."""
    return frame.f_code.co_filename.startswith(_PACKAGE) or frame.f_globals.get("__name__", "").startswith("plait.")


def _is_stdlib(frame: FrameType) -> bool:
    """A helper on the way, such as contextlib."""
    filename = frame.f_code.co_filename
    return filename.startswith("<frozen") or (filename.startswith(_STDLIB) and _INSTALLED not in filename)


def code_of(fn: Callable[..., Any]) -> CodeRef:
    """Where a function is defined. `location` is its module's name, or its file for a script."""
    inner = inspect.unwrap(fn)
    code = getattr(inner, "__code__", None)
    location = code.co_filename if code is not None else getattr(inner, "__module__", "")
    return CodeRef(
        location=location,
        name=getattr(inner, "__qualname__", type(inner).__name__),
        line=code.co_firstlineno if code is not None else 0,
    )


def place_of(fn: Callable[..., Any]) -> str:
    """`file:line` of a function, for errors."""
    ref = code_of(fn)
    return f"{ref.location}:{ref.line}" if ref.line else ref.location


def head_of(fn: Callable[..., Any]) -> str:
    """How a function begins, for errors: `def load(day, table)`."""
    prefix = "async def" if inspect.iscoroutinefunction(fn) else "def"
    return f"{prefix} {getattr(fn, '__name__', type(fn).__name__)}{inspect.signature(fn)}"


def unknown_option(decorator: str, keyword: str, known: Collection[str]) -> DefinitionError:
    """The error for a keyword that a decorator does not have: it names the nearest one, and all that there are."""
    import difflib  # only who makes a mistake needs it

    where, wrong = here()
    near = difflib.get_close_matches(keyword, sorted(known), n=3)
    near.sort(key=lambda name: name[:3] != keyword[:3])  # `retry` is nearer to `retries` than to `on_retry`
    nearest = f"{decorator}({near[0]}=...)\n" if near else ""
    return DefinitionError(
        f"{decorator} has no option {keyword!r}",
        where=where,
        wrong=wrong,
        right=f"{nearest}the options are: {', '.join(sorted(known))}",
    )


def frames_of_user(error: BaseException) -> str:
    """`file:line` of the innermost frame of the user's own code in a traceback (else of what it calls), empty when
    there is none."""
    found, helper = "", ""
    for frame, line in _lines(error.__traceback__):
        place = f"{frame.f_code.co_filename}:{line}"
        if _is_ours(frame):
            continue
        if _is_stdlib(frame) or _INSTALLED in frame.f_code.co_filename:
            helper = place
        else:
            found = place
    return found or helper


def _lines(traceback: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lineno
        traceback = traceback.tb_next
