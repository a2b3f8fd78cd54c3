"""What several fits share: opened once, by the first, and released by the last."""

from __future__ import annotations

import doctest
import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from recsys_spark.ml import shared as module
from recsys_spark.ml.shared import Shared


class Door:
    def __init__(self, broken: bool = False) -> None:
        self.broken, self.events = broken, []

    @contextmanager
    def open(self) -> Iterator[str]:
        self.events.append("open")
        if self.broken:
            raise OSError("stuck")
        try:
            yield "inside"
        finally:
            self.events.append("closed")


def test_the_example_holds() -> None:
    assert doctest.testmod(module).failed == 0


def test_threads_share_one() -> None:
    door = Door()
    shared = Shared(door.open, uses=8)

    def enter(_: int) -> str:
        with shared.use() as thing:
            return thing

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(enter, range(8))) == ["inside"] * 8
    assert door.events == ["open", "closed"]


def test_a_use_that_fails_is_a_use() -> None:
    door = Door()
    shared = Shared(door.open, uses=2)
    with pytest.raises(ValueError, match="mine"), shared.use():
        raise ValueError("mine")
    assert door.events == ["open"]
    with shared.use():
        pass
    assert door.events == ["open", "closed"]


def test_each_use_hears_why_it_cannot_be_opened() -> None:
    door = Door(broken=True)
    shared = Shared(door.open, uses=2)
    for _ in range(2):
        with pytest.raises(OSError, match="stuck"), shared.use():
            pass
    assert door.events == ["open", "open"]


def test_what_nobody_can_use_any_more_is_released() -> None:
    door = Door()
    shared = Shared(door.open, uses=3)
    with shared.use():
        pass
    del shared
    gc.collect()
    assert door.events == ["open", "closed"]
