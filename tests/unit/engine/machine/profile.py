"""How much is drawn: `PLAIT_HYPOTHESIS=thorough` for many histories, each time others; else a few, always the same."""

import os

import pytest
from hypothesis import HealthCheck, settings

THOROUGH = os.environ.get("PLAIT_HYPOTHESIS") == "thorough"
patient = pytest.mark.timeout(7200 if THOROUGH else 600)
"""For tests whose time depends on that."""


def stateful(*, examples: int, steps: int) -> settings:
    """The settings of a state machine: so many histories of so many steps; 30 times as many, twice as long, when
    thorough."""
    return settings(
        max_examples=examples * 30 if THOROUGH else examples,
        stateful_step_count=steps * 2 if THOROUGH else steps,
        deadline=None,
        derandomize=not THOROUGH,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
