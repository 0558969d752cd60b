"""`plait list` and `plait graph`."""

from pathlib import Path

from plait.cli.drawing import draw, layers
from plait.model.graph import Edge, Graph, TaskSpec
from tests.cli.conftest import Command


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def test_list(shared: Command, files: Path) -> None:
    result = shared("list", files)
    rows = {line.split()[0]: line for line in result.out.splitlines()[1:]}
    assert result.out.startswith("NAME")
    assert "0 0 * * *" in rows["daily"]
    assert "as it runs" in rows["squares"]
    assert "daily partitions" in rows["raw"]
    found = shared("list", files / "shapes.py", "--json").json
    assert found["workflows"][0] | {"file": ""} == {
        "name": "daily",
        "kind": "dag",
        "schedule": "0 0 * * *",
        "tasks": 4,
        "file": "",
        "doc": "The daily load.",
    }
    assert found["assets"] == []


def test_list_tells_what_does_not_load(plait: Command) -> None:
    (plait.folder / "broken.py").write_text("x = (\n")
    assert "broken.py does not load" in plait("list", "broken.py", code=1).err


def test_a_dag_is_drawn(shared: Command, files: Path) -> None:
    assert _lines(shared("graph", files / "shapes.py", "daily").out) == [
        "daily (dag, 4 tasks)",
        "",
        "0  ●   extract",
        "   ├─╮",
        "1  │ ● check  ← extract",
        "   ├─┤",
        "2  ● │ load  ← extract, check",
        "   ├─╯",
        "3  ●   report  ← load, check",
    ]


def test_groups_and_mapped_tasks_are_marked(shared: Command, files: Path) -> None:
    out = shared("graph", files / "shapes.py", "regions").out
    assert "load \u00d73" in out
    assert ".extract \u00d72" in out
    assert "groups: " in out
    assert "ends (2)" in out


def test_assets_are_drawn(shared: Command, files: Path) -> None:
    assert "report  ← tidy" in shared("graph", files / "assets.py").out
    some = shared("graph", files / "assets.py", "--select", "+tidy", "--json").json
    assert [node["key"] for node in some["nodes"]] == ["raw", "tidy"]
    assert some["edges"] == [{"upstream": "raw", "downstream": "tidy", "output": "result"}]


def test_a_flow_is_one_body(shared: Command, files: Path) -> None:
    assert "squares" in shared("graph", files / "one.py").out


def test_which_is_meant_has_to_be_clear(shared: Command, files: Path) -> None:
    assert "name one: daily, regions" in shared("graph", files / "shapes.py", code=2).err
    assert "has no workflow 'nope'" in shared("graph", files / "shapes.py", "nope", code=2).err


def test_a_terminal_without_unicode(shared: Command, files: Path) -> None:
    out = shared("graph", files / "shapes.py", "daily", PYTHONIOENCODING="ascii").out
    assert out.isascii()
    assert "2  * | load  <- extract, check" in out


def _graph(edges: list[tuple[str, str]]) -> Graph:
    keys = list(dict.fromkeys(key for edge in edges for key in edge))
    return Graph(
        name="g",
        nodes=tuple(TaskSpec(key=key) for key in keys),
        edges=tuple(Edge(upstream=a, downstream=b) for a, b in edges),
    )


def test_only_the_order_counts() -> None:
    lines = draw(_graph([("a", "b")]))
    assert "● b  ← (a)" in lines[1]
    assert lines[-1] == "(name): only the order counts"


def test_fifty_tasks_fit_a_terminal() -> None:
    """Ten stages of five, each below two of the stage before."""
    edges = [
        (f"stage_{depth - 1}.step_{(at + turn) % 5}", f"stage_{depth}.step_{at}")
        for depth in range(1, 10)
        for at in range(5)
        for turn in range(2)
    ]
    lines = draw(_graph(edges))
    assert max(map(len, lines)) <= 100
    assert sum("●" in line for line in lines) == 50


def test_a_wide_graph_is_drawn_without_lanes() -> None:
    edges = [("start", f"work_{at}") for at in range(40)] + [(f"work_{at}", "end") for at in range(40)]
    lines = draw(_graph(edges))
    assert max(map(len, lines)) <= 100
    assert any("and 36 more" in line for line in lines)


def test_of_a_large_graph_the_rest_is_counted() -> None:
    edges = [(f"t{at}", f"t{at + 1}") for at in range(10_000)]
    lines = draw(_graph(edges))
    assert len(lines) < 110
    assert any("and 9901 more tasks, to depth 10000" in line for line in lines)


def test_depth_is_the_longest_way() -> None:
    rows = layers(_graph([("a", "b"), ("b", "d"), ("a", "d"), ("a", "c"), ("c", "d")]))
    assert {row.spec.key: row.depth for row in rows} == {"a": 0, "b": 1, "c": 1, "d": 2}
