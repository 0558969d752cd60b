"""The book of limits, whatever is asked of it in whatever order: never more than there is, nobody overtaken for ever,
nothing left behind."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from plait.engine.limits import RUN, LimitBook, Owner
from plait.model.ids import RunId
from plait.model.policies import LimitUse
from tests.unit.engine.machine.profile import patient, stateful

SIZES = {"pool:a": 1, "pool:b": 3, "runs:w": 2}
LEAST = 2
"""No request asks for more than this, and no limit but `pool:a` is ever smaller."""

owners = st.tuples(st.sampled_from([RunId("r1"), RunId("r2"), RunId("r3")]), st.integers(RUN, 4))
uses = st.lists(
    st.one_of(
        st.just(LimitUse(key="pool:a")),
        st.builds(LimitUse, key=st.sampled_from(["pool:b", "runs:w"]), slots=st.integers(1, LEAST)),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda use: use.key,
).map(tuple)


class Waiting:
    """A request as the model knows it."""

    def __init__(self, order: tuple[int, int], uses: tuple[LimitUse, ...]):
        self.order = order
        self.slots = {use.key: use.slots for use in uses}
        self.line = min(self.slots)


class LimitBookMachine(RuleBasedStateMachine):
    """A book, and beside it a model that looks at everybody who waits, each time."""

    def __init__(self) -> None:
        super().__init__()
        self.book = LimitBook()
        self.sizes = dict(SIZES)
        for key, size in SIZES.items():
            self.book.resize(key, size)
        self.held: dict[Owner, dict[str, int]] = {}
        self.waiting: dict[Owner, Waiting] = {}
        self.elsewhere: set[str] = set()
        self.arrivals = 0

    # --- what is said -------------------------------------------------------------------------------------------------

    @rule(owner=owners, uses=uses, priority=st.integers(-1, 1))
    def request(self, owner: Owner, uses: tuple[LimitUse, ...], priority: int) -> None:
        self.book.request(owner, uses, priority)
        if owner not in self.held and owner not in self.waiting:
            self.arrivals += 1
            self.waiting[owner] = Waiting((-priority, self.arrivals), uses)

    @rule(owner=owners, often=st.integers(1, 2))
    def release(self, owner: Owner, often: int) -> None:
        """Also of who holds and wants nothing, also twice."""
        for _ in range(often):
            self.book.release(owner)
        self._released(owner)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release_held(self, data: st.DataObject) -> None:
        owner = data.draw(st.sampled_from(list(self.held)))
        self.book.release(owner)
        self._released(owner)

    @rule(run_id=st.sampled_from([RunId("r1"), RunId("r2")]))
    def forget_run(self, run_id: RunId) -> None:
        self.book.forget_run(run_id)
        for owner in [owner for owner in (*self.held, *self.waiting) if owner[0] == run_id]:
            self._released(owner)

    def _released(self, owner: Owner) -> None:
        self.elsewhere -= set(self.held.pop(owner, {}))
        self.waiting.pop(owner, None)

    @rule(key=st.sampled_from(["pool:b", "runs:w"]), size=st.integers(LEAST, 4))
    def resize(self, key: str, size: int) -> None:
        self.book.resize(key, size)
        self.sizes[key] = size

    @rule()
    def recheck(self) -> None:
        assert self.book.recheck() == bool(self.elsewhere)
        self.elsewhere.clear()

    @rule(refused=st.sets(st.integers(0, 3), max_size=2))
    def grant(self, refused: set[int]) -> None:
        """Those that fit get their slots, best first, in the order in which they would if each were looked at; of some,
        another process turns out to hold the slots."""
        for number, request in enumerate(self.book.grantable()):
            assert request.owner == self._next(), f"{request.owner} before {self._next()}"
            if number in refused:
                self.book.refused(request)
                self.elsewhere.update(use.key for use in request.uses)
            else:
                self.book.granted(request)
                self.held[request.owner] = self.waiting.pop(request.owner).slots
                for key in self.held[request.owner]:
                    assert self._used(key) <= self.sizes[key], f"{key} is granted {self._used(key)} times"
        assert self._next() is None, f"{self._next()} fits, and is not granted"

    # --- the model ----------------------------------------------------------------------------------------------------

    def _used(self, key: str) -> int:
        return sum(slots.get(key, 0) for slots in self.held.values())

    def _lacks(self, request: Waiting) -> set[str]:
        return {
            key
            for key, slots in request.slots.items()
            if key in self.elsewhere or self._used(key) + slots > self.sizes[key]
        }

    def _next(self) -> Owner | None:
        """Who gets slots next: nobody overtakes another in one line, nor takes what an earlier head of a line lacks."""
        closed: set[str] = set()
        lacking: set[str] = set()
        for owner, request in sorted(self.waiting.items(), key=lambda item: item[1].order):
            if request.line in closed:
                continue
            lacks = self._lacks(request)
            if not lacks and lacking.isdisjoint(request.slots):
                return owner
            closed.add(request.line)
            lacking |= lacks
        return None

    # --- what holds ---------------------------------------------------------------------------------------------------

    @invariant()
    def agrees(self) -> None:
        assert {owner: {use.key: use.slots for use in uses} for owner, uses in self.book.held.items()} == self.held
        assert set(self.book.waiting) == set(self.waiting)
        assert self.book.used == {key: used for key in self.sizes if (used := self._used(key))}
        if self._next() is not None:
            assert self.book.may_grant()

    @invariant()
    def memory_is_bounded(self) -> None:
        lines = sum(len(line) for line in self.book.lines.values())
        assert lines <= 2 * len(self.waiting) + LimitBook.MOST_DEAD

    def teardown(self) -> None:
        """Who holds slots gives them back: everybody gets theirs, the one who is first at once, and nothing is left."""
        self.recheck()
        while self.waiting or self.held:
            for owner in list(self.held):
                self.release(owner, often=1)
            first = min(self.waiting, key=lambda owner: self.waiting[owner].order, default=None)
            self.grant(refused=set())
            assert first not in self.waiting
        self.grant(refused=set())
        left = (self.book.held, self.book.used, self.book.waiting, self.book.lines, self.book.foreign)
        assert not any(left), f"left behind: {left}"
        assert not self.book.may_grant()


@patient
def test_any_requests_in_any_order():
    run_state_machine_as_test(LimitBookMachine, settings=stateful(examples=80, steps=30))


def test_requests_that_were_given_up_are_forgotten_behind_a_head_that_waits():
    book = LimitBook()
    book.resize("pool:a", 1)
    for no in range(1000):
        book.request((RunId("r"), no), (LimitUse(key="pool:a"),))
    for request in book.grantable():
        book.granted(request)
    for no in range(2, 1000):
        book.release((RunId("r"), no))
    assert sum(len(line) for line in book.lines.values()) <= LimitBook.MOST_DEAD + 2
    book.release((RunId("r"), 0))
    assert [request.owner for request in book.grantable()] == [(RunId("r"), 1)]
