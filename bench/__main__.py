"""`python -m bench [floor | cases | peers | gate] [ARGUMENTS]`; without any: the floor, then every case."""

import runpy
import sys

COMMANDS = ("floor", "cases", "peers", "gate")


def main() -> None:
    """Hand over to the command's own module."""
    command, *arguments = sys.argv[1:] or ["floor"]
    if command not in COMMANDS:
        sys.exit(f"no command {command!r}; there are: {', '.join(COMMANDS)}")
    for each in [command] if len(sys.argv) > 1 else ["floor", "cases"]:
        sys.argv = [f"bench.{each}", *arguments]
        runpy.run_module(f"bench.{each}", run_name="__main__")


if __name__ == "__main__":
    main()
