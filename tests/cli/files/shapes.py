"""Graphs to draw."""

from datetime import date

from plait import dag, group, logical_date, task

steps = {
    name: task(lambda *values, **named: None, name=name) for name in ("extract", "check", "load", "notify", "report")
}
extract, check, load, notify, report = steps.values()


@dag(schedule="@daily")
def daily(day: date = logical_date()):
    """The daily load."""
    rows = extract(day)
    good = check(rows)
    done = load(rows, good)
    report(done, good)
    return done


@group
def region(name):
    return check(extract(name))


@dag
def regions():
    loaded = load.map([1, 2, 3])
    with group("ends"):
        report(loaded)
        notify()
    return region.map(["eu", "us"])
