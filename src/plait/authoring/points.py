"""Days and points in time as users write them."""

from datetime import date, datetime, time

from plait.authoring.where import here
from plait.model.errors import DefinitionError

Day = date | datetime | str
"""A day, or a point in time; text is ISO 8601."""


def point_of(given: Day) -> datetime:
    """A day or a point in time as a datetime, with the zone that it has, if any. Raises DefinitionError."""
    if isinstance(given, datetime):
        return given
    if isinstance(given, date):
        return datetime.combine(given, time())
    try:
        return datetime.fromisoformat(given)
    except (TypeError, ValueError):
        where, wrong = here()
        raise DefinitionError(
            f"{given!r} is not a date", where=where, wrong=wrong, right='"2026-01-31" or "2026-01-31T18:00"'
        ) from None
