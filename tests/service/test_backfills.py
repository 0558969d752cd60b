"""Backfills that services drive: every partition once, in order, whichever of them die; paused, resumed, cancelled."""

import pytest

from plait.bootstrap import clock
from plait.services.backfills import BackfillRequests, BackfillView, is_over
from tests.service.house import House

WHOLE = ["--partitions", "2026-01-01...2026-01-18"]
ONE = pytest.mark.parametrize("house", ["sqlite"], indirect=True)
"""Stores are all alike here; the conformance suite sees to that."""


def begin(house: House, *args: str) -> str:
    """Leave a backfill to the services; its id."""
    return str(house("backfill", "days.py", *args, "--detach").out.strip())


def view(house: House, id: str) -> BackfillView:
    """How far it is."""
    requests = BackfillRequests(house.store, clock())
    return requests.view(requests.find(id))


def over(house: House, id: str) -> BackfillView:
    """When it is over."""
    house.until(lambda: is_over(view(house, id)), "it is over")
    return view(house, id)


def test_every_partition_is_made_once_also_when_a_scheduler_is_killed(house: House):
    """By two of them. Weeks from their days, the whole from the weeks; what is made from its own past is in order."""
    house.put("days.py")
    house.let_go("go")
    first, _ = house.scheduler("days.py"), house.scheduler("days.py")
    house.worker().ready()
    id = begin(house, *WHOLE, "--concurrency", "3")
    house.until(lambda: len(house.noted()) >= 3, "some are made")
    first.kill()
    found = over(house, id)
    assert found.state == "success"
    assert {each.name: (each.total, each.done) for each in found.groups} == {
        "sales and 1 more": (18, 18), "week": (2, 2), "balance": (18, 18), "total": (1, 1),
    }  # fmt: skip
    said = house.noted()
    days = [f"2026-01-{day:02}" for day in range(1, 19)]
    assert [line.split()[1] for line in said if line.startswith("balance")] == days
    assert sorted(line for line in said if line.startswith("week")) == ["week 2026-01-05", "week 2026-01-12"]
    runs = house.store.list_runs(limit=1000)
    assert len(runs) == len({row.occurrence for row in runs}) == 18 + 2 + 18 + 1
    assert {row.state for row in runs} == {"success"}


@ONE
def test_pausing_resuming_and_cancelling(house: House):
    house.put("days.py")
    house.dev("days.py")
    id = begin(house, *WHOLE, "--select", "sales", "--concurrency", "2")
    house.until(lambda: len(view(house, id).runs) == 2, "two are on their way")
    assert house("backfills", "pause", id, "--json").json["state"] == "paused"
    house.let_go("go")
    house.until(lambda: view(house, id).done == 2, "what had begun is finished")
    assert view(house, id).runs == []
    assert [row["id"] for row in house("backfills", "list", "--open", "--json").json["backfills"]] == [id]
    house.folder.joinpath("notes.go").unlink()
    house("backfills", "resume", id[-8:])
    house.until(lambda: len(view(house, id).runs) == 2, "it goes on")
    house("backfills", "cancel", id)
    found = over(house, id)
    assert (found.state, found.done) == ("cancelled", 2)
    assert "is over: it is cancelled" in house("backfills", "pause", id, code=2).err


@ONE
def test_a_failure_is_told_and_made_again(house: House):
    """What is made from what failed is skipped; `--only failed` makes it again."""
    house.put("days.py")
    house.let_go("go")
    house.folder.joinpath("notes.bad").write_text("2026-01-06")
    house.dev("days.py")
    found = over(house, begin(house, "--partitions", "2026-01-05...2026-01-18", "--select", "sales, report, week"))
    groups = {each.name: each for each in found.groups}
    assert found.state == "failed"
    assert groups["sales and 1 more"].failed_ranges == ["2026-01-06"]
    assert (groups["week"].total, groups["week"].skipped) == (2, 1)
    house.folder.joinpath("notes.bad").unlink()
    again = begin(house, *WHOLE, "--select", "sales, report", "--only", "failed")
    assert over(house, again).total == 1
    dates = begin(house, "nightly", "--from", "2026-02-01", "--to", "2026-02-03", "--backward", "--concurrency", "1")
    assert over(house, dates).state == "success"
    assert [line for line in house.noted() if line.startswith("looked")] == [
        "looked 2026-02-03", "looked 2026-02-02", "looked 2026-02-01"
    ]  # fmt: skip
