"""Selecting assets by expressions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.engine.assets.index import AssetIndex
from plait.engine.assets.selection import select
from plait.model.errors import UsageError
from tests.unit.engine.assets.graphs import index, spec

SHOP = index(
    spec("orders", group="raw", kinds=("s3", "parquet"), tags=("daily", "team=web")),
    spec("users", group="raw", owners=("ann@x.org",)),
    spec("clean/orders", "orders", group="clean", tags=("daily",)),
    spec("revenue", "clean/orders", "users", owners=("team:finance",)),
    spec("report", "revenue", tags=("to be sent",)),
    spec("2"),
)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("revenue", "revenue"),
        ("clean/*", "clean/orders"),
        ("[ou]*s", "orders users"),
        ("+revenue", "orders clean/orders users revenue"),
        ("1+revenue", "clean/orders users revenue"),
        ("orders+", "orders clean/orders revenue report"),
        ("orders+2", "orders clean/orders revenue"),
        ("1+revenue+1", "clean/orders users revenue report"),
        ("+(revenue or users)", "orders clean/orders users revenue"),
        ("(orders or users)+1", "orders users clean/orders revenue"),
        ("group:raw and not users", "orders"),
        ("kind:s3", "orders"),
        ("owner:team:finance, owner:*@x.org", "users revenue"),
        ("tag:daily and tag:team=*", "orders"),
        ('tag:"to be sent"', "report"),
        ('"report"', "report"),
        ("key:2", "2"),
        ("2", "2"),
        ("2 or users", "2 users"),
        ("2+report", "clean/orders users revenue report"),
        ("roots(*)", "orders users 2"),
        ("sinks(*)", "report 2"),
        ("roots(+revenue and not group:raw)", "clean/orders"),
        ("sinks(group:raw)", "orders users"),
        ("upstream(revenue)", "orders clean/orders users"),
        ("downstream(clean/orders) or 2", "revenue report 2"),
        ("not (group:raw or +report)", "2"),
        ("changed", "users"),
        ("changed+ and not stale", "users report"),
        ("missing or orders", "orders 2"),
    ],
)
def test_what_is_selected(text: str, keys: str):
    states = {"changed": lambda: {"users"}, "stale": lambda: {"revenue", "gone"}, "missing": lambda: {"2"}}
    found = select(text, SHOP, states)
    assert set(found) == set(keys.split())
    assert found == [key for key in SHOP.keys if key in found], "upstream ones first"


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("", 0, "an expression is missing here"),
        ("revenue and", 11, "a name is missing here"),
        ("(revenue", 8, "`)` is missing here"),
        ("(revenue users)", 9, "`)` is missing here"),
        ("revenue users", 8, "`and`, `or` or the end is missing here"),
        ("revenue+x", 8, "a number of steps, a blank or the end is missing here"),
        ("0+revenue", 0, "the number of steps is 1 or more"),
        ("revenue+0", 8, "the number of steps is 1 or more"),
        ("+ and users", 2, "a name is missing here"),
        ("users or leafs(*)", 9, "there is no function 'leafs'; there are roots, sinks, upstream, downstream"),
        ("group:", 6, "a group is missing here"),
        ('tag:"to be', 4, 'the closing `"` is missing'),
        ("users or revenu", 9, "no asset is selected by 'revenu'"),
        ("users and team:x", 10, "there is no 'team:'; there are `key:`, `group:`, `kind:`, `owner:`, `tag:`"),
        ("users and changed", 10, "what is changed is only known with a database"),
    ],
)
def test_mistakes_are_pointed_at(text: str, at: int, message: str):
    with pytest.raises(UsageError) as caught:
        select(text, SHOP)
    assert message in str(caught.value)
    assert f"\n    {text}\n    {' ' * at}^" in str(caught.value)


def test_what_is_named_as_a_state_is_selected_by_its_name():
    shop = index(spec("stale"), spec("a:b"), spec("other"))
    assert select("stale", shop) == ["stale"]
    assert select("a:b", shop) == ["a:b"]


# --- against sets ----------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c", "d", "e"])


@st.composite
def indices(draw: st.DrawFn) -> AssetIndex:
    keys = "abcde"
    return index(
        *(
            spec(key, *draw(st.sets(st.sampled_from(keys[:no]), max_size=2) if no else st.just(set())))
            for no, key in enumerate(keys)
        )
    )


def both(word, operation, one, two):
    return f"({one[0]} {word} {two[0]})", lambda shop: operation(one[1](shop), two[1](shop))


EXPRESSIONS = st.recursive(
    NAMES.map(lambda name: (name, lambda shop: {name})),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(
            lambda two: (f"({two[0][0]} and {two[1][0]})", lambda s: two[0][1](s) & two[1][1](s))
        ),
        st.tuples(inner, inner).map(
            lambda two: (f"({two[0][0]} or {two[1][0]})", lambda s: two[0][1](s) | two[1][1](s))
        ),
        inner.map(lambda one: (f"not {one[0]}", lambda s: set("abcde") - one[1](s))),
        inner.map(lambda one: (f"+({one[0]})", lambda s: walk(s.upstream, one[1](s), 9))),
        st.tuples(inner, st.integers(1, 3)).map(
            lambda two: (f"({two[0][0]})+{two[1]}", lambda s: walk(s.downstream, two[0][1](s), two[1]))
        ),
        st.tuples(st.integers(1, 3), NAMES).map(
            lambda two: (f"{two[0]}+{two[1]}", lambda s: walk(s.upstream, {two[1]}, two[0]))
        ),
        inner.map(
            lambda one: (f"roots({one[0]})", lambda s: {k for k in one[1](s) if not set(s.upstream[k]) & one[1](s)})
        ),
    ),
    max_leaves=6,
)


def walk(edges, keys: set[str], steps: int) -> set[str]:
    found = set(keys)
    for _ in range(steps):
        found |= {other for key in found for other in edges[key]}
    return found


@given(indices(), EXPRESSIONS)
def test_expressions_mean_sets(shop: AssetIndex, expression):
    text, meaning = expression
    assert set(select(text, shop)) == meaning(shop)
