"""Running executions on the caller's own thread: bodies of flows, and the plain calls in them. What is async runs on
event loops: `runtime.loop_bodies`.

What they come to is reported, and the caller goes on once that is committed.
"""

import inspect
import threading
import time
from contextvars import Context
from typing import TYPE_CHECKING

import msgspec

from plait.authoring.signals import Leaves
from plait.model.ids import RunId
from plait.model.outcome import Outcome
from plait.model.stimuli import Stimulus
from plait.model.wire import Execution
from plait.ports import Capturing, ResultStore
from plait.runtime.body_code import Body, BodyCode
from plait.runtime.calls import Calls
from plait.runtime.ends import Ends
from plait.runtime.flow_host import FlowHost, finished
from plait.runtime.futures import replaced, resolved
from plait.runtime.here import CodeInThread, Here
from plait.runtime.inheritance import inherit_scope
from plait.runtime.scheduler import Scheduler
from plait.worker import endings
from plait.worker.code import LoadedCode
from plait.worker.coroutines import complete
from plait.worker.harness import Harness

if TYPE_CHECKING:
    from plait.runtime.loop_bodies import LoopBodies


class Bodies:
    """Runs what is called here. Implements the port `Home` of the hosts of bodies."""

    def __init__(
        self,
        scheduler: Scheduler,
        harness: Harness,
        code: LoadedCode,
        results: ResultStore,
        capture: Capturing,
        calls: Calls,
        here: Here,
    ):
        self.scheduler = scheduler
        self.calls = calls
        self.here = here
        self.ends = Ends(results)
        self._harness = harness
        self._code = BodyCode(scheduler, harness, code, results, calls, self.ends)
        self._capture = capture
        self._loops: LoopBodies | None = None
        self._lock = threading.Lock()
        inherit_scope()

    @property
    def loops(self) -> "LoopBodies":
        """Runs what is async; made when the first comes."""
        with self._lock:
            if self._loops is None:
                from plait.runtime.loop_bodies import LoopBodies  # it imports asyncio: see `worker.loops`

                self._loops = LoopBodies(self, self._code, self._harness, self._capture)
            return self._loops

    # --- executions ---------------------------------------------------------------------------------------------------

    def run_here(self, execution: Execution) -> None:
        """Run an execution on this thread, and report it; returns when that is committed."""
        run_id = execution.run.run_id
        code = CodeInThread()
        with (
            self._capture.capture(run_id, execution.no, execution.token) as captured,
            self.here.running(execution, code),
        ):
            outcome = code.run(lambda: self._outcome(execution, code))
        if outcome is None:
            outcome = endings.cancelled(code.reason or "")
        self.post_and_wait(run_id, finished(execution, outcome, captured.span))

    def _outcome(self, execution: Execution, code: CodeInThread) -> Outcome:
        if execution.runner != "flow":
            return self._harness.run(execution)
        try:
            body = self._code.find(execution)
        except Exception as error:  # noqa: BLE001  wrong arguments: it fails as if it had raised them itself
            return self._code.failed(execution, error)
        if inspect.iscoroutinefunction(body.fn):
            return complete(self.loops.run_alone(execution, body))
        return self._body(execution, body, code)

    def start_here(self, context: Context, execution: Execution) -> None:
        """Run an execution on a thread of its own, in a copy of this context: the one before may be leaving it yet."""
        number = f"{execution.run.run_id[-4:]}-{execution.no}"
        threading.Thread(
            target=context.copy().run, args=(self.run_here, execution), name=f"plait-body-{number}", daemon=True
        ).start()

    def post_and_wait(self, run_id: RunId, stimulus: Stimulus) -> None:
        """Say something to a run; returns when what follows from it is committed."""
        done = threading.Event()
        self.scheduler.post(run_id, stimulus, done.set)
        self.scheduler.pump()
        done.wait()
        hosted = self.scheduler.runs.get(run_id)
        if hosted is not None and hosted.error is not None:
            raise hosted.error

    def _body(self, execution: Execution, body: Body, code: CodeInThread) -> Outcome:
        started = time.time()
        host = FlowHost(self, execution, body.executor, code)
        try:
            with self._code.entered(execution, body, host):
                value = body.fn(**body.arguments)
                host.waits.check_left()
                with code.away():
                    value = replaced(value, resolved)
                    while (future := host.open_future()) is not None:  # what it submitted is waited for
                        future.wait()
            outcome = self._code.succeeded(execution, value)
        except Leaves as left:
            host.leave()
            outcome = left.outcome
        except BaseException as error:  # noqa: BLE001  a body may raise anything; it is its outcome
            outcome = self._code.failed(execution, error)
        return msgspec.structs.replace(outcome, started_at=started, finished_at=time.time())
