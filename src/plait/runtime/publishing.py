"""Publishing events: kept in the store, as a signal where a trigger waits for one."""

from typing import Any

import msgspec

from plait.model.errors import ParameterError
from plait.model.rows import PublishedRow
from plait.model.wire import travels
from plait.ports import Clock, IdSource, RunStore

MOST_DATA = 32_768
"""Bytes of an event's data (JSON): they travel with each task of the runs that it starts."""
MOST_NAME = 200


def publish(store: RunStore, clock: Clock, ids: IdSource, name: str, data: Any) -> PublishedRow:
    """Publish an event, durably. Whoever calls wakes the services. Raises ParameterError for a name or data that cannot
    be published."""
    if not name or len(name) > MOST_NAME or not name.isprintable():
        raise ParameterError(f"{name!r} is not the name of an event: 1 to {MOST_NAME} printable characters")
    try:
        encoded = msgspec.json.encode(data)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"the data of event {name!r} are not plain data: {error}") from None
    if len(encoded) > MOST_DATA:
        raise ParameterError(
            f"the data of event {name!r} are {len(encoded):,} bytes; {MOST_DATA:,} are the most: publish where they lie"
        )
    if not travels(msgspec.json.decode(encoded)):
        raise ParameterError(f"the data of event {name!r} have a whole number that takes more than 64 bits")
    row = PublishedRow(id=ids.run_id(), name=name, at=clock.now(), data=encoded)
    with store.transaction() as tx:
        tx.publish(row)
    return row
