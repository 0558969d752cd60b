"""A day of flights as assets: what should exist for each day of 2013. A parameter's name says what it is made from."""

from datetime import date

from flights_tasks import WAREHOUSE
from nyc import steps
from plait import Cache, asset, daily

days = daily("2013-01-01", end="2014-01-01")


@asset(partitions=days)
def flights(context):
    """The flights as the source has them."""
    return steps.extract(date.fromisoformat(context.partition_key))


@asset(partitions=days)
def checked_flights(context, flights):
    """Good flights, and bad rows with the reasons."""
    return steps.validate(flights)


@asset(partitions=days)
def enriched_flights(context, checked_flights):
    """The good flights with their weather, airline, airport and plane."""
    return steps.enrich(checked_flights)


@asset(partitions=days)
def delays(context, enriched_flights):
    """The delays by carrier and by hour."""
    return steps.measure_delays(enriched_flights)


@asset(partitions=days, pool=WAREHOUSE)
def warehouse_day(context, checked_flights, enriched_flights, delays):
    """The day in the DuckDB warehouse, loaded and checked."""
    day = date.fromisoformat(context.partition_key)
    return steps.check(steps.load(day, checked_flights, enriched_flights, delays))


@asset(partitions=days, cache=Cache())
def plot(context, warehouse_day, delays):
    """The plot of the delays; equal numbers give an equal plot, in whatever run."""
    return steps.draw(warehouse_day, delays)


@asset(partitions=days)
def report(context, warehouse_day, delays, plot):
    """The folder with the day's plot and text."""
    return steps.publish(date.fromisoformat(context.partition_key), warehouse_day, delays, plot)


@asset(partitions=days)
def daily_summary(context, warehouse_day):
    """{"day": "2013-01-01", "flights": 842, "cancelled": 4, "quarantined": 0}"""
    return steps.summarize(warehouse_day)
