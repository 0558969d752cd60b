"""Files of definitions while a service runs: what changes is loaded again, what is broken hurts nobody else (F16)."""

import pytest

from tests.service.house import House

ANSWER = """
from plait import dag, task


@task
def answer():
    return {value}


@dag(tags=["{tag}"])
def {name}():
    answer()
"""
BROKEN = {
    "raises": "raise RuntimeError('it is broken')",
    "wrong": "def f(:",
    "hangs": "import time\ntime.sleep(1000)",
    "exits": "import os\nos._exit(3)",
    "dies": "import os\nos.kill(os.getpid(), 11)",
}
TOLD = {
    "raises": "it is broken",
    "wrong": "SyntaxError",
    "hangs": "was still loading after 2 s",
    "exits": "exit",
    "dies": "SIGSEGV",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A project whose folder `plait dev` serves, for all tests here."""
    house = House(tmp_path_factory.mktemp("served"))
    flows = house.folder / "flows"
    flows.mkdir()
    for name, source in BROKEN.items():
        house.put(f"flows/{name}.py", source)
    house.put("flows/good.py", answer("good", 1))
    house.dev("flows", "--load-timeout", 2)
    yield house
    house.close()


def answer(name: str, value: int, tag: str = "v1") -> str:
    """A file of one workflow."""
    return ANSWER.format(name=name, value=value, tag=tag)


def broken(house: House) -> list[str]:
    """The files that do not load."""
    return [row.path for row in house.store.definitions.files() if row.error]


def deployed(house: House, name: str):
    """A workflow that is deployed."""
    return house.store.definitions.deployment(name)


def result_of(house: House, name: str, file: str) -> object:
    """What a run of it comes to."""
    run_id = house.ask(f"flows/{file}.py", name)
    house.ended(run_id)
    [task] = house("runs", "show", run_id, "--json").json["tasks"]
    assert task["state"] == "success"
    return house.value(run_id, "answer")


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_told_and_hurts_nobody(served, kind):
    [told] = [row for row in served("deployments", "list", "--json").json["broken"] if f"/{kind}.py" in row["file"]]
    assert TOLD[kind] in told["error"]
    assert f"{kind}.py" in served("deployments", "list").err
    assert result_of(served, "good", "good") == 1


def test_a_file_that_changes_is_loaded_again_and_new_runs_run_the_new_code(served):
    served.put("flows/changing.py", answer("changing", 1))
    served.until(lambda: deployed(served, "changing"), "it is deployed")
    assert result_of(served, "changing", "changing") == 1
    served.put("flows/changing.py", answer("changing", 22, tag="v2"))
    served.until(lambda: deployed(served, "changing").tags == ("v2",), "it is deployed again")
    assert result_of(served, "changing", "changing") == 22


def test_a_file_that_breaks_keeps_what_it_defined_until_it_is_mended(served):
    served.put("flows/breaking.py", answer("breaking", 1))
    served.until(lambda: deployed(served, "breaking"), "it is deployed")
    served.put("flows/breaking.py", "def f(:")
    served.until(lambda: "breaking.py" in str(broken(served)), "it is told")
    assert deployed(served, "breaking") is not None
    served.put("flows/breaking.py", answer("breaking", 2, tag="mended"))
    served.until(lambda: deployed(served, "breaking").tags == ("mended",), "it is mended")
    assert result_of(served, "breaking", "breaking") == 2


def test_a_file_that_goes_takes_its_workflows_out_of_service(served):
    path = served.put("flows/going.py", answer("going", 1))
    served.until(lambda: deployed(served, "going"), "it is deployed")
    path.unlink()
    served.until(lambda: deployed(served, "going") is None, "it is out of service")


def test_a_scheduler_ends_at_once_while_a_file_hangs(tmp_path):
    house = House(tmp_path)
    try:
        path = house.put(
            "hanging.py", f"open({str(house.notes)!r}, 'w').write('loading')\nimport time\ntime.sleep(1000)"
        )
        scheduler = house.scheduler(path)
        house.until(house.noted, "the file is being loaded")
        scheduler.kill()
        house.until(lambda: not house.left(), "what loaded it has gone, too")
        house.notes.unlink()
        scheduler = house.scheduler(path).ready()
        house.until(house.noted, "the next one takes runs, whatever the file does")
        assert scheduler.stop() == 0
        assert not house.left()
    finally:
        house.close()
