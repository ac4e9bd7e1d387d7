"""Reading, computing and writing at the same time: threads that make items ahead, or take them as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import Semaphore
from typing import Any, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_END = object()


def made_ahead(items: Iterable[Item], count: int = 2) -> Iterator[Item]:
    """The same items in order, made in a thread of their own, at most `count` ahead of the one that is in use.

    An error of `items` comes in its turn, after the items before it. The thread starts with the first item that is
    asked for, and is gone when this iterator has ended, or is closed or dropped before its end; it then finishes the
    item it is making and makes no other.
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
                source.close()  # its files are closed now, not when somebody collects it


def taken_behind(items: Iterable[Item], take: Callable[[Iterator[Item]], Answer], count: int = 2) -> Answer:
    """`take(items)`, in a thread of its own, while this one makes the items: at most `count` wait to be taken.

    Where the items end in an error (or Ctrl-C), `take` meets it as the error of its iterator and can tidy up; it is
    raised here. Where `take` fails or ends early, no more items are made. The thread is gone on return.
    """
    handed: SimpleQueue[Any] = SimpleQueue()
    room = Semaphore(count)

    def received() -> Iterator[Item]:
        while (item := handed.get()) is not _END:
            if isinstance(item, _Failed):
                raise item.error
            yield item
            room.release()

    def work() -> Answer:
        try:
            return take(received())
        finally:
            handed.put(_END)  # for an iterator that is asked again
            gone.append(True)
            room.release()

    gone: list[bool] = []
    with ThreadPoolExecutor(1, "medley-behind") as taker:
        answer = taker.submit(work)
        try:
            for item in items:
                room.acquire()
                if gone:
                    break
                handed.put(item)
            handed.put(_END)
        except BaseException as error:
            handed.put(_Failed(error))
            answer.exception()  # waits
            raise
        return answer.result()


class _Failed:
    """An error on its way from the thread that makes to the one that takes."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
