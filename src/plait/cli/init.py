"""`plait init`: a project skeleton that runs."""

from pathlib import Path

import click

from plait.cli.common import near, say
from plait.cli.options import db_option

SKELETON = Path(__file__).parent / "skeleton"
IGNORE = "*\n"


@click.command()
@click.argument("folder", default=".", type=click.Path(file_okay=False, path_type=Path))
@db_option
def init(folder: Path) -> None:
    """Make a project in FOLDER (the current one): flows.py with a dag, a flow and assets, and .plait for what plait
    keeps.

    Nothing is overwritten.

    \b
      plait init demo
      plait run demo/flows.py report
    """
    flows = folder / "flows.py"
    if flows.exists():
        raise click.UsageError(f"{flows} exists already; plait init overwrites nothing")
    try:
        (folder / ".plait").mkdir(parents=True, exist_ok=True)
        ignore = folder / ".plait" / ".gitignore"
        if not ignore.exists():
            ignore.write_text(IGNORE)
        with flows.open("x", encoding="utf-8") as file:
            file.write((SKELETON / "flows.py").read_text(encoding="utf-8"))
    except OSError as error:
        raise click.UsageError(f"{error.filename}: {error.strerror}") from None
    shown = near(str(flows))
    click.echo(str(flows))
    say(f"\nMade {shown}. Run one of\n")
    for words in ("report", "countdown -p start=5", "--partition 2024-01-02"):
        say(f"  plait run {shown} {words}")
