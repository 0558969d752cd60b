"""What can go wrong, apart from bad rows, which are no error: they go to the quarantine table.

FlightsError
├── SourceMissing     the package with the CSV files is not installed
├── NoFlights         nothing is known of this day
├── UndatedRows       a file of extra rows has rows that belong to no day
├── MissingColumn     the source no longer has the columns that the pipeline reads
├── WarehouseBusy     another process has the DuckDB file open
└── CheckFailed       what stands in the warehouse is not what was loaded, or is implausible
"""


class FlightsError(Exception):
    """The root of what the flights example raises; its message says what to do."""


class SourceMissing(FlightsError):
    """The set-up's fault."""


class NoFlights(FlightsError):
    """The caller asked for a day that the data does not hold; no retry will help."""


class UndatedRows(FlightsError):
    """The fault of whoever wrote the extra rows."""


class MissingColumn(FlightsError):
    """The source changed; a person has to look."""


class WarehouseBusy(FlightsError):
    """Two writers at once: the steps that open the warehouse ran outside the pool of one slot."""


class CheckFailed(FlightsError):
    """The day must not be published."""
