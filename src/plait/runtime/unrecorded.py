"""What executions came to whose run has failed in this process: the commit that was to record it broke, or it was
reported while the run was on its way back to its rows. It is told again when the run goes on, so that nothing runs
twice for it.
"""

from collections.abc import Iterable

from plait.model.ids import RunId
from plait.model.stimuli import ExecutionFinished, Stimulus


class Unrecorded:
    """The ends of executions of runs that have failed here, until these go on or are given up."""

    def __init__(self) -> None:
        self._of: dict[RunId, list[ExecutionFinished]] = {}

    def failed(self, run_id: RunId, heard: Iterable[ExecutionFinished]) -> None:
        """A run has failed: this was decided, and may not be recorded."""
        self._of.setdefault(run_id, []).extend(heard)

    def hear(self, run_id: RunId, stimulus: Stimulus) -> bool:
        """Keep what is said to a run that is not here, if it is one that has failed; whether it is."""
        heard = self._of.get(run_id)
        if heard is not None and isinstance(stimulus, ExecutionFinished):
            heard.append(stimulus)
        return heard is not None

    def take(self, run_id: RunId) -> list[ExecutionFinished]:
        """The run goes on, or is given up: what there was."""
        return self._of.pop(run_id, [])
