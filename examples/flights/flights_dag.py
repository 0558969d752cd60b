"""A day of flights as a DAG: the body below runs once, to draw the graph; the graph runs every morning."""

from datetime import date

from flights_tasks import check, draw, enrich, extract, load, measure_delays, publish, summarize, validate
from plait import cron, dag, logical_date


@dag(schedule=cron("0 6 * * *", tz="America/New_York"), catchup=False, max_active_runs=4)
def daily_flights(day: date = logical_date()):
    """Extract, validate, load and check a day of flights, and publish its report."""
    checked = validate(extract(day))
    enriched = enrich(checked)
    delays = measure_delays(enriched)
    counts = check(load(day, checked, enriched, delays))
    publish(day, counts, delays, draw(counts, delays))
    return summarize(counts)
