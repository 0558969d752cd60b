"""Bodies of a service's flows, in a worker's process: a session in it takes the run over, and runs the body here.

So there is one way in which flows run, wherever they do. The scheduler that handed the execution over forgets the run;
the lease of this process holds it, and when the process dies, any scheduler goes on with it: a replay of the body.
"""

import logging
import time
from collections.abc import Callable

from plait.authoring.definitions import Definitions
from plait.model.errors import StaleToken, StoreError
from plait.model.ids import TOKEN_BITS, RunId
from plait.model.outcome import Outcome
from plait.model.states import RUN_TERMINAL
from plait.model.wire import Execution
from plait.runtime.session import Session
from plait.worker import endings

log = logging.getLogger("plait.flows")


class FlowRunner:
    """Runs bodies (the port `Runner`). `open_session` opens the session of this process, on first use."""

    def __init__(self, definitions: Definitions, open_session: Callable[[], Session]):
        self._definitions = definitions
        self._open_session = open_session
        self._session: Session | None = None

    def run(self, execution: Execution) -> Outcome:
        """Host the run until it is over. What the run came to is recorded by its session; the outcome only says that
        this process is done with it."""
        began = time.time()
        run_id, epoch = execution.run.run_id, execution.token >> TOKEN_BITS
        try:
            session = self._host(run_id, epoch)
        except StaleToken as error:
            log.info("%s", error)
            return Outcome(started_at=began, finished_at=time.time())
        except Exception as error:  # noqa: BLE001  the run was not taken over, or is given back: its scheduler decides
            return endings.runner_raised(error, began)
        return self._attend(session, run_id, began)

    def _host(self, run_id: RunId, epoch: int) -> Session:
        """The session of this process, which hosts the run now; a new one if others took the one before for dead."""
        if self._session is not None and self._session.lease.lost:
            self._session.close()
            self._session = None
        if self._session is None:
            self._session = self._open_session()
        try:
            self._session.host(run_id, self._definitions, epoch=epoch)
        except StaleToken:
            raise
        except StoreError:  # nobody knows whether it was taken over
            self._session.give_back(run_id)
            raise
        return self._session

    def _attend(self, session: Session, run_id: RunId, began: float) -> Outcome:
        hosted = session.scheduler.runs[run_id]
        try:
            while not session.wait(run_id):
                if session.give_back(run_id, suspended=True):  # for as long as the body waits for something
                    return Outcome(started_at=began, finished_at=time.time())
        except StaleToken as error:
            log.info("%s", error)
            session.forget(run_id)
        except Exception as error:
            log.exception("run %s cannot go on in this process", run_id)
            session.give_back(run_id)
            return endings.runner_raised(error, began)
        else:
            if hosted.run.state in RUN_TERMINAL:
                session.forget(run_id)
            else:
                session.give_back(run_id)
        return Outcome(started_at=began, finished_at=time.time())
