"""Finding the function of a hook: in the workflow's own definitions, or as a name of a module that is loaded here."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

from plait.authoring.live import LiveGraph
from plait.authoring.where import code_of
from plait.model.errors import UsageError
from plait.model.graph import CodeRef


def find_hook(code: CodeRef, graph: LiveGraph) -> Callable[..., Any]:
    """The hook that was defined there. Raises UsageError when it is not there any more."""
    for hook in _hooks_of(graph):
        if code_of(hook) == code:
            return hook
    found = _by_name(code)
    if found is None:
        raise UsageError(
            f"the hook {code.name!r} is not in the code of {graph.graph.name!r} any more",
            where=f"{code.location}:{code.line}",
            right="a hook that runs in a worker process is a function of its own, at the level of a module",
        )
    return found


def _hooks_of(graph: LiveGraph) -> Iterator[Callable[..., Any]]:
    yield from graph.hooks.values()
    for node in graph.nodes.values():
        if node.task is not None:
            yield from node.task.hooks


def _by_name(code: CodeRef) -> Callable[..., Any] | None:
    """Tasks that a flow calls are not in its graph: their hooks are looked up in the modules."""
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) != code.location:
            continue
        found: Any = module
        for name in code.name.split("."):
            found = getattr(found, name, None)
        if callable(found):
            return found
    return None
