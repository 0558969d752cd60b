"""IO managers: where the values of assets are kept, and how. One of your own is a class with `store` and `load`."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec


class IOContext(msgspec.Struct, frozen=True):
    """Which value is stored or loaded: of asset `key`, for its `partition` (none for an asset without). `metadata` is
    what the asset's definition says."""

    key: str
    partition: str | None = None
    metadata: Mapping[str, Any] = {}

    @property
    def path(self) -> str:
        """A relative path for it, `key` or `key/partition`; signs that are none of a file name are escaped."""
        parts = [*self.key.split("/"), *((self.partition,) if self.partition is not None else ())]
        return "/".join(quote(part, safe=" -_.@+=,:|").replace("..", "%2E%2E") for part in parts)


class IOManager:
    """Stores the values of assets and loads them again. Subclasses have `store` and `load`; `setup` is called once in
    each process before the first of these, `teardown` once at its end.

        class Rows(IOManager):
            def setup(self):
                self.db = connect(...)
            def store(self, context, value):
                self.db.replace(context.key, context.partition, value)
            def load(self, context):
                return self.db.select(context.key, context.partition)
            def teardown(self):
                self.db.close()

        @asset(io=Rows())
        def orders(): ...
    """

    @property
    def name(self) -> str:
        """What it is called where assets are listed."""
        return type(self).__name__

    def store(self, context: IOContext, value: Any) -> Mapping[str, Any] | None:
        """Keep a value; what was kept for this asset and partition before is replaced. May return metadata for the
        materialization (plain data)."""
        raise NotImplementedError(f"{self.name} has no store(context, value)")

    def load(self, context: IOContext) -> Any:
        """The value that was stored last. Raises FileNotFoundError when there is none."""
        raise NotImplementedError(f"{self.name} has no load(context)")

    def setup(self) -> None:
        """Open what it needs in this process. Nothing by default."""

    def teardown(self) -> None:
        """Close that. Nothing by default."""
