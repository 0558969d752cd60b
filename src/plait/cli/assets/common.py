"""What the commands on assets share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from plait.cli.common import open_store

if TYPE_CHECKING:
    from plait.engine.assets.index import Deployed
    from plait.services.assets import Assets, AssetView

NONE = "no asset is defined here: write one with @asset, or name a file: plait assets list flows.py"
COLOURS = {"stale": "yellow", "missing": "red", "late": "red", "fresh": "green"}


@contextmanager
def assets_of(target: str | None) -> Iterator[Assets]:
    """The assets of a target, which is loaded in isolation, or those of the database. Raises LoadError for a target
    that does not load."""
    from plait import bootstrap
    from plait.services.assets import Assets

    with open_store() as store:
        yield Assets(store, bootstrap.clock(), defined_in(target) if target is not None else None)


def defined_in(target: str) -> Deployed:
    """The assets of a target, and in which of its files they are."""
    from plait.engine.assets.index import Deployed, Source
    from plait.model.errors import LoadError
    from plait.worker.isolated import Request, load_isolated

    found = load_isolated(Request(target=target, graphs=True))
    if found.errors:
        raise LoadError(found.errors[0].error)
    return Deployed(found.defined, {asset.key: Source(asset.file, target) for asset in found.assets})


def state(view: AssetView) -> tuple[str, str | None]:
    """How an asset stands, in its colour."""
    text = view.status or view.kind
    return text, COLOURS.get(text)
