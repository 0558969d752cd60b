"""Published events for people."""

from typing import Any

import msgspec

from plait.engine.schedules import moment
from plait.ports import RunStore


class PublishedView(msgspec.Struct, kw_only=True):
    """An event that somebody has published; `at` is ISO 8601 in UTC."""

    id: str
    name: str
    at: str
    data: Any


def published(store: RunStore, name: str | None = None, limit: int = 20) -> list[PublishedView]:
    """Published events (of this name), newest first."""
    return [
        PublishedView(id=row.id, name=row.name, at=moment(row.at), data=msgspec.json.decode(row.data))
        for row in store.signals.published(name=name, limit=limit)
    ]
