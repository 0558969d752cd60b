"""Fixtures: a project of a user's own on each kind of database, and one that a module's tests share."""

from collections.abc import Iterator

import pytest

from tests.service.house import House


@pytest.fixture
def house(tmp_path) -> Iterator[House]:
    """A project on SQLite."""
    made = House(tmp_path)
    yield made
    made.close()
