"""The flights example as plain functions: real data, no plait."""

import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from pathlib import Path

import duckdb
import pandas as pd
import pytest

FLIGHTS = Path(__file__).parents[2] / "examples" / "flights"
sys.path.insert(0, str(FLIGHTS))  # as plait does when it loads a file of that folder

from nyc import contract, errors, places, source, steps, warehouse  # noqa: E402 - needs the path above

NEW_YEAR = date(2013, 1, 1)
STORM = date(2013, 2, 9)


@pytest.fixture(scope="session")
def split(tmp_path_factory):
    """The daily files, made once for all tests."""
    folder = tmp_path_factory.mktemp("flights-source")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLIGHTS_DATA", str(folder))
        return source.daily_files()


@pytest.fixture(autouse=True)
def data(split, tmp_path, monkeypatch):
    """A data folder of the test's own, which starts with the daily files."""
    monkeypatch.setenv("FLIGHTS_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("FLIGHTS_EXTRA_ROWS", raising=False)
    (places.data_folder() / split.name).symlink_to(split, target_is_directory=True)
    return places.data_folder()


@pytest.fixture
def extra(tmp_path, monkeypatch):
    """Gives a function that adds rows to the source: each is the day's first flight, changed as it says."""
    first = source.extract(NEW_YEAR).iloc[0]

    def write(*changes: dict[str, object]) -> None:
        rows = [{**first, "flight": str(9000 + number), **change} for number, change in enumerate(changes)]
        path = tmp_path / "extra.csv"
        pd.DataFrame(rows).to_csv(path, index=False)
        monkeypatch.setenv("FLIGHTS_EXTRA_ROWS", str(path))

    return write


def run_day(day: date) -> warehouse.Summary:
    checked = steps.validate(steps.extract(day))
    enriched = steps.enrich(checked)
    delays = steps.measure_delays(enriched)
    counts = steps.check(steps.load(day, checked, enriched, delays))
    steps.publish(day, counts, delays, steps.draw(counts, delays))
    return steps.summarize(counts)


def query(sql: str) -> list[tuple]:
    with duckdb.connect(places.warehouse_file(), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def tables() -> dict[str, list[tuple]]:
    names = ("flights", "quarantine", "delays_by_carrier", "delays_by_hour")
    return {name: query(f"SELECT * FROM {name} ORDER BY ALL") for name in names}  # noqa: S608 - names from above


# What is known of the data


@pytest.mark.parametrize(
    ("day", "flights", "cancelled"),
    [(NEW_YEAR, 842, 4), (STORM, 684, 393), (date(2013, 11, 3), 902, None), (date(2013, 12, 31), 776, 16)],
    ids=["new-year", "snow-storm", "clocks-go-back", "no-weather-known"],
)
def test_a_day_has_its_known_counts(day, flights, cancelled):
    summary = run_day(day)
    assert (summary["day"], summary["flights"], summary["quarantined"]) == (day.isoformat(), flights, 0)
    assert cancelled is None or summary["cancelled"] == cancelled
    assert json.loads(json.dumps(summary)) == summary


def test_january_has_its_known_counts():
    days = [steps.validate(steps.extract(date(2013, 1, day))) for day in range(1, 32)]
    assert sum(len(day.good) for day in days) == 27_004
    assert sum(int(day.good["dep_time"].isna().sum()) for day in days) == 521
    assert sum(len(day.bad) for day in days) == 0


def test_the_daily_files_hold_the_year(split):
    lines = {path.stem: path.read_text().count("\n") - 1 for path in split.iterdir()}
    assert len(lines) == 365
    assert sum(lines.values()) == 336_776


def test_every_row_of_the_year_is_good():
    year = pd.concat(source._read_text(path) for path in sorted(source.daily_files().iterdir()))
    checked = steps.validate(year)
    assert checked.bad["reasons"].tolist() == []
    assert (len(checked.good), checked.good["dep_time"].isna().sum()) == (336_776, 8_255)


def test_a_day_that_the_data_does_not_hold_says_so():
    with pytest.raises(errors.NoFlights, match=r"2026-01-01.*2013-01-01 to 2013-12-31"):
        steps.extract(date(2026, 1, 1))


def test_a_datetime_serves_as_a_day():
    summary = run_day(datetime(2013, 1, 1, 6, 0))  # noqa: DTZ001 - a caller's naive one
    assert summary == {"day": "2013-01-01", "flights": 842, "cancelled": 4, "quarantined": 0}
    assert warehouse.read_days(NEW_YEAR, NEW_YEAR) == [summary]


# Bad rows


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"distance": "far"}, "distance: 'far' is not a whole number"),
        ({"dep_delay": "1.5"}, "dep_delay: '1.5' is not a whole number"),
        ({"air_time": "inf"}, "air_time: 'inf' is not a whole number"),
        ({"time_hour": "1 January"}, "time_hour: '1 January' is not a time like 2013-01-01T10:00:00Z"),
        ({"carrier": None}, "carrier: missing"),
        ({"time_hour": "NA"}, "time_hour: missing"),
        ({"sched_dep_time": ""}, "sched_dep_time: missing"),
        ({"distance": "0"}, "distance: 0 is outside 1 to 6000"),
        ({"arr_delay": "99999"}, "arr_delay: 99999 is outside -180 to 2880"),
        ({"dep_time": "2500"}, "dep_time: 2500 is outside 0 to 2400"),
        ({"dep_time": "1275"}, "dep_time: 1275 is not a time of day (HHMM)"),
        ({"origin": "BOS"}, "origin: 'BOS' is none of EWR, JFK, LGA"),
        ({"flight": "1545"}, "duplicate: same time_hour, origin, carrier, flight as an earlier row"),
        ({"carrier": None, "distance": "0"}, "carrier: missing; distance: 0 is outside 1 to 6000"),
    ],
)
def test_a_bad_row_ends_in_quarantine_with_its_reasons(extra, change, reason):
    extra(change)
    assert run_day(NEW_YEAR) == {"day": "2013-01-01", "flights": 842, "cancelled": 4, "quarantined": 1}
    column = next(iter(change))
    text = change[column] if change[column] not in ("", "NA") else None
    assert query(f"SELECT reasons, {column} FROM quarantine") == [(reason, text)]  # noqa: S608


def test_a_cancelled_flight_is_no_bad_row(extra):
    extra(dict.fromkeys(("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "tailnum")))
    assert run_day(NEW_YEAR) == {"day": "2013-01-01", "flights": 843, "cancelled": 5, "quarantined": 0}


def test_of_a_flight_told_twice_the_good_row_is_kept(extra):
    extra({"flight": "9000", "distance": "far"}, {"flight": "9000"}, {"flight": "9000"})
    checked = steps.validate(steps.extract(NEW_YEAR))
    assert (len(checked.good), checked.good["flight"].eq(9000).sum()) == (843, 1)
    assert [reasons.split(":")[0] for reasons in checked.bad["reasons"]] == ["distance", "duplicate"]


def test_extra_rows_belong_to_the_day_of_their_date(extra):
    extra({"distance": "far"}, {"year": "2013", "month": "2", "day": "9", "distance": "far"})
    assert run_day(NEW_YEAR)["quarantined"] == 1
    assert run_day(STORM)["quarantined"] == 1
    assert run_day(date(2013, 1, 2))["quarantined"] == 0


def test_extra_rows_without_a_date_are_an_error(extra):
    extra({}, {"day": "31", "month": "2"}, {"year": "soon"})
    with pytest.raises(errors.UndatedRows, match=r"2 rows belong to no day \(lines 3, 4\)"):
        steps.extract(NEW_YEAR)


def test_a_day_of_nothing_but_bad_rows_fails_its_check():
    flights = steps.extract(NEW_YEAR).assign(distance="far")
    checked = steps.validate(flights)
    assert (len(checked.good), len(checked.bad)) == (0, 842)
    enriched = steps.enrich(checked)
    loaded = steps.load(NEW_YEAR, checked, enriched, steps.measure_delays(enriched))
    with pytest.raises(errors.CheckFailed, match="no flight is good"):
        steps.check(loaded)


@pytest.mark.parametrize("name", contract.COLUMNS)
def test_a_missing_column_is_named(name):
    with pytest.raises(errors.MissingColumn, match=rf"no column '{name}'\. It has: .*rename it back"):
        steps.validate(steps.extract(NEW_YEAR).drop(columns=name))


def test_a_column_missing_from_the_extra_rows_is_named(tmp_path, monkeypatch):
    path = tmp_path / "extra.csv"
    steps.extract(NEW_YEAR).head(1).drop(columns="carrier").to_csv(path, index=False)
    monkeypatch.setenv("FLIGHTS_EXTRA_ROWS", str(path))
    with pytest.raises(errors.MissingColumn, match=r"extra\.csv: no column 'carrier'"):
        steps.extract(NEW_YEAR)


# What is made of the good ones


def test_enrich_adds_what_is_known_and_loses_no_flight():
    checked = steps.validate(steps.extract(NEW_YEAR))
    enriched = steps.enrich(checked)
    assert len(enriched) == 842
    first = enriched.iloc[0]
    assert (first["flight"], first["airline"], first["seats"]) == (1545, "United Air Lines Inc.", 149)
    assert first["dest_name"] == "George Bush Intercontinental"
    assert first["temp"] == pytest.approx(39.02)
    assert enriched["temp"].notna().mean() > 0.95


def test_delays_are_means_over_the_flights_that_left():
    delays = steps.measure_delays(steps.enrich(steps.validate(steps.extract(NEW_YEAR))))
    raw = pd.read_csv(source.daily_files() / "2013-01-01.csv")
    by_carrier = delays.by_carrier.set_index("carrier")
    assert by_carrier["flights"].to_dict() == raw.groupby("carrier").size().to_dict()
    assert by_carrier["mean_arr_delay"].to_dict() == pytest.approx(raw.groupby("carrier")["arr_delay"].mean().to_dict())
    assert by_carrier["late"].sum() == (raw["arr_delay"] >= 15).sum()
    by_hour = delays.by_hour.set_index("hour")
    assert by_hour["mean_dep_delay"].to_dict() == pytest.approx(raw.groupby("hour")["dep_delay"].mean().to_dict())


def test_a_report_has_its_plot_and_text(data):
    run_day(STORM)
    folder = data / "reports" / "2013-02-09"
    assert sorted(path.name for path in folder.iterdir()) == ["delays.png", "report.md"]
    assert (folder / "delays.png").read_bytes().startswith(b"\x89PNG")
    text = (folder / "report.md").read_text()
    assert "684 flights, 393 of them cancelled; 0 rows in quarantine." in text
    assert "| JetBlue Airways |" in text


# The warehouse


def test_to_load_a_day_again_changes_nothing(extra):
    extra({"distance": "far"})
    run_day(NEW_YEAR)
    run_day(STORM)
    before = tables()
    assert run_day(NEW_YEAR)["quarantined"] == 1
    assert tables() == before


def test_a_day_loaded_again_without_its_bad_rows_leaves_none_behind(extra, monkeypatch):
    extra({"distance": "far"})
    assert run_day(NEW_YEAR)["quarantined"] == 1
    monkeypatch.delenv("FLIGHTS_EXTRA_ROWS")
    assert run_day(NEW_YEAR)["quarantined"] == 0
    assert query("SELECT count(*) FROM quarantine") == [(0,)]


def test_a_load_that_fails_half_way_leaves_the_day_as_it_was():
    run_day(NEW_YEAR)
    before = tables()
    checked = steps.validate(steps.extract(NEW_YEAR))
    enriched = steps.enrich(checked)
    delays = steps.measure_delays(enriched)
    broken = delays.by_hour.assign(hour="noon")
    with pytest.raises(duckdb.ConversionException):
        steps.load(NEW_YEAR, checked, enriched.head(1), type(delays)(by_carrier=delays.by_carrier, by_hour=broken))
    assert tables() == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("DELETE FROM flights WHERE flight = 1545", "holds 841 flights, 842 were loaded"),
        ("INSERT INTO quarantine (flight_date) VALUES ('2013-01-01')", "1 rows are in quarantine, 0 were loaded"),
        ("UPDATE flights SET dep_time = NULL", "100% of the flights are cancelled, more than 75%"),
    ],
)
def test_check_finds_what_is_wrong_in_the_warehouse(damage, message):
    checked = steps.validate(steps.extract(NEW_YEAR))
    enriched = steps.enrich(checked)
    loaded = steps.load(NEW_YEAR, checked, enriched, steps.measure_delays(enriched))
    with duckdb.connect(places.warehouse_file()) as connection:
        connection.execute(damage)
    with pytest.raises(errors.CheckFailed, match=message):
        steps.check(loaded)


def test_a_warehouse_that_is_open_elsewhere_says_so(data):
    run_day(NEW_YEAR)
    code = "import sys, duckdb; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(places.warehouse_file())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(errors.WarehouseBusy, match='pool="warehouse"'):
            run_day(NEW_YEAR)
        other.stdin.close()
    assert run_day(NEW_YEAR)["flights"] == 842


# Many processes


EXTRACT = """
import pandas, sys
from datetime import date
from nyc import source, steps
print("ready", flush=True)
sys.stdin.readline()
print(len(steps.extract(date(2013, 1, 1))), source.daily_files())
"""

# As plait's workers do: the parent has the code loaded and no threads, the children do the work.
PUBLISH = """
import multiprocessing
from datetime import date
from nyc import steps, warehouse

def publish(day):
    delays = steps.measure_delays(steps.enrich(steps.validate(steps.extract(day))))
    counts = warehouse.DayCounts(day=day, flights=0, cancelled=0, quarantined=0)
    return steps.publish(day, counts, delays, steps.draw(counts, delays))

with multiprocessing.get_context("fork").Pool(2) as pool:
    print(*pool.map(publish, [date(2013, 1, day) for day in range(1, 5)], chunksize=1), sep="\\n")
"""


def test_many_processes_may_split_the_source_at_once(tmp_path, monkeypatch):
    folder = tmp_path / "fresh"
    monkeypatch.setenv("FLIGHTS_DATA", str(folder))
    command = [sys.executable, "-c", EXTRACT]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": FLIGHTS}
    processes = [subprocess.Popen(command, **pipes) for _ in range(4)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 4
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert answers == [["842", str(folder / "daily-0.0.3")]] * 4
    assert [path.name for path in folder.iterdir()] == ["daily-0.0.3"]  # and no scratch folder is left


def test_reports_may_be_drawn_in_forked_workers():
    done = subprocess.run([sys.executable, "-c", PUBLISH], cwd=FLIGHTS, capture_output=True, text=True, check=True)
    folders = [Path(line) for line in done.stdout.splitlines()]
    assert [folder.name for folder in folders] == ["2013-01-01", "2013-01-02", "2013-01-03", "2013-01-04"]
    assert all((folder / "delays.png").stat().st_size > 10_000 for folder in folders)


def test_plots_may_be_drawn_in_threads():
    day = steps.validate(steps.extract(STORM))
    delays = steps.measure_delays(steps.enrich(day))
    counts = warehouse.DayCounts(day=STORM, flights=684, cancelled=393, quarantined=0)
    with ThreadPoolExecutor(4) as pool:
        plots = set(pool.map(lambda _: steps.draw(counts, delays), range(8)))
    assert len(plots) == 1


def test_what_passes_between_the_steps_can_be_pickled():
    checked = steps.validate(steps.extract(NEW_YEAR))
    enriched = steps.enrich(checked)
    delays = steps.measure_delays(enriched)
    loaded = steps.load(NEW_YEAR, checked, enriched, delays)
    for value in (checked, enriched, delays, loaded, steps.check(loaded)):
        assert type(pickle.loads(pickle.dumps(value))) is type(value)  # noqa: S301 - our own
    assert pickle.loads(pickle.dumps(loaded)) == loaded  # noqa: S301


def test_to_import_the_steps_imports_nothing_heavy():
    code = "import sys; from nyc import steps; print({'pandas', 'duckdb', 'matplotlib', 'plait'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], cwd=FLIGHTS, capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
