"""`materialize`: make assets now, in this process."""

from typing import Any

from plait.authoring.scope import current_engine


def materialize(*assets: Any, partition: str | None = None, select: str | None = None) -> dict[str, Any]:
    """Materialize assets (and their checks) at once on the embedded engine; returns their values by key.

    `partition`: the partition to make. `select`: a selection among them, as for `plait run --select`. A failure raises
    the exception of the asset that failed.

        values = materialize(flights, clean_flights, partition="2013-01-01")
    """
    found: dict[str, Any] = current_engine().materialize(assets, partition=partition, select=select)
    return found
