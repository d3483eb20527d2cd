"""Workers: who makes stages, this process or several others."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import Empty
from typing import Any, Protocol

from stoic.causes.stages import Made

__all__ = ["Workers", "working"]

_ONE_THREAD = {
    name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
}


class Workers(Protocol):
    """Makes stages in the order in which they are submitted."""

    def submit(self, make: Callable[..., Made], *given: object) -> Future[Made]:
        """Promise what a call will return."""
        ...

    def some(self, promised: Collection[Future[Made]]) -> Collection[Future[Made]]:
        """Return promises that are kept by now, at least one."""
        ...


@contextmanager
def working(processes: int) -> Iterator[Workers]:
    """Hold processes that work inside the block; one is this one.

    They end with the block, whatever they are doing. They start without this
    process's main module, so that a script needs no guard against running twice.
    """
    if processes == 1:
        yield _Here()
        return
    from joblib.externals.loky import ProcessPoolExecutor

    pool = ProcessPoolExecutor(
        processes, env=_ONE_THREAD, initializer=_begin, initargs=(os.getpid(),)
    )
    try:
        yield _Elsewhere(pool)
    except BaseException:
        # Killed with calls in its queue, loky looks for them where they are no more.
        with suppress(Empty):
            while True:
                pool._work_ids.get_nowait()
        pool.shutdown(wait=True, kill_workers=True)
        raise
    # Not killed where nothing is left to do: Python would warn of locks left behind.
    pool.shutdown(wait=True)


def _begin(parent: int) -> None:
    """Let this process live as long as the one that it works for, and no longer."""
    from joblib.externals.loky import process_executor

    # Where psutil is there, loky takes UMAP's compiled code for a leak of memory, ends
    # the worker with a warning, and the next one compiles all of it again.
    process_executor._USE_PSUTIL = False

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@dataclass(frozen=True, eq=False)
class _Here:
    """This process, which works when it is waited for."""

    calls: deque[tuple[Future[Made], Callable[[], Made]]] = field(default_factory=deque)

    def submit(self, make: Callable[..., Made], *given: Any) -> Future[Made]:
        future: Future[Made] = Future()
        self.calls.append((future, lambda: make(*given)))
        return future

    def some(self, promised: Collection[Future[Made]]) -> Collection[Future[Made]]:
        future, call = self.calls.popleft()
        future.set_result(call())
        return [future]


@dataclass(frozen=True, eq=False)
class _Elsewhere:
    """Other processes."""

    pool: Executor

    def submit(self, make: Callable[..., Made], *given: Any) -> Future[Made]:
        return self.pool.submit(make, *given)

    def some(self, promised: Collection[Future[Made]]) -> Collection[Future[Made]]:
        return wait(promised, return_when=FIRST_COMPLETED).done
