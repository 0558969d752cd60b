"""Every mistake is told with its file and line, what was written and what to write instead; `mistakes.txt` holds the
texts.

To write the texts anew after a change: `PLAIT_WRITE_GOLDEN=1 python -m pytest tests/api/test_mistakes.py`, then read
the difference.
"""

import os
import subprocess
import sys
from pathlib import Path

from tests.api.mistakes import HEAD, MISTAKES

GOLDEN = Path(__file__).with_name("mistakes.txt")
RUN = """
import sys, traceback
from pathlib import Path
for file in sorted(Path(sys.argv[1]).glob("*.py")):
    print("==", file.stem)
    try:
        exec(compile(file.read_text(), str(file), "exec"), {"__name__": "mistake"})
        print("nothing was said")
    except Exception as error:
        print(f"{type(error).__name__}: {error}".replace(sys.argv[1] + "/", ""))
"""


def told(folder: Path) -> str:
    for number, (name, code) in enumerate(MISTAKES.items()):
        (folder / f"{number:02} {name}.py").write_text(HEAD + code)
    env = {**os.environ, "PLAIT_HOME": str(folder / "home"), "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder)], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def test_each_mistake_is_told_as_it_is_written_down(tmp_path: Path) -> None:
    found = told(tmp_path)
    if os.environ.get("PLAIT_WRITE_GOLDEN"):
        GOLDEN.write_text(found)
    assert found == GOLDEN.read_text()
    parts = ("\n  at ", "\n  you wrote:\n", "\n  write instead:\n")
    whole = [entry for entry in found.split("== ")[1:] if all(part in entry for part in parts)]
    assert len(whole) >= 20
    assert "nothing was said" not in found
