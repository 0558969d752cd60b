"""The steps as tasks: what plait adds to the plain functions of `nyc`. The DAG and the flow use the same ones."""

from nyc import errors, steps
from plait import Cache, Retry, pool, task

WAREHOUSE = "warehouse"
pool(WAREHOUSE, slots=1)  # DuckDB lets one process at a time write


def may_pass(error: BaseException) -> bool:
    """Whether another try can help: not with a day or a column that the source does not have."""
    return not isinstance(error, errors.FlightsError)


extract = task(steps.extract, retries=Retry(3, delay=60, factor=2, cap=3600, when=may_pass), timeout=7200)
validate = task(steps.validate)
enrich = task(steps.enrich)
measure_delays = task(steps.measure_delays)
load = task(steps.load, pool=WAREHOUSE)
check = task(steps.check, pool=WAREHOUSE)
draw = task(steps.draw, cache=Cache())  # equal numbers give an equal plot, in whatever run
publish = task(steps.publish)
summarize = task(steps.summarize)
