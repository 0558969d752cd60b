"""Sets of ordinals: their algebra against Python's sets, their pages, and the form in which they are kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.engine.partitions.keysets import CHUNK, EMPTY, KeySet, chunks, decode_chunk, encode_chunk, joined

ordinals = st.sets(st.integers(-30, 60), max_size=40)


@given(ordinals, ordinals)
def test_the_algebra_is_that_of_sets(left: set[int], right: set[int]) -> None:
    """Union, intersection, difference, and what follows of them."""
    a, b = KeySet.of(left), KeySet.of(right)
    assert set(a | b) == left | right
    assert set(a & b) == left & right
    assert set(a - b) == left - right
    assert a.issubset(b) == (left <= right)
    assert len(a) == len(left)
    assert (a == b) == (left == right)
    assert all((each in a) == (each in left) for each in range(-31, 62))
    for made in (a | b, a & b, a - b):
        assert list(made.bounds) == sorted(set(made.bounds)), "ranges that touch are one"


@given(st.lists(st.tuples(st.integers(-20, 40), st.integers(-20, 40)), max_size=12))
def test_ranges_may_overlap(ranges: list[tuple[int, int]]) -> None:
    """A set of ranges is what they cover together."""
    assert set(KeySet.ranges_of(ranges)) == {each for start, stop in ranges for each in range(start, stop)}


@given(ordinals, st.integers(-3, 45), st.integers(0, 45))
def test_pages_are_slices(members: set[int], offset: int, limit: int) -> None:
    """A page is what a slice of the sorted members is; the tail is the last ones."""
    keys, listed = KeySet.of(members), sorted(members)
    assert list(keys.page(offset, limit)) == listed[max(0, offset) : max(0, offset) + limit]
    assert list(keys.tail(limit)) == (listed[-limit:] if limit else [])


@given(ordinals, st.integers(-35, 65), st.integers(-35, 65))
def test_a_part_is_a_cut(members: set[int], start: int, stop: int) -> None:
    """`within` is the intersection with a range."""
    assert set(KeySet.of(members).within(start, stop)) == members & set(range(start, stop))


@given(ordinals, st.integers(1, 9))
def test_pieces_are_ranges_that_make_up_the_whole(members: set[int], size: int) -> None:
    """Each piece is one range, none is longer than asked for."""
    pieces = list(KeySet.of(members).pieces(size))
    assert [each for piece in pieces for each in piece] == sorted(members)
    assert all(len(piece.bounds) == 2 and len(piece) <= size for piece in pieces)


edges = st.lists(st.integers(-2 * CHUNK, 3 * CHUNK), max_size=30, unique=True).map(sorted)


@given(edges)
def test_a_set_is_kept_in_chunks(points: list[int]) -> None:
    """Chunks give back the set they were made of, also where ranges go over their edges."""
    keys = KeySet(tuple(points[: len(points) // 2 * 2]))
    kept = [(number, encode_chunk(part)) for number, part in chunks(keys)]
    assert [number for number, _ in kept] == sorted({number for number, _ in kept})
    assert joined(kept) == keys


@pytest.mark.parametrize("step", [2, 3, 7, 100])
def test_a_chunk_is_8_kb_at_most(step: int) -> None:
    """However many ranges it has."""
    part = KeySet.of(range(1, CHUNK, step))
    data = encode_chunk(part)
    assert len(data) <= CHUNK // 8
    assert decode_chunk(data) == part


def test_what_is_empty() -> None:
    """Nothing in it, nothing kept of it."""
    assert not EMPTY
    assert list(chunks(EMPTY)) == []
    assert KeySet.span(3, 3) == KeySet.span(5, 2) == EMPTY == joined([])
