"""Limits: who gets slots of what, in which order. One book per scheduler; the store's slot rows are the truth across
processes.

A request waits in the line of its first limit, by priority, then by arrival. Nothing overtakes the head of its line,
nor takes, from another line, slots of a limit that an earlier head lacks: so a request for many slots is not starved by
small ones. What a waiting head does not lack stays free for others. `grantable` proposes; the shell takes the slots in
the store, in the transaction that dispatches, and tells the book: `granted`, or `refused` when another process holds
them.
"""

import heapq
from collections.abc import Iterator
from typing import Final

from plait.model.ids import RunId
from plait.model.policies import LimitUse

RUN = -1
"""The task number under which a run itself holds slots (max active runs)."""

Owner = tuple[RunId, int]


def runs_limit(workflow: str) -> str:
    """The limit whose slots are the places among the active runs of a workflow."""
    return f"runs:{workflow}"


class Request:
    """One owner's request for slots of one or more limits, all or nothing."""

    __slots__ = ("alive", "owner", "priority", "uses")

    def __init__(self, owner: Owner, uses: tuple[LimitUse, ...], priority: int):
        slots: dict[str, int] = {}
        for use in uses:
            slots[use.key] = slots.get(use.key, 0) + use.slots
        self.owner = owner
        self.uses = tuple(LimitUse(key=key, slots=slots[key]) for key in sorted(slots))
        self.priority = priority
        self.alive = True


class LimitBook:
    """The limits that this scheduler's runs use, what they hold of them, and who waits."""

    MOST_DEAD: Final = 64
    """So many requests that were given up, and as many as wait, stay in the lines before these are cleared (C8)."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.used: dict[str, int] = {}
        self.held: dict[Owner, tuple[LimitUse, ...]] = {}
        self.lines: dict[str, list[tuple[int, int, Request]]] = {}
        self.waiting: dict[Owner, Request] = {}
        self.foreign: set[str] = set()
        self._owners: dict[RunId, set[Owner]] = {}
        """Of each run: who holds something, or waits."""
        self._arrivals = 0
        self._dead = 0

    def resize(self, key: str, slots: int) -> None:
        """Set a limit's size. A limit without a size has no bound."""
        self.sizes[key] = slots

    def request(self, owner: Owner, uses: tuple[LimitUse, ...], priority: int = 0) -> None:
        """Get in line. An owner that waits or holds already is left as it is."""
        if owner in self.waiting or owner in self.held:
            return
        self._owners.setdefault(owner[0], set()).add(owner)
        request = Request(owner, uses, priority)
        self._arrivals += 1
        self.waiting[owner] = request
        heapq.heappush(self.lines.setdefault(request.uses[0].key, []), (-priority, self._arrivals, request))

    def adopt(self, owner: Owner, uses: tuple[LimitUse, ...]) -> None:
        """The owner holds these slots already, in the store: its run was taken over."""
        if owner not in self.held:
            self._owners.setdefault(owner[0], set()).add(owner)
            self.held[owner] = uses
            for use in uses:
                self._use(use, use.slots)

    def release(self, owner: Owner) -> None:
        """Give back what the owner holds, and leave the line."""
        for use in self.held.pop(owner, ()):
            self._use(use, -use.slots)
            self.foreign.discard(use.key)
        request = self.waiting.pop(owner, None)
        if request is not None:
            request.alive = False
            self._dead += 1
            if self._dead > self.MOST_DEAD + len(self.waiting):
                self._bury()
        of_run = self._owners.get(owner[0])
        if of_run is not None:
            of_run.discard(owner)
            if not of_run:
                del self._owners[owner[0]]

    def _use(self, use: LimitUse, slots: int) -> None:
        used = self.used.get(use.key, 0) + slots
        if used:
            self.used[use.key] = used
        else:
            del self.used[use.key]

    def _bury(self) -> None:
        """Clear the lines of the requests that were given up; a line's head does that only for those before it."""
        for key, line in list(self.lines.items()):
            alive = [entry for entry in line if entry[2].alive]
            heapq.heapify(alive)
            if alive:
                self.lines[key] = alive
            else:
                del self.lines[key]
        self._dead = 0

    def forget_run(self, run_id: RunId) -> None:
        """Release everything of a run."""
        for owner in tuple(self._owners.get(run_id, ())):
            self.release(owner)

    def may_grant(self) -> bool:
        """Whether any line's head fits, or a dead one has to be cleared away."""
        return any(not line[0][2].alive or self._fits(line[0][2]) for line in self.lines.values() if line)

    def likely(self) -> set[str]:
        """The limits that are going to be asked for slots: those of the heads of lines that fit."""
        heads = (line[0][2] for line in self.lines.values() if line)
        return {use.key for head in heads if head.alive and self._fits(head) for use in head.uses}

    def grantable(self) -> Iterator[Request]:
        """Requests that fit, best first. Each must be answered (`granted`, `refused`) before the next."""
        heads = [head for key in list(self.lines) if (head := self._head(key)) is not None]
        heapq.heapify(heads)
        lacking: set[str] = set()
        while heads:
            _, _, key, request = heapq.heappop(heads)
            if self._fits(request) and lacking.isdisjoint(use.key for use in request.uses):
                yield request
                if request.owner not in self.waiting:
                    head = self._head(key)
                    if head is not None:
                        heapq.heappush(heads, head)
                    continue
            lacking.update(use.key for use in request.uses if self._lacks(use))

    def _head(self, key: str) -> tuple[int, int, str, Request] | None:
        """The first of a line that still waits, with its place among the heads of all lines."""
        line = self.lines[key]
        while line and not line[0][2].alive:
            heapq.heappop(line)
            self._dead -= 1
        if not line:
            del self.lines[key]
            return None
        priority, arrival, request = line[0]
        return priority, arrival, key, request

    def impossible(self, uses: tuple[LimitUse, ...]) -> str | None:
        """Why a request can never be granted: it asks for more than a limit has, or for a pool that nobody declared."""
        for use in uses:
            size = self.sizes.get(use.key)
            kind, _, name = use.key.partition(":")
            if size is None and kind == "pool":
                return f"there is no pool {name!r}; declare it: pool({name!r}, slots=1)"
            if size is not None and use.slots > size:
                return f"{use.slots} slots of the {kind} {name!r} are asked for, which has {size}"
        return None

    def bounded(self, uses: tuple[LimitUse, ...]) -> tuple[LimitUse, ...]:
        """Those of the uses that a limit bounds; a tag without a limit is only a label."""
        return tuple(use for use in uses if use.key in self.sizes)

    def _fits(self, request: Request) -> bool:
        return not any(self._lacks(use) for use in request.uses)

    def _lacks(self, use: LimitUse) -> bool:
        size = self.sizes.get(use.key)
        return use.key in self.foreign or (size is not None and self.used.get(use.key, 0) + use.slots > size)

    def granted(self, request: Request) -> None:
        """The owner holds its slots from now on."""
        self.waiting.pop(request.owner, None)
        request.alive = False
        self._dead += 1
        self.held[request.owner] = request.uses
        for use in request.uses:
            self._use(use, use.slots)

    def refused(self, request: Request) -> None:
        """Another process holds the slots: nobody here asks again before `recheck`."""
        self.foreign.update(use.key for use in request.uses if use.key in self.sizes)

    def recheck(self) -> bool:
        """Another process may have given something back. Returns whether anybody waits for that."""
        waits = bool(self.foreign)
        self.foreign.clear()
        return waits
