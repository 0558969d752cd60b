"""Identifiers. Each is a NewType, so that a run id never passes for a task key.

A run id is made outside (a UUIDv7 as text, so ids sort by time); everything below a run is numbered by the run itself,
which keeps the engine pure: `TaskNo` counts the rows of a run, `Token` counts its executions.
"""

from typing import NewType

RunId = NewType("RunId", str)
"""Names one run: a UUIDv7 as text."""

TaskKey = NewType("TaskKey", str)
"""Names a node in its graph, groups first: `warehouse.load`."""

TaskNo = NewType("TaskNo", int)
"""Numbers a task run within its run, from 0, in the order in which the engine made them."""

Token = NewType("Token", int)
"""Fences one execution within its run: the lease's epoch in the high bits, a counter in the low 32. Greater is
newer."""

MapElement = int | str
"""One step of a map path: an index of a list or a key of a mapping."""

MapPath = tuple[MapElement, ...]
"""Where in its mapped scopes a task run stands: `()` outside of any, `(2,)` the third element, `(2, "eu")` nested."""

TOKEN_BITS = 32


def token(epoch: int, count: int) -> Token:
    """The token of a run's `count`-th execution under lease epoch `epoch`."""
    return Token((epoch << TOKEN_BITS) | count)
