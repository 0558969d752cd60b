"""Kills at random moments and commits under load, and restarts of PostgreSQL: every run ends by itself, and the books
agree. `make soak` has many more."""

import pytest

from tests import pg
from tests.service.house import House
from tests.service.kills.driver import Driver
from tests.service.kills.storm import Storm, restarts

KILLS = 5


def test_a_storm_on_sqlite(tmp_path, nursery):
    house = House(tmp_path)
    try:
        driver = Driver(house, nursery)
        story = Storm(driver, seed=1).blow(KILLS)
        driver.rest()
        assert len(story.kills) >= KILLS
    finally:
        house.close()


@pytest.mark.postgres
def test_a_storm_with_restarts_of_postgresql(tmp_path, nursery):
    server = pg.Server(**pg.SETTINGS)
    house = House(tmp_path, server.url)
    try:
        driver = Driver(house, nursery)
        story = Storm(driver, seed=2, restart_database=restarts(server, seed=2)).blow(KILLS)
        driver.rest()
        assert "database" in {kill.victim for kill in story.kills}
    finally:
        house.close()
        server.close()
