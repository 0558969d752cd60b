"""What lies in an inbox is what was said, whatever kind it is."""

from typing import get_args

import msgspec
import pytest

from plait.model.graph import TaskSpec
from plait.model.ids import TaskNo, Token
from plait.model.outcome import Outcome, Verdict
from plait.model.stimuli import (
    CancelRequested,
    ChildSubmitted,
    ClearRequested,
    ExecutionFinished,
    InputReceived,
    RunAdmitted,
    Stimulus,
    TriggerFired,
    decode_stimulus,
    encode_stimulus,
)


@pytest.mark.parametrize(
    "stimulus",
    [
        CancelRequested(reason="enough, said Zoë"),
        ClearRequested(tasks=("load",), path=(0, "eu"), only_failed=True),
        RunAdmitted(lengths={"days": 3, "regions": ["eu", "us"]}),
        InputReceived(no=TaskNo(1), data={"approved": True, "by": None}, token=Token(7)),
        TriggerFired(no=TaskNo(1), payload=[1, 2.5, "x"], error="OSError: gone"),
        ExecutionFinished(no=TaskNo(0), token=Token(1), outcome=Outcome(verdict=Verdict.SUCCESS)),
        ChildSubmitted(parent=TaskNo(0), spec=TaskSpec(key="step"), key="step:1", upstream=(TaskNo(2),)),
    ],
    ids=lambda stimulus: type(stimulus).__name__,
)
def test_it_comes_out_as_it_went_in(stimulus: Stimulus):
    assert decode_stimulus(encode_stimulus(stimulus)) == stimulus


def test_each_kind_has_a_name_of_its_own():
    tags = {kind.__struct_config__.tag for kind in get_args(Stimulus)}
    assert len(tags) == len(get_args(Stimulus))
    with pytest.raises(msgspec.DecodeError):
        decode_stimulus(b'{"type": "SaidByANewerVersion"}')
