"""Where in the user's code something was written: the first frame outside of plait, and its source line."""

import inspect
import linecache
import os
import sys
from collections.abc import Callable
from typing import Any

from plait.model.graph import CodeRef

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def here() -> tuple[str, str]:
    """`file:line` and the source line of the user's code that called plait."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    filename, line = frame.f_code.co_filename, frame.f_lineno
    return f"{filename}:{line}", linecache.getline(filename, line).strip()


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


def frames_of_user(error: BaseException) -> str:
    """`file:line` of the innermost frame of the user's code in a traceback, empty when there is none."""
    found = ""
    traceback = error.__traceback__
    while traceback is not None:
        filename = traceback.tb_frame.f_code.co_filename
        if not filename.startswith(_PACKAGE):
            found = f"{filename}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return found
