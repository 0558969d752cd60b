"""Functions that map partitions, called in a process that has loaded the code which they are in: that of a session."""

import sys
from typing import Any

from plait.model.errors import UsageError, UserError


def ask_here(ref: str, keys: list[str]) -> list[str]:
    """The upstream keys that a function says for downstream ones. Raises UserError where it is not there, or fails."""
    module, _, name = ref.partition(":")
    function: Any = sys.modules.get(module)
    for part in name.split("."):
        function = getattr(function, part, None)
    if function is None:
        raise UsageError(f"the function {ref}, which maps partitions, is not loaded in this process")
    try:
        return [str(key) for key in function(keys)]
    except Exception as error:
        raise UserError(
            f"the function {ref}, which maps partitions, failed: {type(error).__name__}: {error}"
        ) from error
