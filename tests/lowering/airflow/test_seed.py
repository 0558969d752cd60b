"""Airflow: the DAGs of the seed's cases (`seed/cases/airflow/dags`, and what `seed/cases/README.md` says of them)."""

from plait.model.graph import FromOutput, MapSpec, OverOutput, Template, WatchSpec
from plait.model.outcome import Outcome, Verdict
from plait.model.policies import RunPolicy
from plait.model.wire import Execution
from plait.testing import World
from tests.lowering.building import DAY, FAILS, HOUR, MINUTE, OK, dag, hook, many, retries, rule

DEFAULTS = {
    **retries(3, 5 * MINUTE, factor=2.0, cap=60 * MINUTE),
    "timeout": 2 * HOUR,
    "hooks": (hook("retry", "email_on_retry"), hook("failed", "email_on_failure")),
}
SALES = dag(
    "extract_sales_data > validate_data > transform_sales > load_to_warehouse > notify_stakeholders",
    {
        "extract_sales_data": {**DEFAULTS, "inputs": {"date": Template(text="{{ ds }}")}},
        "validate_data": DEFAULTS,
        "transform_sales": DEFAULTS,
        "load_to_warehouse": DEFAULTS,
        "notify_stakeholders": {**DEFAULTS, **rule("all_done")},
    },
    name="daily_sales_pipeline",
    policy=RunPolicy(max_active_runs=1),
)


def test_the_sales_dag_fails_in_the_middle_and_succeeds_by_its_leaves():
    """seed/cases/README.md, airflow_daily_sales.py with SEED_FAIL=validate: 4 attempts after 5, 10 and 20 minutes,
    downstream upstream_failed, notify still runs, and, as Airflow rules by the leaves, the run succeeds."""
    world = World()
    run = world.start(SALES, {"validate_data": FAILS}, logical_date="2026-03-28T06:00:00+00:00")
    world.run_out()
    assert run.states == {
        "extract_sales_data": "success",
        "validate_data": "failed",
        "transform_sales": "upstream_failed",
        "load_to_warehouse": "upstream_failed",
        "notify_stakeholders": "success",
    }
    assert run.begun_at("validate_data") == [0, 5 * MINUTE, 15 * MINUTE, 35 * MINUTE]
    assert (run.task("validate_data").attempt, run.state) == (4, "success")


def test_the_sales_dag_mails_on_each_retry_and_on_the_final_failure():
    """seed/cases/README.md: e-mails on each retry (Airflow's default) and on the final failure. They are recorded
    hook executions of their own, and change no state."""
    world = World()
    run = world.start(SALES, {"validate_data": FAILS})
    world.run_out()
    assert run.hooks == ["validate_data:on_retry:0"] * 3 + ["validate_data:on_failed:1"]


def test_the_regions_dag_maps_over_four_regions_and_reduces_them():
    """seed/cases/airflow/dags/airflow_dynamic_regions.py: 4 mapped task runs, one reduction that gets all four."""
    made = dag(
        "get_regions > process_region > aggregate_results",
        {
            "process_region": {"mapping": MapSpec(sources=(OverOutput(task="get_regions"),))},
            "aggregate_results": {"inputs": {"results": FromOutput(task="process_region")}},
        },
    )
    run = World().start(made, {"get_regions": many(4)})
    assert run.order == ["get_regions", *(f"process_region[{i}]" for i in range(4)), "aggregate_results"]
    assert len(run.executions("aggregate_results")[0].upstream["process_region/result"].many or ()) == 4
    assert run.state == "success"


def test_the_seeds_sensors_hold_no_slot_between_their_pokes():
    """seed/cases/README.md, airflow_sensors.py: FileSensor (poke_interval=300, timeout=6 h) in mode reschedule holds no
    slot between its pokes, and ends."""
    world = World(room=1)

    def poke(execution: Execution) -> Outcome:
        late = world.clock.now() >= world.began + 20 * MINUTE
        return OK if late else Outcome(verdict=Verdict.RESCHEDULE, until=world.clock.now() + 300)

    made = dag("wait_for_data_file", {"wait_for_data_file": {"wait_timeout": 6 * HOUR}, "other": {}})
    run = world.start(made, {"wait_for_data_file": poke})
    assert run.states == {"wait_for_data_file": "rescheduled", "other": "success"}
    assert run.live == []
    world.run_out()
    assert run.begun_at("wait_for_data_file") == [0, 300, 600, 900, 1200]
    assert (run.task("wait_for_data_file").attempt, run.state) == (1, "success")


INGESTION = dag("first_task > final_task", name="raw_data_ingestion")
WAITS = dag(
    "wait_for_ingestion > load",
    {
        "wait_for_ingestion": {
            "runner": "noop",
            "watches": (WatchSpec(subject="task", workflow="raw_data_ingestion", task="final_task"),),
            "wait_timeout": 7 * DAY,
        }
    },
    name="sensor_triggering",
)


def test_the_seeds_external_task_sensor_waits_for_the_other_dag_at_its_date():
    """seed/cases/airflow/dags: ExternalTaskSensor on raw_data_ingestion.final_task with execution_delta 0. It is a
    watch: no poke, no slot, no execution; it ends in the moment in which the other task does."""
    world = World()
    date = "2026-03-28T00:00:00+00:00"
    run = world.start(WAITS, logical_date=date)
    world.start(INGESTION, logical_date="2026-03-27T00:00:00+00:00")
    ingestion = world.start(INGESTION, {"final_task": None}, logical_date=date)
    assert run.states == {"wait_for_ingestion": "pending", "load": "pending"}
    world.advance(3 * HOUR)
    ingestion.answer("final_task")
    assert (run.states, run.state) == ({"wait_for_ingestion": "success", "load": "success"}, "success")
    assert run.executions("wait_for_ingestion") == []
