"""What a table of pandas is, by its values. Its pickle is no help: that also holds what the table happens to have
computed so far, and which of its texts are one object.

pandas is never imported here: who has a table of it has imported it.
"""

import sys
from typing import Any


class NoTable(Exception):
    """Not a table of pandas, or one whose cells are more than numbers, times and texts."""


def parts_of(value: Any) -> list[Any]:
    """A DataFrame, Series or Index as plain data and bytes: equal ones, and only those, have equal parts. Raises
    NoTable for anything else."""
    pandas: Any = sys.modules.get("pandas")
    if pandas is None or not isinstance(value, (pandas.DataFrame, pandas.Series, pandas.Index)):
        raise NoTable
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, pandas.Index):
        return [kind, *_index(pandas, value)]
    if isinstance(value, pandas.Series):
        return [kind, value.name, value.attrs, _index(pandas, value.index), _cells(pandas, value)]
    columns = [_cells(pandas, value.iloc[:, at]) for at in range(value.shape[1])]
    labels = [value.columns.names, value.columns.tolist()]
    return [kind, labels, value.attrs, _index(pandas, value.index), columns]


def _index(pandas: Any, index: Any) -> list[Any]:
    if isinstance(index, pandas.RangeIndex):
        return [index.name, index.start, index.stop, index.step]
    if isinstance(index, pandas.MultiIndex):
        levels = [_cells(pandas, index.get_level_values(at).to_series()) for at in range(index.nlevels)]
        return [list(index.names), levels]
    return [index.name, _cells(pandas, index.to_series())]


def _cells(pandas: Any, column: Any) -> list[Any]:
    """The cells of a column, 8 bytes each."""
    dtype = column.dtype
    if isinstance(dtype, pandas.CategoricalDtype):
        return [dtype.ordered, _index(pandas, dtype.categories), column.cat.codes.to_numpy().tobytes()]
    nulls: list[str] = []
    if dtype.kind not in "biufcmM" and not isinstance(dtype, pandas.StringDtype):
        if dtype.kind != "O" or not _holds_texts(pandas, column):
            raise NoTable
        nulls = [type(null).__name__ for null in column[column.isna()]]  # they are told apart by who looks at them
    hashes = pandas.util.hash_pandas_object(column, index=False).to_numpy()
    return [str(dtype), hashes.tobytes(), nulls]


def _holds_texts(pandas: Any, column: Any) -> bool:
    """Whether a column of objects holds nothing but texts and nulls: pandas hashes 1 and "1" alike there."""
    return pandas.api.types.is_object_dtype(column) and pandas.api.types.infer_dtype(column) in ("string", "empty")
