"""`python -m bench [NAME ...]`: run benchmarks one after the other, print their tables, keep them as JSON."""

import importlib
import sys
from pathlib import Path

from bench.report import Table, surroundings

SUPPORT = {"__init__", "__main__", "report"}


def main(names: list[str]) -> None:
    """Run the named benchmarks, or all of them."""
    known = sorted(file.stem for file in Path(__file__).parent.glob("*.py") if file.stem not in SUPPORT)
    unknown = set(names) - set(known)
    if unknown:
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    print(surroundings())
    for name in names or known:
        table = importlib.import_module(f"bench.{name}").run()
        if not isinstance(table, Table):
            sys.exit(f"bench.{name}.run() returns a Table")
        print(f"\n{name}\n{table.text()}")
        table.save()


if __name__ == "__main__":
    main(sys.argv[1:])
