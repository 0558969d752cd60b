"""Equal inputs have equal fingerprints, in whatever process and however they came there; others have not."""

import pickle
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plait.worker.fingerprint import Unhashable, fingerprint


@dataclass(slots=True)
class Holder:
    table: Any
    name: str = "x"


class Plain:
    def __init__(self, *values: Any):
        self.values = values


def table(**changes: Any) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "whole": [1, 2, 3],
        "real": [1.5, float("nan"), -0.0],
        "text": pd.Series(["a", None, "c"], dtype=object),
        "maybe": pd.array([1, None, 3], dtype="Int64"),
        "when": pd.to_datetime(["2013-01-01", None, "2013-01-03"], utc=True),
        "kind": pd.Categorical(["x", "y", "x"]),
        "string": pd.array(["p", None, "q"], dtype="string"),
    }
    return pd.DataFrame({**columns, **changes})


def through_a_store(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value, protocol=5))  # noqa: S301  our own


VALUES = [
    table(),
    table().set_index("text"),
    table().set_index(["text", "whole"]),
    table()["text"],
    table()["maybe"].rename("other"),
    table().index,
    pd.Index(["a", "b"], name="n"),
    table().groupby("kind", observed=True).agg(total=("maybe", "sum"), most=("real", "max")),
    np.arange(12).reshape(3, 4),
    np.array(["a", "b"], dtype=object),
    {"tables": [table(), Holder(table())], "day": date(2013, 1, 1), "at": datetime(2013, 1, 1, tzinfo=UTC)},
    Plain(table(), "text", ["text"]),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_it_survives_a_store(value: Any):
    before = fingerprint(value)
    again = through_a_store(value)
    assert fingerprint(again) == before
    repr(again)  # computes things that pandas keeps
    again.sum(numeric_only=True) if isinstance(again, pd.DataFrame) else None
    assert fingerprint(again) == fingerprint(through_a_store(again)) == before


def test_a_table_computed_from_a_stored_one_is_the_same():
    def derive(frame: pd.DataFrame) -> Any:
        by_kind = frame.groupby("kind", observed=True).agg(total=("maybe", "sum"), most=("real", "max"))
        return Plain(by_kind.reset_index().rename(columns={"kind": "text"}), frame[frame["whole"] > 1])

    assert fingerprint(derive(table())) == fingerprint(derive(through_a_store(table())))


def test_equal_texts_count_as_equal():
    one = "".join(["te", "xt"])
    other = "".join(["te", "xt"])
    assert one is not other
    assert fingerprint(Plain(one, one)) == fingerprint(Plain(one, other))


@pytest.mark.parametrize(
    "other",
    [
        table(whole=[1, 2, 4]),
        table(whole=[1.0, 2.0, 3.0]),
        table(whole=["1", "2", "3"]),
        table(real=[1.5, float("nan"), 1.0]),
        table(text=pd.Series(["a", float("nan"), "c"], dtype=object)),
        table(text=pd.Series(["a", "None", "c"], dtype=object)),
        table(text=pd.Series(["a", None, 3], dtype=object)),
        table(maybe=pd.array([1, 0, 3], dtype="Int64")),
        table(when=pd.to_datetime(["2013-01-01", None, "2013-01-03"])),
        table(kind=pd.Categorical(["x", "y", "x"], categories=["y", "x"])),
        table().rename(columns={"whole": "hole"}),
        table()[["real", "whole", "text", "maybe", "when", "kind", "string"]],
        table().set_index(pd.Index([1, 2, 3])),
        table().iloc[::-1],
        table().head(2),
        table()["whole"],
    ],
)
def test_what_differs_differs(other: Any):
    assert fingerprint(other) != fingerprint(table())
    assert fingerprint(Holder(other)) != fingerprint(Holder(table()))
    assert fingerprint(Plain(other)) != fingerprint(Plain(table()))


def test_cells_that_are_no_texts_are_told_apart():
    numbers, texts = pd.DataFrame({"x": [1, "a"]}), pd.DataFrame({"x": ["1", "a"]})
    assert fingerprint(numbers) != fingerprint(texts)
    assert fingerprint(pd.DataFrame({"x": [[1], [2]]})) != fingerprint(pd.DataFrame({"x": [[1], [3]]}))


def test_what_cannot_be_pickled_has_none():
    with pytest.raises(Unhashable, match="has no fingerprint"):
        fingerprint(Plain(lambda: None))


def test_it_is_the_same_in_every_process():
    code = (
        "from tests.unit.test_fingerprint import VALUES, fingerprint\nprint([fingerprint(value) for value in VALUES])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert told == {f"{[fingerprint(value) for value in VALUES]}\n"}
