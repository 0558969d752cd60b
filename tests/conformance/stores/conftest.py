"""Fixtures: a place of each kind of store, and a store on it."""

import pytest

from tests.conformance.stores.kinds import parameters, place_of


@pytest.fixture(params=parameters())
def place(request, tmp_path):
    with place_of(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def store(place):
    return place.open()
