"""A day of flights as a flow: plain Python that runs from top to bottom, with real values between the calls."""

from datetime import date

from flights_tasks import check, draw, enrich, extract, load, measure_delays, publish, summarize, validate
from plait import flow, logical_date


@flow
def flights(day: date = logical_date()):
    """Extract, validate, load and check a day of flights, and publish its report."""
    checked = validate(extract(day))
    for row in checked.bad.itertuples():
        print(f"quarantined: {row.carrier} {row.flight} from {row.origin}: {row.reasons}")
    enriched = enrich(checked)
    delays = measure_delays(enriched)
    counts = check(load(day, checked, enriched, delays))
    publish(day, counts, delays, draw(counts, delays))
    return summarize(counts)
