"""Reading and computing at the same time: a thread that makes items ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")

_END = object()


def made_ahead(items: Iterable[Item], count: int = 2) -> Iterator[Item]:
    """The same items in order, computed in a background thread, at most `count` ahead of the one in use.

    An exception of `items` is raised in its place, after the items before it. The thread starts with the first `next`.
    It ends with the items, or when this iterator is closed or deleted earlier; it then completes the item in progress.
    """
    with ThreadPoolExecutor(1, "medley-ahead") as maker:
        source = iter(items)
        waiting: deque[Future[Any]] = deque()
        try:
            while True:
                while len(waiting) <= count:
                    waiting.append(maker.submit(next, source, _END))
                item = waiting.popleft().result()
                if item is _END:
                    return
                yield item
        finally:
            maker.shutdown(cancel_futures=True)
            if isinstance(source, Generator):
                source.close()  # close its files now and not at the next garbage collection
