"""What the executor of the user's own threads, and the one that answers by script, say that they hold."""

import contextlib
import threading

from plait.model.ids import RunId
from plait.model.wire import RunInfo
from plait.runtime.here import CodeInThread, Here
from plait.testing import HOLD, FakeClock, ScriptedExecutor
from tests.conformance.executors.world import RUN, Sink, execution

OTHER = RunInfo(run_id=RunId("r2"), workflow="w", target="t")


class Stubborn:
    """Code of the user that goes on whatever it is told."""

    reason: str | None = None

    def __init__(self) -> None:
        self.told = threading.Event()

    def interrupt(self, reason: str) -> None:
        self.reason = reason
        self.told.set()

    def away(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


def test_what_runs_on_the_users_threads_and_what_waits_to_be_called_again():
    here = Here()
    here.start(Sink())
    here.submit([execution(2), execution(3, run=OTHER)])
    with here.running(execution(1), CodeInThread()):
        assert here.adopt(RUN.run_id) == [1001, 1002]
        assert here.adopt(OTHER.run_id) == [1003]
        here.claim(RUN.run_id, execution(2).no)
        assert here.adopt(RUN.run_id) == [1001]
    assert here.adopt(RUN.run_id) == []
    here.cancel(OTHER.run_id, execution(3).token, "enough")
    assert here.adopt(OTHER.run_id) == []


def test_what_was_reported_at_its_timeout_is_not_held_though_it_goes_on():
    here, sink, code = Here(), Sink(), Stubborn()
    here.start(sink)
    with here.running(execution(1, timeout=0.01), code):
        sink.wait_finished(1)
        assert code.told.wait(10)
        assert here.adopt(RUN.run_id) == []


def test_what_a_script_has_not_answered():
    executor = ScriptedExecutor(lambda _: HOLD, clock=FakeClock())
    executor.start(Sink())
    executor.submit([execution(1), execution(2), execution(3, run=OTHER)])
    assert executor.adopt(RUN.run_id) == [1001, 1002]
    executor.answer(execution(1))
    assert executor.adopt(RUN.run_id) == [1002]
    assert executor.adopt(OTHER.run_id) == [1003]
