"""`publish`: tell whatever workflow waits for it that something has happened."""

from typing import Any

from plait.authoring.scope import current_engine


def publish(name: str, data: Any = None) -> str:
    """Publish an event under a name, with data (plain: what JSON can hold, at most 32 KB); returns its id.

    It is kept in the database, and starts the workflows that wait for it (`schedule=event(name)`), now or when a
    service runs again: each once.

        plait.publish("orders_ready", {"region": "eu", "files": 3})

    Raises ParameterError for a name or data that cannot be published.
    """
    return current_engine().publish_event(name, data)
