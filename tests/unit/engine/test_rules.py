"""Trigger rules by Airflow's meaning: core-concepts/dags, "Trigger Rules"; ti_deps/deps/trigger_rule_dep.py (3.x)."""

import itertools

import pytest

from plait.engine.rules import RULES, Gate, answer
from plait.model.policies import TriggerRule as T
from plait.model.states import TaskState as S
from tests.unit.engine.world import World, bad, dag, ok, skip

READY, SKIPPED, FAILED, WAIT = S.READY, S.SKIPPED, S.UPSTREAM_FAILED, None

# One letter an upstream: s success, f failed, u upstream failed, k skipped, p pending.
TABLE: dict[T, dict[str, S | None]] = {
    T.ALL_SUCCESS: {
        "ss": READY, "sp": WAIT, "pp": WAIT, "sf": FAILED, "fp": FAILED, "su": FAILED, "sk": SKIPPED, "kp": SKIPPED,
        "fk": FAILED, "kk": SKIPPED,
    },
    T.ALL_FAILED: {
        "ff": READY, "fu": READY, "uu": READY, "fp": WAIT, "fs": SKIPPED, "sp": SKIPPED, "fk": SKIPPED, "kp": SKIPPED,
    },
    T.ALL_DONE: {"ss": READY, "ff": READY, "kk": READY, "su": READY, "sfku": READY, "sp": WAIT, "fp": WAIT},
    T.ALL_DONE_MIN_ONE_SUCCESS: {
        "ss": READY, "sf": READY, "su": READY, "ff": FAILED, "uu": FAILED, "sk": SKIPPED, "kk": SKIPPED, "fk": SKIPPED,
        "sp": WAIT, "fp": WAIT,
    },
    T.ALL_SKIPPED: {"kk": READY, "kp": WAIT, "sk": SKIPPED, "fk": SKIPPED, "uk": SKIPPED, "sp": SKIPPED},
    T.ONE_SUCCESS: {
        "sp": READY, "ss": READY, "sf": READY, "sk": READY, "fp": WAIT, "kp": WAIT, "ff": FAILED, "fk": FAILED,
        "uk": FAILED, "kk": SKIPPED,
    },
    T.ONE_FAILED: {"fp": READY, "up": READY, "sf": READY, "sp": WAIT, "ss": SKIPPED, "sk": SKIPPED, "kk": SKIPPED},
    T.ONE_DONE: {"sp": READY, "fp": READY, "kp": WAIT, "up": WAIT, "kk": SKIPPED, "uu": SKIPPED, "uk": SKIPPED},
    T.NONE_FAILED: {"ss": READY, "sk": READY, "kk": READY, "sf": FAILED, "up": FAILED, "sp": WAIT, "kp": WAIT},
    T.NONE_FAILED_MIN_ONE_SUCCESS: {
        "ss": READY, "sk": READY, "kk": SKIPPED, "sf": FAILED, "fk": FAILED, "up": FAILED, "sp": WAIT, "kp": WAIT,
    },
    T.NONE_SKIPPED: {"ss": READY, "sf": READY, "ff": READY, "su": READY, "sk": SKIPPED, "kp": SKIPPED, "sp": WAIT},
    T.ANY_INPUT: {"ss": READY, "sk": READY, "kk": SKIPPED, "sf": FAILED, "fp": FAILED, "kp": WAIT},
    T.ALWAYS: {"pp": READY, "fp": READY, "kk": READY, "ss": READY},
    T.ALL_DONE_SETUP_SUCCESS: {"ss": READY, "ff": READY, "kk": READY, "sp": WAIT},
}  # fmt: skip

COUNTS = {"s": "success", "f": "failed", "u": "upstream_failed", "k": "skipped"}
CASES = [(rule, states, said) for rule, table in TABLE.items() for states, said in table.items()]


def gate(states: str, guards: str = "") -> Gate:
    made = Gate(len(states), len(guards))
    for letter in states.replace("p", ""):
        made.done += 1
        setattr(made, COUNTS[letter], getattr(made, COUNTS[letter]) + 1)
    for letter in guards.replace("p", ""):
        made.guard_done += 1
        made.guard_failed += letter in "fu"
        made.guard_skipped += letter == "k"
    return made


def test_every_rule_has_its_table():
    assert set(TABLE) == set(RULES) == set(T)


@pytest.mark.parametrize(("rule", "states", "said"), CASES, ids=str)
def test_rule(rule: T, states: str, said: S | None):
    assert {answer(rule, gate("".join(order))) for order in itertools.permutations(states)} == {said}


@pytest.mark.parametrize("rule", T)
def test_a_rule_never_takes_back_what_it_said(rule: T):
    """An answer given early is the answer of the complete states too, unless it was only to wait."""
    for states in itertools.product("sfuk", repeat=3):
        text = "".join(states)
        if rule in (T.ONE_SUCCESS, T.ONE_FAILED, T.ONE_DONE, T.ALWAYS):
            early = [answer(rule, gate(text[:done] + "p" * (3 - done))) for done in range(4)]
            assert READY not in early or early[-1] is READY
        else:
            early = [answer(rule, gate(text[:done] + "p" * (3 - done))) for done in range(4)]
            assert READY not in early[:3]
        assert early[-1] is not WAIT


@pytest.mark.parametrize("rule", T)
def test_a_task_with_nothing_above_it_runs_whatever_its_rule(rule: T):
    assert answer(rule, Gate()) is READY


@pytest.mark.parametrize("rule", sorted(set(T) - {T.ALL_DONE_SETUP_SUCCESS}))
@pytest.mark.parametrize(
    ("guards", "said"),
    [("s", READY), ("f", FAILED), ("u", FAILED), ("k", SKIPPED), ("p", WAIT), ("sp", WAIT), ("sf", FAILED)],
)
def test_a_guard_comes_before_the_rule(rule: T, guards: str, said: S | None):
    assert answer(rule, gate("", guards)) is said
    if said is not READY:
        assert answer(rule, gate("s", guards)) is said


@pytest.mark.parametrize(
    ("states", "guards", "said"),
    [
        ("s", "s", READY), ("f", "s", READY), ("k", "s", READY), ("p", "s", WAIT), ("s", "p", WAIT),
        ("s", "f", FAILED), ("s", "k", SKIPPED), ("s", "sf", READY), ("s", "sk", READY), ("s", "fk", FAILED),
        ("", "s", READY), ("", "f", FAILED),
    ],
)  # fmt: skip
def test_a_teardown_runs_when_one_of_its_setups_succeeded(states: str, guards: str, said: S | None):
    assert answer(T.ALL_DONE_SETUP_SUCCESS, gate(states, guards)) is said


@pytest.mark.parametrize("rule", T)
def test_not_chosen_skips_whatever_the_rule(rule: T):
    for name in ("not_chosen", "cut"):
        made = gate("ss")
        made.total += 1
        made.done += 1
        setattr(made, name, 1)
        assert answer(rule, made) is SKIPPED


OUTCOMES = {"s": ok(), "f": bad(), "k": skip()}


@pytest.mark.parametrize("rule", T)
@pytest.mark.parametrize("states", ["ss", "sf", "ff", "sk", "kk", "fk"])
def test_rules_in_a_run_say_what_they_say_of_counts(rule: T, states: str):
    world = World(dag("a > z; b > z", {"z": {"trigger_rule": rule}}))
    world.play({"a": OUTCOMES[states[0]], "b": OUTCOMES[states[1]]})
    said = answer(rule, gate(states))
    assert world.states["z"] == ("success" if said is READY else said and said.value)


def test_a_rule_answers_as_soon_as_it_can():
    world = World(dag("a, b > z", {"z": {"trigger_rule": T.ONE_SUCCESS}}))
    world.dispatch()
    world.finish(world.task("a"))
    assert world.task("z").state is S.READY
    world.finish(world.task("b"), bad())
    assert world.play().states == {"a": "success", "b": "failed", "z": "success"}


def test_always_starts_at_once():
    world = World(dag("a > z", {"z": {"trigger_rule": T.ALWAYS}}))
    assert [task.key for task in world.dispatch()] == ["a", "z"]
