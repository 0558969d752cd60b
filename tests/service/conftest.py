"""Fixtures: a project of a user's own on each kind of database, and one that a module's tests share."""

from collections.abc import Iterator

import pytest

from tests import pg
from tests.service.house import House
from tests.service.kills.nursery import Nursery


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def house(request, tmp_path) -> Iterator[House]:
    """A project on each kind of database."""
    if request.param == "sqlite":
        made = House(tmp_path)
        yield made
        made.close()
        return
    with pg.emptied() as url:
        made = House(tmp_path, url)
        try:
            yield made
        finally:
            made.close()


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """What starts processes of plait for the tests that kill many of them."""
    made = Nursery()
    yield made
    made.close()
