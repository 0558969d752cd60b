"""Columns of rows as PostgreSQL's binary arrays, so that one statement writes a batch: `SELECT * FROM unnest($1, ...)`.

psycopg makes such arrays too, value by value, which costs twice the CPU of everything else that a batch costs. Here a
column of numbers is one `struct.pack`, and text is encoded and checked a column at a time.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from plait.model.errors import StoreError

Column = Sequence[Any]
Encoder = Callable[[Column], bytes]

_HEADER = struct.Struct(">iiiii").pack
_LENGTH = struct.Struct(">i").pack
_NULL = b"\xff\xff\xff\xff"


def _header(oid: int, count: int) -> bytes:
    """One dimension, nulls allowed, indices from 1."""
    return _HEADER(1, 1, oid, count, 1)


def _numbers(oid: int, code: str) -> Encoder:
    width = struct.calcsize(">" + code)
    pair = "i" + code
    one = struct.Struct(">" + pair).pack

    def encode(column: Column) -> bytes:
        count = len(column)
        if None in column:
            return _header(oid, count) + b"".join([_NULL if value is None else one(width, value) for value in column])
        flat = [width] * (2 * count)
        flat[1::2] = column
        return _header(oid, count) + struct.pack(">" + pair * count, *flat)

    return encode


def _texts(column: Column) -> bytes:
    """Text without what no PostgreSQL takes: lone surrogates (file names that are not UTF-8) and NUL."""
    parts: list[bytes] = []
    for value in column:
        if value is None:
            parts.append(_NULL)
            continue
        data = value.encode("utf-8", "backslashreplace")
        if b"\0" in data:
            data = data.replace(b"\0", b"\\x00")
        parts.append(_LENGTH(len(data)))
        parts.append(data)
    return _header(25, len(column)) + b"".join(parts)


def _bytes(column: Column) -> bytes:
    parts: list[bytes] = []
    for value in column:
        if value is None:
            parts.append(_NULL)
        else:
            parts.append(_LENGTH(len(value)))
            parts.append(value)
    return _header(17, len(column)) + b"".join(parts)


_ENCODERS: dict[str, Encoder] = {
    "boolean": _numbers(16, "?"),
    "integer": _numbers(23, "i"),
    "bigint": _numbers(20, "q"),
    "double precision": _numbers(701, "d"),
    "text": _texts,
    "bytea": _bytes,
}
TYPES = frozenset(_ENCODERS)


def encode(types: Sequence[str], columns: Iterable[Column]) -> list[bytes]:
    """Columns as arrays of these types. A number that is too large for its column raises StoreError."""
    try:
        return [_ENCODERS[kind](column) for kind, column in zip(types, columns, strict=True)]
    except struct.error as error:
        raise StoreError(f"a number does not fit into its column: {error}") from error
