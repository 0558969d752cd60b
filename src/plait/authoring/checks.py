"""`@check`: a look at an asset after it was materialized."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

import msgspec

from plait.authoring.task import check_function
from plait.authoring.where import here, place_of
from plait.model.errors import DefinitionError

P = ParamSpec("P")
R = TypeVar("R")
SEVERITIES = ("error", "warn")


class Keyed(Protocol):
    """Something with an asset's key."""

    @property
    def key(self) -> str:
        """The key."""
        ...


class CheckResult(msgspec.Struct, frozen=True):
    """What a check found, where true or false does not say it all: a `description` for people, `metadata` (plain data)
    that is recorded with it; `severity` ("error" or "warn") overrides the check's own."""

    passed: bool
    description: str = ""
    metadata: Mapping[str, Any] = {}
    severity: str | None = None


class Check(Generic[P, R]):
    """A look at an asset after it was materialized; true is good."""

    def __init__(self, fn: Callable[P, R], asset: str, name: str, blocking: bool, severity: str):
        self.fn = fn
        self.asset = asset
        self.name = name
        self.blocking = blocking
        self.severity = severity
        self.place = place_of(fn)
        functools.update_wrapper(self, fn, updated=())

    @property
    def key(self) -> str:
        """The key of its task in a run."""
        return f"{self.asset}:{self.name}"

    @property
    def signature(self) -> inspect.Signature:
        """That of its function."""
        return inspect.signature(self.fn)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.fn(*args, **kwargs)


def check(
    *, asset: Keyed | str, name: str = "", blocking: bool = False, severity: str = "error"
) -> Callable[[Callable[P, R]], Check[P, R]]:
    """Make a function a check of an asset: it gets the asset's value (and assets by name, and `context`), and returns
    whether it is good, as true or false or as a `CheckResult`. A failed `blocking` check of severity "error" stops what
    is made from the asset.

        @check(asset=flights, blocking=True)
        def has_rows(flights) -> bool:
            return len(flights) > 0
    """
    if severity not in SEVERITIES:
        where, wrong = here()
        raise DefinitionError(
            f"there is no severity {severity!r}", where=where, wrong=wrong, right='severity="error" or "warn"'
        )

    def make(function: Callable[P, R]) -> Check[P, R]:
        check_function(function, "@check")
        key = asset if isinstance(asset, str) else asset.key
        return Check(function, key, name or function.__name__, blocking, severity)

    return make
