"""Times of schedules, as people read them: on the clock of the schedule's own zone."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo


def on_clock(iso: str, tz: str) -> str:
    """A time on the clock of a zone, with the zone's offset where that is not UTC."""
    at = datetime.fromisoformat(iso).astimezone(UTC if tz == "UTC" else ZoneInfo(tz))
    text = at.strftime("%Y-%m-%d %H:%M:%S")
    return text if tz == "UTC" else f"{text} {at.strftime('%z')}"
