"""`plait db`, `config`, `init` and `doctor`."""

import sqlite3
from pathlib import Path

import pytest

from plait.cli import doctor
from tests.cli.conftest import Command


def test_db(plait: Command) -> None:
    fresh = plait("db", "status", "--json").json
    assert fresh["revision"] is None
    assert "there is no database yet" in plait("db", "status").out
    assert f"is at {fresh['head']} now" in plait("db", "upgrade").out
    status = plait("db", "status", "--json").json
    assert status["revision"] == status["head"]
    assert status["up_to_date"] is True
    assert "was up to date" in plait("db", "upgrade").out


def test_a_newer_database_is_refused(plait: Command) -> None:
    plait("db", "upgrade")
    with sqlite3.connect(plait.folder / "home" / "plait.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert "newer" in plait("runs", "list", code=2).err
    assert plait("db", "status", "--json", code=1).json["revision"] == "9999"
    assert plait("doctor", "--json", code=1).json["ok"] is False


def test_db_may_stand_anywhere(plait: Command, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'other.db'}"
    for args in (["--db", url, "db", "status"], ["db", "--db", url, "status"], ["db", "status", "--db", url]):
        assert plait(*args, "--json").json["db"] == url
    assert plait("db", "status", "--json", PLAIT_DB=url).json["db"] == url


def test_config(plait: Command) -> None:
    found = plait("config", "--json").json
    assert found["home"] == {"value": str(plait.folder / "home"), "source": "$PLAIT_HOME"}
    assert found["db"]["source"] == "in home"
    assert plait("config", "--json", "--db", "x.db").json["db"] == {"value": "x.db", "source": "--db"}
    del plait.env["PLAIT_HOME"]
    (plait.folder / "pyproject.toml").touch()
    (plait.folder / "below").mkdir()
    plait.folder = plait.folder / "below"
    home = plait("config", "--json", PLAIT_DB="y.db").json
    assert home["home"] == {
        "value": str(plait.folder.parent / ".plait"),
        "source": "the project folder, by its pyproject.toml",
    }
    assert home["db"] == {"value": "y.db", "source": "$PLAIT_DB"}
    assert "SETTING" in plait("config").out
    assert home["retention"] == {"value": "30 days", "source": "default"}
    kept = plait("config", "--json", PLAIT_RETENTION_DAYS="0").json
    assert kept["retention"] == {"value": "for ever", "source": "$PLAIT_RETENTION_DAYS"}
    assert "PLAIT_RETENTION_DAYS is 'a month'" in plait("config", code=2, PLAIT_RETENTION_DAYS="a month").err


def test_init_makes_a_project_that_runs(plait: Command) -> None:
    del plait.env["PLAIT_HOME"]
    made = plait("init", "demo")
    flows = plait.folder / "demo" / "flows.py"
    assert made.out.strip() == "demo/flows.py"
    assert "plait run demo/flows.py report" in made.err
    assert "overwrites nothing" in plait("init", "demo", code=2).err
    plait.folder = flows.parent
    assert plait("check", "flows.py").out == "1 file: 1 dag, 1 flow, 2 assets; 0 errors\n"
    assert plait("run", "flows.py", "report", "--date", "2024-05-06", "--json").json["result"] == 4070
    assert plait("run", "flows.py", "countdown", "-p", "start=4", "--json").json["result"] == 20
    assert plait("run", "flows.py", "--partition", "2024-01-02", "--json").json["result"] == 2027
    assert (flows.parent / ".plait" / "plait.db").exists()


def test_init_here(plait: Command) -> None:
    plait("init")
    assert (plait.folder / "flows.py").exists()
    assert (plait.folder / ".plait" / ".gitignore").read_text() == "*\n"
    (plait.folder / "file").touch()
    assert "file" in plait("init", "file/below", code=2).err


def test_doctor(plait: Command) -> None:
    found = plait("doctor", "--json").json
    assert found["ok"] is True
    names = [check["name"] for check in found["checks"]]
    assert names == ["python", "system", "fork", "sqlite", "packages", "disk", "file system", "database", "results"]
    assert "everything is fine" in plait("doctor").out


def test_doctor_tells_what_is_wrong(plait: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    (plait.folder / "home").write_text("a file, not a folder")
    result = plait("doctor", code=1)
    assert "wrong  database" in result.out
    assert "Traceback" not in result.err
    monkeypatch.setattr("sys.platform", "win32")
    assert "WSL" in doctor.system().hint
    monkeypatch.setattr(doctor, "OLDEST_SQLITE", (99, 0, 0))
    assert not doctor.sqlite_version().ok
