"""Tables as text: columns as wide as they need to be. Whoever pipes them gets whole lines; a terminal gets them cut to
its width."""

import os
import shutil
import sys
from collections.abc import Iterable, Sequence

import click

GAP = "  "
Cell = str | tuple[str, str | None]
"""A text, or a text and its colour (`red`, `bold red`)."""


def show(headers: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Print a table on stdout."""
    for line in lines(headers, rows, width=_width()):
        click.echo(line)


def lines(headers: Sequence[str], rows: Iterable[Sequence[Cell]], width: int | None = None) -> list[str]:
    """A table's lines. With a `width`, the widest columns give way until it fits."""
    table = [[_text(cell) for cell in row] for row in rows]
    colours = [[None] * len(headers), *([_colour(cell) for cell in row] for row in rows)]
    table.insert(0, [header.upper() for header in headers])
    sizes = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    if width is not None:
        sizes = _fit(sizes, width)
    return [_line(texts, row, sizes, dim=at == 0) for at, (texts, row) in enumerate(zip(table, colours, strict=True))]


def _line(texts: Sequence[str], colours: Sequence[str | None], sizes: Sequence[int], *, dim: bool) -> str:
    parts: list[str] = []
    for text, colour, size in zip(texts, colours, sizes, strict=True):
        shown = cut(text, size)
        room = " " * (size - cell_len(shown))
        parts.append((paint(shown, colour) if colour else click.style(shown, dim=True) if dim else shown) + room)
    return GAP.join(parts).rstrip()


def _fit(sizes: Sequence[int], width: int) -> list[int]:
    fitted = list(sizes)
    while sum(fitted) + len(GAP) * (len(fitted) - 1) > width and max(fitted) > 8:
        fitted[fitted.index(max(fitted))] -= 1
    return fitted


def _text(cell: Cell) -> str:
    text = cell if isinstance(cell, str) else cell[0]
    return " ".join(text.split()) if "\n" in text else text


def _colour(cell: Cell) -> str | None:
    return None if isinstance(cell, str) else cell[1]


def cut(text: str, size: int) -> str:
    """At most `size` cells of a text; an ellipsis stands for the rest."""
    if cell_len(text) <= size:
        return text
    while text and cell_len(text) > size - 1:
        text = text[:-1]
    return text + "…"


def cell_len(text: str) -> int:
    """How many cells of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len as wide_len

    return wide_len(text)


def paint(text: str, style: str | None) -> str:
    """A text in a style such as `bold red`. What is not written to a terminal loses it again."""
    if not style:
        return text
    *marks, colour = style.split()
    return click.style(text, fg=colour, bold="bold" in marks or None)


def _width() -> int | None:
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        return None
    return shutil.get_terminal_size().columns
