"""What is asked of partitions and backfills."""

from plait.adapters.stores.encoding import (
    BACKFILL_COLUMNS,
)

NEW_SPACE = (
    "INSERT INTO partition_spaces (asset, space) SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM assets WHERE key = ?) "
    "ON CONFLICT DO NOTHING"
)
"""The first that is known of an asset: so it is all. Before its rows are written."""

INSERT_MARK = "INSERT INTO partition_marks (asset, space, failed, start, stop) VALUES (?, ?, ?, ?, ?)"
"""What a run says of partitions."""

FIRST_MARKS = "SELECT id, asset, space, failed, start, stop FROM partition_marks ORDER BY id LIMIT ?"
"""The oldest marks."""

DROP_MARKS = "DELETE FROM partition_marks WHERE id IN (SELECT value FROM json_each(?))"
"""They are in chunks now."""

_CHUNK = "asset, space, failed, chunk, size, data"

CHUNKS_AT = f"SELECT {_CHUNK} FROM partition_chunks WHERE asset = ? AND space = ? AND failed IN (0, 1) AND chunk = ?"
"""What is materialized, and what failed, of one chunk."""

UPSERT_CHUNK = (
    f"INSERT INTO partition_chunks ({_CHUNK}) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (asset, space, failed, chunk) DO UPDATE SET size = excluded.size, data = excluded.data"
)
"""A chunk as it is from now on."""

DROP_CHUNK = "DELETE FROM partition_chunks WHERE asset = ? AND space = ? AND failed = ? AND chunk = ?"
"""Nothing is in it any more."""

CHUNKS = f"SELECT {_CHUNK} FROM partition_chunks WHERE asset = ? AND space = ? ORDER BY failed, chunk"
"""All chunks of an asset."""

SIZES = (
    "SELECT asset, space, failed, sum(size) FROM partition_chunks WHERE asset IN (SELECT value FROM json_each(?)) "
    "GROUP BY asset, space, failed"
)
"""How many partitions there are of some assets."""

SPACES = "SELECT asset, space FROM partition_spaces WHERE asset IN (SELECT value FROM json_each(?))"
"""In which space everything is."""

SET_SPACE = (
    "INSERT INTO partition_spaces (asset, space) VALUES (?, ?) ON CONFLICT (asset) DO UPDATE SET space = excluded.space"
)
"""Everything is in this space."""

KEYS = "SELECT key, no FROM partition_keys WHERE name = ? AND present = 1 ORDER BY no"
"""The keys of dynamic partitions."""

NAMES = "SELECT name, count(*) FROM partition_keys WHERE present = 1 GROUP BY name ORDER BY name"
"""All dynamic partitions that have keys."""

ADD_KEY = (
    "INSERT INTO partition_keys (name, no, key, present) "
    "SELECT ?, coalesce(max(no) + 1, 0), ?, 1 FROM partition_keys WHERE name = ? "
    "ON CONFLICT (name, key) DO UPDATE SET present = 1 WHERE partition_keys.present = 0 RETURNING no"
)
"""A key, new or there again."""

REMOVE_KEY = "UPDATE partition_keys SET present = 0 WHERE name = ? AND key = ? AND present = 1 RETURNING no"
"""A key that is not there any more; its number stays its own."""

_BACKFILL = ", ".join(BACKFILL_COLUMNS)

BACKFILLS = f"SELECT {_BACKFILL} FROM backfills ORDER BY id DESC LIMIT ?"
"""The newest ones."""

OPEN_BACKFILLS = (
    f"SELECT {_BACKFILL} FROM backfills WHERE state IN ('cancelling', 'paused', 'running') ORDER BY id LIMIT ?"
)
"""Those that are not over."""

BACKFILL = f"SELECT {_BACKFILL} FROM backfills WHERE id = ?"
"""One of them."""

UPSERT_BACKFILL = (
    f"INSERT INTO backfills ({_BACKFILL}) VALUES (?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (id) DO UPDATE SET state = excluded.state, updated_at = excluded.updated_at, cursor = excluded.cursor"
)
"""A backfill, new or moved on."""

DELETE_BACKFILLS = (
    "DELETE FROM backfills WHERE id IN (SELECT id FROM backfills "
    "WHERE state IN ('cancelled', 'failed', 'success') AND updated_at < ? LIMIT ?) RETURNING id"
)
"""What was over long ago."""
