"""Run ids that are the same in every run of a test (the port `IdSource`)."""

from plait.model.ids import RunId


class CountedIds:
    """`run-000001`, `run-000002`, ...: they sort as they were made, as UUIDv7 texts do."""

    def __init__(self) -> None:
        self._count = 0

    def run_id(self) -> RunId:
        """The next one."""
        self._count += 1
        return RunId(f"run-{self._count:06}")
