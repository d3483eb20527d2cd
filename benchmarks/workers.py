"""Tools in processes of their own: none changes another's allocator or memory.

Stoic keeps freed memory in the process while it runs. In one process with it, the other
tools would be faster or slower than by themselves.
"""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Generic, Protocol, TypeVar

from benchmarks.stoic_side import keeping_memory
from benchmarks.verdicts import Codes

__all__ = ["Here", "Make", "Runner", "Tool", "Tools", "started"]

F = TypeVar("F")
G = TypeVar("G", contravariant=True)


class Tool(Protocol[G]):
    """Something that runs faults."""

    name: str
    setup_s: float

    def run(self, faults: Sequence[G]) -> list[Codes]:
        """Return what came of each fault, in the order given."""
        ...


class Runner(Protocol[G]):
    """A tool, wherever it runs."""

    @property
    def name(self) -> str:
        """Of the tool."""
        ...

    @property
    def setup_s(self) -> float:
        """Seconds that it took to be made."""
        ...

    def lap(self, faults: Sequence[G]) -> tuple[list[Codes], float]:
        """Return what came of each fault, and the seconds that it took in all."""
        ...


Tools = dict[str, Tool[Any]]
Make = Callable[[Any, tuple[str, ...]], Tools]
"""Makes tools by name from what the benchmark was given."""


@dataclass(frozen=True)
class Here(Generic[F]):
    """A tool in this process."""

    tool: Tool[F]

    @property
    def name(self) -> str:
        """Of the tool."""
        return self.tool.name

    @property
    def setup_s(self) -> float:
        """Seconds that it took to be made."""
        return self.tool.setup_s

    def lap(self, faults: Sequence[F]) -> tuple[list[Codes], float]:
        """Run faults and time it."""
        begun = time.perf_counter()
        codes = self.tool.run(faults)
        return codes, time.perf_counter() - begun


@dataclass(frozen=True)
class _There(Generic[F]):
    """A tool in another process, by its name there."""

    name: str
    setup_s: float
    pipe: Connection

    def lap(self, faults: Sequence[F]) -> tuple[list[Codes], float]:
        """Have faults run there; the way to and fro is not timed."""
        self.pipe.send((self.name, list(faults)))
        codes, seconds = _answer(self.pipe)
        return codes, seconds


@contextmanager
def started(
    make: Make, given: Any, groups: Mapping[tuple[str, ...], bool]
) -> Iterator[list[Runner[Any]]]:
    """Make tools in processes of their own, one process per group.

    Args:
        make: A function of a module, called in the new process.
        given: What it gets; plain data.
        groups: Names of the tools of each process, and whether it keeps freed memory.
    """
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    runners: list[Runner[Any]] = []
    try:
        for names, keep in groups.items():
            pipe, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, make, given, names, keep), daemon=True
            )
            process.start()
            theirs.close()
            pipes.append(pipe)
            processes.append(process)
            setups = _answer(pipe)
            runners += [_There(name, setups[name], pipe) for name in names]
        yield runners
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.join(timeout=20)
            if process.is_alive():
                process.terminate()


def _answer(pipe: Connection) -> Any:
    try:
        answer = pipe.recv()
    except EOFError:
        raise RuntimeError("a tool's process has died; memory may be short") from None
    if isinstance(answer, str):
        raise RuntimeError(f"a tool failed in its process:\n{answer}")
    return answer


def _serve(
    pipe: Connection, make: Make, given: Any, names: tuple[str, ...], keep: bool
) -> None:
    """Make tools and run what is asked for until the other side hangs up."""
    with keeping_memory() if keep else nullcontext():
        try:
            tools = {name: Here(tool) for name, tool in make(given, names).items()}
            pipe.send({name: tool.setup_s for name, tool in tools.items()})
            while True:
                name, faults = pipe.recv()
                pipe.send(tools[name].lap(faults))
        except (EOFError, BrokenPipeError, KeyboardInterrupt):
            return
        except Exception:
            pipe.send(traceback.format_exc())
