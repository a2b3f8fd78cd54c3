"""One thing that several fits use, opened by the first and released by the last. Driver; threads may share it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Generic, TypeVar

Thing = TypeVar("Thing")


class Shared(Generic[Thing]):
    """Opens a thing when it is first used, and releases it after ``uses`` uses, or when nobody can use it any more.

    >>> from contextlib import contextmanager
    >>> @contextmanager
    ... def thing():
    ...     print("open")
    ...     yield 7
    ...     print("closed")
    >>> shared = Shared(thing, uses=2)
    >>> for _ in range(2):
    ...     with shared.use() as number:
    ...         print(number)
    open
    7
    7
    closed
    """

    def __init__(self, opened: Callable[[], AbstractContextManager[Thing]], uses: int) -> None:
        self._opened, self._left = opened, uses
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._thing: list[Thing] = []
        weakref.finalize(self, self._stack.close).atexit = False  # by then there is no Spark

    @contextmanager
    def use(self) -> Iterator[Thing]:
        """The thing, for one of the uses; raises what opening it raises, at every use anew."""
        try:
            with self._lock:
                if not self._thing:
                    self._thing.append(self._stack.enter_context(self._opened()))
            yield self._thing[0]
        finally:
            with self._lock:
                self._left -= 1
                if not self._left:
                    self._stack.close()
