"""Assets only."""

from plait import asset, daily

days = daily("2024-01-01", end="2024-03-01")


@asset(partitions=days)
def raw(context):
    return context.partition_key


@asset(partitions=days, group="clean")
def tidy(raw):
    return raw.replace("-", "")


@asset(partitions=days, group="clean")
def report(tidy):
    return {"day": tidy}
