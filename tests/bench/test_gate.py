"""The gate of the benchmarks: what costs more than 1.5 times its recorded ratio to the floor fails (F20)."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import gate
from bench.gate import Check


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the gate on a case of which each turn costs the next of these seconds, the floor costing one."""

    def measured(*seconds: float, recorded: float = 2.0, option: str | None = None) -> int:
        turns: Iterator[float] = iter(seconds)
        last = seconds[-1]
        check = Check("case", lambda: next(turns, last), lambda: 1.0)
        monkeypatch.setattr(gate, "Scene", contextlib.nullcontext)
        monkeypatch.setattr(gate, "checks", lambda scene: [check])
        monkeypatch.setattr(gate, "RECORDED", tmp_path / "gate.json")
        gate.RECORDED.write_text(json.dumps({"ratios": {"case": recorded}}))
        monkeypatch.setattr("sys.argv", ["gate", *([option] if option else [])])
        return gate.main()

    return measured


def test_what_costs_as_much_as_it_did_passes(run: Callable[..., int]) -> None:
    assert run(2.0) == 0
    assert run(2.9) == 0


def test_what_became_slower_fails(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(3.1) == 1
    assert "slower" in capsys.readouterr().out


def test_the_best_of_several_turns_counts_so_that_a_busy_machine_fails_nobody(run: Callable[..., int]) -> None:
    assert run(*[9.0] * 5, 2.0, 9.0) == 0
    assert run(*[9.0] * 12, 2.0) == 0, "what is past the limit is measured again"


def test_a_new_ratio_is_recorded(run: Callable[..., int]) -> None:
    assert run(5.0, option="--record") == 0
    assert json.loads(gate.RECORDED.read_text())["ratios"] == {"case": 5.0}
