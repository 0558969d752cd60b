"""`transaction`: tasks whose results become final together, or not at all."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from plait.authoring.scope import current_scope
from plait.authoring.where import here
from plait.model.errors import UsageError


@contextmanager
def transaction(name: str = "") -> Generator[None]:
    """In a flow: what the tasks called inside recorded becomes final when the block is left. An exception rolls back:
    their `on_rollback` functions are called, newest first, their results are not used by a later replay, and the
    exception goes on. A transaction inside another is a part of it.

        with transaction():
            reserve(order)          # @task(on_rollback=release)
            charge(order)
    """
    scope: Any = current_scope()
    if scope is None or not hasattr(scope, "begin_transaction"):
        where, wrong = here()
        raise UsageError(
            "a transaction needs a run to be recorded in",
            where=where,
            wrong=wrong,
            right="use it in a function with @flow",
        )
    key = scope.begin_transaction(name)
    try:
        yield
    except BaseException:
        if key:
            scope.end_transaction(key, ok=False)
        raise
    if key:
        scope.end_transaction(key, ok=True)
