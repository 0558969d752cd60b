"""A flow that runs the DAG once per day. All days are asked for at once; plait decides how many run together."""

from datetime import date, timedelta

from flights_dag import daily_flights
from plait import flow


@flow
def month(first: date, last: date):
    """The summary of each day from first to last, both included."""
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    runs = [daily_flights.submit(day=day) for day in days]
    return [run.result() for run in runs]
