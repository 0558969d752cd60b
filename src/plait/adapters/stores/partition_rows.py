"""How marks become chunks: what every store shares."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from plait.engine.partitions.keysets import EMPTY, KeySet, chunks, decode_chunk, encode_chunk
from plait.model.rows import PartitionChunk, PartitionMark

Place = tuple[str, str, int]
"""An asset, a space, and the number of a chunk."""


def folded(
    marks: Sequence[PartitionMark], chunks_at: Callable[[Place], Iterable[PartitionChunk]]
) -> Iterator[tuple[Place, list[PartitionChunk]]]:
    """The chunks that marks change, as they are then: for each place two of them, of what is materialized and what
    failed. `chunks_at` gives those that are there."""
    for place, said in _by_place(marks).items():
        sets = {False: EMPTY, True: EMPTY}
        for chunk in chunks_at(place):
            sets[chunk.failed] = decode_chunk(chunk.data)
        for failed, part in said:
            sets[failed] |= part
            sets[not failed] -= part
        asset, space, number = place
        yield (
            place,
            [
                PartitionChunk(
                    asset=asset, space=space, failed=failed, chunk=number, size=len(part), data=encode_chunk(part)
                )
                for failed, part in sets.items()
            ],
        )


def _by_place(marks: Sequence[PartitionMark]) -> dict[Place, list[tuple[bool, KeySet]]]:
    """What is said of each chunk, in order; what is said alike in a row, at once."""
    alike: dict[tuple[str, str], list[tuple[bool, list[tuple[int, int]]]]] = {}
    for mark in marks:
        said = alike.setdefault((mark.asset, mark.space), [])
        if not said or said[-1][0] != mark.failed:
            said.append((mark.failed, []))
        said[-1][1].append((mark.start, mark.stop))
    found: dict[Place, list[tuple[bool, KeySet]]] = {}
    for (asset, space), said in sorted(alike.items()):
        for failed, ranges in said:
            for number, part in chunks(KeySet.ranges_of(ranges)):
                found.setdefault((asset, space, number), []).append((failed, part))
    return found
