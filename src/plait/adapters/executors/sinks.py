"""Handing over reports from threads of our own."""

import logging
from collections.abc import Sequence

from plait.model.wire import Report
from plait.ports import ReportSink

_log = logging.getLogger(__name__)


class LoggedSink:
    """A sink whose errors are logged, for threads that nobody would hear of again."""

    def __init__(self, sink: ReportSink):
        self._sink = sink

    def report(self, reports: Sequence[Report]) -> None:
        """Pass them on."""
        try:
            self._sink.report(reports)
        except Exception:  # noqa: BLE001  what others raise must not end a thread that serves many; it is logged
            _log.exception("the sink failed to take %d reports", len(reports))
