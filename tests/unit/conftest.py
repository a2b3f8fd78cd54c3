"""Fixtures of the tests without Spark."""

from __future__ import annotations

from pathlib import Path

import pytest

from standins.house import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def ready(house: House) -> House:
    house.installed()
    return house
