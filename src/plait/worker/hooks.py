"""Finding the function of a hook: in the workflow's own definitions, or as a name of a module that is loaded here."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from plait.authoring.live import LiveGraph
from plait.authoring.where import code_of
from plait.model.errors import UsageError
from plait.model.graph import CodeRef
from plait.model.wire import Execution


def place_of_hook(execution: Execution) -> tuple[str, int]:
    """Whose hook an execution is (a task's key, or the workflow's name), and which of its hooks."""
    owner, _, index = execution.key.rsplit(":", 2)  # as `engine.children.add_hooks` names it
    return owner, int(index)


def find_hook(execution: Execution, graph: LiveGraph) -> Callable[..., Any]:
    """The hook that an execution is to call. Raises UsageError when it is not there any more."""
    assert execution.code is not None  # every hook is of a `HookSpec`, which names its code
    owner, index = place_of_hook(execution)
    node = graph.nodes.get(owner)
    if (execution.resume or {}).get("task") is None:  # a hook of the run
        known: Sequence[Callable[..., Any]] = graph.hooks
    else:
        known = node.task.hooks if node is not None and node.task is not None else ()
    found = _at(known, index, execution.code) or _by_name(execution.code)
    if found is None:
        raise UsageError(
            f"the hook {execution.code.name!r} is not in the code of {graph.graph.name!r} any more",
            where=f"{execution.code.location}:{execution.code.line}",
            right="a hook that runs in a worker process is a function of its own, at the level of a module",
        )
    return found


def _at(hooks: Sequence[Callable[..., Any]], index: int, code: CodeRef) -> Callable[..., Any] | None:
    """One function's code may be the hook of many, as closures: its number tells which."""
    if index < len(hooks) and code_of(hooks[index]).name == code.name:
        return hooks[index]
    return None


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
