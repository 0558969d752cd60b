"""`pool` and `limit`: how much of something there is for all runs together."""

import msgspec

from plait.authoring.where import here
from plait.model.errors import DefinitionError
from plait.model.rows import LimitRow


class Limit(msgspec.Struct, frozen=True):
    """A declared limit; plait finds it in the module that declares it, and stores it before the first run."""

    key: str
    slots: int

    def row(self) -> LimitRow:
        """The limit as the store keeps it."""
        return LimitRow(key=self.key, slots=self.slots)


declared: dict[str, Limit] = {}
"""All limits that this process has declared, by key."""


def _declare(key: str, slots: int) -> Limit:
    if isinstance(slots, bool) or not isinstance(slots, int) or slots < 1:  # pyright: ignore[reportUnnecessaryIsInstance]  # users are not always type-checked
        where, wrong = here()
        raise DefinitionError(
            f"a limit has at least one slot, not {slots!r}",
            where=where,
            wrong=wrong,
            right='pool("warehouse", slots=1)',
        )
    made = Limit(key, slots)
    declared[key] = made
    return made


def pool(name: str, *, slots: int) -> Limit:
    """Declare a pool: tasks with `pool="name"` take its slots while they run, across all runs and processes on one
    database. Declaring it again changes its size.

    warehouse = pool("warehouse", slots=1)   # one writer at a time
    """
    return _declare(f"pool:{name}", slots)


def limit(*, tag: str | None = None, key: str | None = None, slots: int) -> Limit:
    """Declare a limit for all tasks with a tag (`tags=["db"]`), or for a key (`limits={"api": 1}`)."""
    if (tag is None) == (key is None):
        where, wrong = here()
        raise DefinitionError(
            "a limit is for a tag or for a key", where=where, wrong=wrong, right='limit(tag="db", slots=4)'
        )
    return _declare(f"tag:{tag}" if tag is not None else f"key:{key}", slots)
