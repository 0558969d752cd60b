"""The book of limits by itself."""

from plait.engine.limits import LimitBook
from plait.model.ids import RunId
from plait.model.policies import LimitUse

RUN = RunId("r")


def ask(book: LimitBook, no: int, *keys: str) -> None:
    book.request((RUN, no), tuple(LimitUse(key=key) for key in keys))


def test_what_is_likely_to_be_asked_for_is_what_the_heads_of_lines_need():
    book = LimitBook()
    for key, slots in (("a", 2), ("b", 1), ("full", 0), ("c", 1)):
        book.resize(key, slots)
    assert book.likely() == set()
    ask(book, 1, "a", "b")
    ask(book, 2, "a", "c")
    ask(book, 3, "full")
    ask(book, 4, "free")
    assert book.likely() == {"a", "b", "free"}
    book.release((RUN, 1))
    assert book.likely() == {"free"}, "the next is looked at when the dead one is cleared away"
    for request in book.grantable():
        book.granted(request)
    assert book.likely() == set()
    assert set(book.held) == {(RUN, 2), (RUN, 4)}
