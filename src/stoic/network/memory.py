"""Memory and threads between trials.

Freed memory is kept by the process instead of given back to the system.

Each large tensor is otherwise fresh from the system, which must clear every page of it:
where page faults are slow, that costs more than the arithmetic.
"""

from __future__ import annotations

import ctypes
import gc
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

__all__ = [
    "is_out_of_memory",
    "kept_memory",
    "now",
    "one_thread",
    "second_time",
    "settled_objects",
]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_NEVER = (1 << 31) - 1
# Thresholds that were set follow what is freed no longer. These are where they go by
# themselves when large tensors are: the first ones would make all tensors fresh.
_LAST_MMAP, _LAST_TRIM = 1 << 25, 1 << 26
_TUNED = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")


@contextmanager
def kept_memory() -> Iterator[None]:
    """Let the process keep freed memory inside the block, where glibc is the allocator.

    Afterwards what is unused is given back, and thresholds are those that glibc comes
    to by itself. Nothing is done where the environment sets them.
    """
    library = _glibc()
    if library is None or _is_tuned():
        yield
        return
    library.mallopt(_MMAP_THRESHOLD, 1 << 30)
    library.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        library.mallopt(_MMAP_THRESHOLD, _LAST_MMAP)
        library.mallopt(_TRIM_THRESHOLD, _LAST_TRIM)
        library.malloc_trim(0)


def _is_tuned() -> bool:
    """Say whether somebody chose thresholds: what they were cannot be asked for."""
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return "glibc.malloc." in tunables or any(name in os.environ for name in _TUNED)


@contextmanager
def settled_objects(*, collected: bool = True) -> Iterator[None]:
    """Spare the garbage collector what is there already: PyTorch alone is a million.

    Campaigns make so many small objects that it would look them through often.

    Args:
        collected: Whether garbage is collected first; that takes a tenth of a second.
    """
    if gc.get_freeze_count():
        # Somebody else's: they would be thawed together.
        yield
        return
    if collected:
        gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    known = all(hasattr(library, name) for name in ("mallopt", "malloc_trim"))
    return library if known and hasattr(library, "gnu_get_libc_version") else None


def now() -> float:
    """Return the time in seconds once all that was asked of a GPU is done."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error is about memory: PyTorch has not always a type for it."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, torch.AcceleratorError):
        return "out of memory" in str(error)
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def second_time(run: Callable[[], object]) -> float:
    """Return the seconds that something takes once it is warm; endless if it raises."""
    try:
        run()
        begun = now()
        run()
        return now() - begun
    except Exception:
        # Trials alone will tell whether that is the network's crash.
        return math.inf


@contextmanager
def one_thread() -> Iterator[None]:
    """Run many small operators without waiting for other threads at each of them.

    Only where last bits do not matter, or operators work element by element.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
