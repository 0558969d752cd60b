"""One tree of errors. Whose fault it is decides the branch.

PlaitError
├── UserError              the user wrote something that cannot work; carries file:line, the wrong and the right code
│   ├── DefinitionError    in a workflow's definition (cycle, unknown upstream, wrong argument)
│   ├── ParameterError     a parameter's value does not fit its schema; names the field
│   ├── LoadError          a file of definitions does not load
│   └── UsageError         plait was called wrongly (unknown run, unknown name, bad option)
├── TaskFailed             user code raised; carried to the caller when the original cannot be
├── Unfinished             a result was asked of a task run that has none (skipped, cancelled, upstream failed)
├── WaitTimeout            what was waited for did not come in time: an event, or somebody's input
├── TriggerFailed          what was waited for can no longer come: its trigger raised, or was stopped
├── StoreError             the database: cannot be opened, is of a newer version, is full
│   ├── RunExists          a new run has the id, or is of the occurrence, of one that is there already
│   └── StaleToken         a write of an execution that is no longer the holder (harmless; C3)
└── EngineError            plait's own fault
    └── InvalidTransition  a transition that the table does not know; tells the story of that task
"""

from collections.abc import Sequence


class PlaitError(Exception):
    """Base of everything that plait raises on purpose."""


class UserError(PlaitError):
    """A mistake in what the user wrote, told with its place, the wrong code and the right code.

    `where` is `file:line`, `wrong` the line as it stands, `right` what to write instead.

        DefinitionError("a dag cannot depend on itself", where="flows.py:12", wrong="a(b(a))", right="a(b())")
    """

    def __init__(self, what: str, *, where: str | None = None, wrong: str | None = None, right: str | None = None):
        self.what, self.where, self.wrong, self.right = what, where, wrong, right
        super().__init__(what)

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  at {self.where}")
        if self.wrong:
            lines.extend(["  you wrote:", *_indent(self.wrong)])
        if self.right:
            lines.extend(["  write instead:", *_indent(self.right)])
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.wrong, self.right)


def _indent(text: str) -> list[str]:
    return [f"    {line}" for line in text.strip("\n").splitlines()]


def _rebuild(
    kind: type[UserError], what: str, where: str | None, wrong: str | None, right: str | None
) -> UserError:  # keyword arguments do not survive pickling by default
    return kind(what, where=where, wrong=wrong, right=right)


class DefinitionError(UserError):
    """A workflow's definition cannot work."""


class ParameterError(UserError):
    """A parameter is missing, unknown or of the wrong type."""


class LoadError(UserError):
    """A file of definitions does not load."""


class UsageError(UserError):
    """plait was called in a way that cannot work."""


class TaskFailed(PlaitError):
    """A task raised, and its exception could not be carried over as it was; the text begins with its type."""


class Unfinished(PlaitError):
    """The result of a task run was asked for that never produced one (skipped, cancelled, upstream failed)."""


class WaitTimeout(PlaitError, TimeoutError):
    """What `wait_for` or `ask` waited for did not come within its timeout."""


class TriggerFailed(PlaitError):
    """A trigger raised, could not be found, or was stopped because it blocked the event loop; the text says what."""


class StoreError(PlaitError):
    """The database cannot be used; the text says what to do."""


class RunExists(StoreError):
    """A new run has the id, or is of the occurrence, of one that is there already: nothing of it was written."""


class StaleToken(StoreError):
    """An execution that is no longer the holder tried to write."""


class EngineError(PlaitError):
    """plait itself did something wrong."""


class InvalidTransition(EngineError):
    """A transition that the table does not know. `story` is what happened to that task before, oldest first."""

    def __init__(self, task: str, before: str, after: str, story: Sequence[str] = ()):
        self.task, self.before, self.after, self.story = task, before, after, tuple(story)
        told = "".join(f"\n  {line}" for line in self.story)
        super().__init__(f"{task} cannot go from {before} to {after}; its story:{told or ' none'}")
