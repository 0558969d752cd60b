"""Splits the rows of a day into good ones, with types, and bad ones, with the reasons."""
# ruff: noqa: PLC0415 - pandas is slow to import, see nyc/__init__.py

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nyc import contract, source

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What validate made of a day's rows.

    extracted  how many rows came in.
    good       the 19 columns of the contract: numbers as Int64, time_hour as UTC, text as text; nulls where allowed.
    bad        the same columns as the text that came in, and `reasons`, parted by "; ".
    """

    extracted: int
    good: pd.DataFrame
    bad: pd.DataFrame


class _Reasons:
    """Collects why a row is bad. Keys are positions of rows."""

    def __init__(self) -> None:
        self.of_row: dict[int, list[str]] = defaultdict(list)

    def add(self, bad: pd.Series, text: str, values: pd.Series | None = None) -> None:
        for row in bad.to_numpy().nonzero()[0].tolist():
            self.of_row[row].append(text if values is None else text.format(value=values.iloc[row]))


def validate(flights: pd.DataFrame) -> Checked:
    """Checks each row against the contract: schema, nulls, ranges and duplicates. Loses no row.

    `flights` is what extract gives, any number of rows. A cancelled flight has a null dep_time and is good.
    Of a flight that is told twice, the first row that is otherwise good is kept.
    """
    import pandas as pd

    contract.require_columns(flights.columns, where="The extracted flights")
    raw = flights[list(contract.COLUMNS)].reset_index(drop=True)
    reasons = _Reasons()
    typed = pd.DataFrame({name: _typed(raw[name], rule, reasons) for name, rule in contract.COLUMNS.items()})

    sound = typed.drop(index=list(reasons.of_row))
    repeated = sound.index[sound.duplicated(list(contract.KEY))]
    reasons.add(raw.index.to_series().isin(repeated), f"duplicate: same {', '.join(contract.KEY)} as an earlier row")

    rows = sorted(reasons.of_row)
    bad = raw.loc[rows].assign(reasons=["; ".join(reasons.of_row[row]) for row in rows])
    return Checked(
        extracted=len(raw),
        good=typed.drop(index=rows).reset_index(drop=True),
        bad=bad.reset_index(drop=True),
    )


def _typed(text: pd.Series, rule: contract.Column, reasons: _Reasons) -> pd.Series:
    """The column with its type; what cannot be read or is out of range becomes null and gets a reason."""
    name = text.name
    if rule.required:
        reasons.add(text.isna(), f"{name}: missing")
    if rule.kind == "text":
        if rule.among:
            strange = text.notna() & ~text.isin(rule.among)
            reasons.add(strange, f"{name}: {{value!r}} is none of {', '.join(rule.among)}", text)
        return text
    if rule.kind == "instant":
        values = source.instants(text)
        unread = text.notna() & values.isna()
        reasons.add(unread, f"{name}: {{value!r}} is not a time like 2013-01-01T10:00:00Z", text)
        return values
    return _whole(text, rule, reasons)


def _whole(text: pd.Series, rule: contract.Column, reasons: _Reasons) -> pd.Series:
    import pandas as pd

    name = text.name
    numbers = pd.to_numeric(text, errors="coerce").astype("float64")
    unread = text.notna() & (numbers % 1 != 0)  # true of NaN and of infinity too
    reasons.add(unread, f"{name}: {{value!r}} is not a whole number", text)
    outside = ~unread & text.notna() & ~numbers.between(rule.low, rule.high)
    reasons.add(outside, f"{name}: {{value}} is outside {rule.low} to {rule.high}", text)
    good = ~unread & ~outside
    if rule.kind == "clock":
        no_time = good & text.notna() & (numbers % 100 > 59)
        reasons.add(no_time, f"{name}: {{value}} is not a time of day (HHMM)", text)
        good &= ~no_time
    return numbers.where(good).astype("Int64")
