"""Observations of assets that are made elsewhere: which of them tell something new."""

from plait.engine.assets.news import version_in
from plait.model.rows import AssetEventRow
from plait.ports import RunStore


def is_news(store: RunStore, row: AssetEventRow) -> bool:
    """Whether an observation found another data version than the one before it."""
    version = version_in(row)
    earlier = store.asset_history(row.key, partition=row.partition, kinds=("observed",), before=row.at, limit=1)
    return version is not None and (not earlier or version_in(earlier[0]) != version)
