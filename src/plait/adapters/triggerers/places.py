"""Where code stands, for people: the frame that tells most of a stack."""

from collections.abc import Sequence

_PLUMBING = (
    "<frozen ",
    "/asyncio/",
    "/plait/worker/",
    "/plait/adapters/",
    "/selectors.py",
    "/threading.py",
    "/concurrent/futures/",
)


def place_of(frames: Sequence[tuple[str, int]]) -> str:
    """`file:line` of the innermost frame that is not that of the machinery, empty if all are; `frames` begin with the
    innermost."""
    for file, line in frames:
        if not any(part in file for part in _PLUMBING):
            return f"{file}:{line}"
    return ""
