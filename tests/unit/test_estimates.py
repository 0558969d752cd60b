"""What executors believe of executions that have not run yet."""

import pytest

from plait.adapters.executors.estimates import Estimates


def test_a_kind_is_known_when_one_has_ended():
    estimates = Estimates()
    assert estimates.get(("w", "t")) is None
    assert estimates.overall is None
    estimates.learn(("w", "t"), 2.0)
    estimates.learn(("w", "t"), 1.0)
    assert estimates.get(("w", "t")) == pytest.approx(1.7)
    assert estimates.overall == pytest.approx(1.7)


def test_a_new_kind_is_taken_to_be_as_the_others_of_its_workflow():
    estimates = Estimates()
    for number in range(7):
        estimates.learn(("w", f"t{number}"), 0.001)
    assert estimates.guess(("w", "new")) is None
    estimates.learn(("w", "t7"), 0.001)
    assert estimates.guess(("w", "new")) == pytest.approx(0.001)
    assert estimates.get(("w", "new")) is None
    assert estimates.guess(("other", "new")) is None


def test_kinds_are_forgotten():
    estimates = Estimates()
    for number in range(10_001):
        estimates.learn(("w", str(number)), 1.0)
    assert estimates.get(("w", "0")) is None
    assert estimates.get(("w", "10000")) == 1.0
