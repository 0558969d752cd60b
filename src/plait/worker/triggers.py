"""From a trigger as plain data back to what can be awaited: found by its name, its arguments as it wants them."""

import dataclasses
import importlib
import sys
from collections.abc import Coroutine
from types import ModuleType
from typing import Any

import msgspec

from plait.authoring.params import is_plain, to_plain, validate
from plait.authoring.triggers import TriggerCall, TriggerFunction, find_local
from plait.model.errors import TriggerFailed

MOST_EVENT = 256 << 10
"""Bytes of an event: it lies in the row of the task run that waits for it."""


def coroutine_of(trigger: dict[str, Any]) -> Coroutine[Any, Any, Any]:
    """What to await. Raises TriggerFailed when the trigger is not there (any more), ParameterError when its arguments
    do not fit."""
    found = _find(trigger)
    if isinstance(found, TriggerFunction):
        return TriggerCall(found, validate(found.fn, trigger["args"], trigger["name"])).run()
    if isinstance(found, type) and dataclasses.is_dataclass(found):
        return found(**validate(found, trigger["args"], trigger["name"])).run()  # pyright: ignore[reportAttributeAccessIssue]  `lower` has looked
    raise TriggerFailed(f"{trigger['name']} in {trigger['file'] or trigger['module']} is no trigger any more")


def event_of(value: Any, trigger: dict[str, Any]) -> Any:
    """What a trigger returned, as it travels. Raises TriggerFailed for what cannot."""
    plain = to_plain(value, paths=True)
    if not is_plain(plain):
        raise TriggerFailed(f"{trigger['name']} returns a {type(value).__name__}; an event is plain data")
    size = len(msgspec.json.encode(plain))
    if size > MOST_EVENT:
        raise TriggerFailed(
            f"{trigger['name']} returns {size >> 10} KB, and an event has at most {MOST_EVENT >> 10} KB"
        )
    return plain


def _find(trigger: dict[str, Any]) -> Any:
    if "local" in trigger:
        found = find_local(trigger["local"])
        if found is None:
            raise TriggerFailed(
                f"{trigger['name']} is defined inside of a function, so only the process that called it has it; define "
                "it at the level of a module"
            )
        return found
    for module in _modules(trigger):
        found: Any = module
        for part in trigger["name"].split("."):
            found = getattr(found, part, None)
        if found is not None:
            return found
    raise TriggerFailed(f"there is no {trigger['name']} in {trigger['file'] or trigger['module']}")


def _modules(trigger: dict[str, Any]) -> list[ModuleType]:
    """Where it may be: in the module of its name, if that is the same file; in what was loaded from that file."""
    name, file = trigger["module"], trigger["file"]
    named = sys.modules.get(name)
    if named is None and name != "__main__":
        try:
            named = importlib.import_module(name)
        except ImportError:  # a file of definitions has its name only where it was loaded
            named = None
    loaded = [module for module in list(sys.modules.values()) if getattr(module, "__file__", None) == file]
    return loaded if named is None else [*loaded, named]
