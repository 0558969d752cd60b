"""What is asked of partitions and backfills."""

from plait.adapters.stores.encoding import (
    BACKFILL_COLUMNS,
)
from plait.adapters.stores.postgres.queries import LOCKS

TURN_TO_COMPACT = f"SELECT pg_advisory_xact_lock({LOCKS}, 4)"
"""One transaction at a time changes chunks and dynamic keys."""

INSERT_MARK = "INSERT INTO partition_marks (asset, space, failed, start, stop) VALUES (%s, %s, %s, %s, %s)"
"""What is known of partitions, written by whoever knows it otherwise than by a run."""

FIRST_MARKS = "SELECT id, asset, space, failed, start, stop FROM partition_marks ORDER BY id LIMIT %s"
"""The oldest marks."""

DROP_MARKS = "DELETE FROM partition_marks WHERE id = ANY (%s::bigint[])"
"""They are in chunks now."""

_CHUNK = "asset, space, failed, chunk, size, data"

CHUNKS_AT = f"SELECT {_CHUNK} FROM partition_chunks WHERE asset = %s AND space = %s AND failed IN (0, 1) AND chunk = %s"
"""What is materialized, and what failed, of one chunk."""

UPSERT_CHUNK = (
    f"INSERT INTO partition_chunks ({_CHUNK}) VALUES (%s, %s, %s, %s, %s, %s) "
    "ON CONFLICT (asset, space, failed, chunk) DO UPDATE SET size = excluded.size, data = excluded.data"
)
"""A chunk as it is from now on."""

DROP_CHUNK = "DELETE FROM partition_chunks WHERE asset = %s AND space = %s AND failed = %s AND chunk = %s"
"""Nothing is in it any more."""

CHUNKS = f"SELECT {_CHUNK} FROM partition_chunks WHERE asset = %s AND space = %s ORDER BY failed, chunk"
"""All chunks of an asset."""

SIZES = (
    "SELECT asset, space, failed, sum(size) FROM partition_chunks WHERE asset = ANY (%s::text[]) "
    "GROUP BY asset, space, failed"
)
"""How many partitions there are of some assets."""

SPACES = "SELECT asset, space FROM partition_spaces WHERE asset = ANY (%s::text[])"
"""In which space everything is."""

SET_SPACE = (
    "INSERT INTO partition_spaces (asset, space) VALUES (%s, %s) "
    "ON CONFLICT (asset) DO UPDATE SET space = excluded.space"
)
"""Everything is in this space."""

KEYS = "SELECT key, no FROM partition_keys WHERE name = %s AND present = 1 ORDER BY no"
"""The keys of dynamic partitions."""

NAMES = "SELECT name, count(*) FROM partition_keys WHERE present = 1 GROUP BY name ORDER BY name"
"""All dynamic partitions that have keys."""

ADD_KEY = (
    "INSERT INTO partition_keys (name, no, key, present) "
    "SELECT %s, coalesce(max(no) + 1, 0), %s::text, 1 FROM partition_keys WHERE name = %s "
    "ON CONFLICT (name, key) DO UPDATE SET present = 1 WHERE partition_keys.present = 0 RETURNING no"
)
"""A key, new or there again."""

REMOVE_KEY = "UPDATE partition_keys SET present = 0 WHERE name = %s AND key = %s AND present = 1 RETURNING no"
"""A key that is not there any more; its number stays its own."""

_BACKFILL = ", ".join(BACKFILL_COLUMNS)

BACKFILLS = f"SELECT {_BACKFILL} FROM backfills ORDER BY id DESC LIMIT %s"
"""The newest ones."""

OPEN_BACKFILLS = (
    f"SELECT {_BACKFILL} FROM backfills WHERE state IN ('cancelling', 'paused', 'running') ORDER BY id LIMIT %s"
)
"""Those that are not over."""

BACKFILL = f"SELECT {_BACKFILL} FROM backfills WHERE id = %s"
"""One of them."""

LOCK_BACKFILL = f"{BACKFILL} FOR UPDATE"
"""One of them, to move it on."""

UPSERT_BACKFILL = (
    f"INSERT INTO backfills ({_BACKFILL}) VALUES (%s, %s, %s, %s, %s, %s, %s) "
    "ON CONFLICT (id) DO UPDATE SET state = excluded.state, updated_at = excluded.updated_at, cursor = excluded.cursor"
)
"""A backfill, new or moved on."""

DELETE_BACKFILLS = (
    "DELETE FROM backfills WHERE id IN (SELECT id FROM backfills "
    "WHERE state IN ('cancelled', 'failed', 'success') AND updated_at < %s LIMIT %s) RETURNING id"
)
"""What was over long ago."""
