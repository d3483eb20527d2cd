"""Fault spaces: all faults that could be drawn, with an exact size and an order."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from stoic.faults.formats import Format, format_of
from stoic.faults.models import BitFlip, Corruption, FaultModel, RandomWord, SetValue
from stoic.network.sites import Site

__all__ = ["Block", "Fault", "FaultSpace", "Scope", "chosen_bits", "fault_space"]

Scope = Literal["input", "batch"]


@dataclass(frozen=True)
class Fault:
    """One corruption of one word.

    Args:
        site: Where.
        element: Flat index in row-major order; within one row where ``input`` is
            given, else within the tensor or, for a value with rows, within each row.
        input: The input whose row is hit; nothing where every input is.
        corruption: What happens to the word.
    """

    site: Site
    element: int
    input: int | None
    corruption: Corruption


@dataclass(frozen=True)
class Block:
    """Faults of one site and some of its bits: every element times every corruption.

    Args:
        site: Where.
        bits: Bits that the fault model may touch, ascending.
        model: How.
        inputs: Inputs whose rows are told apart; 0 where a fault hits all of them.
    """

    site: Site
    bits: tuple[int, ...]
    model: FaultModel
    inputs: int

    @cached_property
    def format(self) -> Format:
        """The site's number format."""
        format = format_of(self.site.dtype)
        assert format is not None
        return format

    @cached_property
    def variants(self) -> int:
        """Corruptions of one word."""
        return self.model.count(self.format, self.bits)

    @property
    def size(self) -> int:
        """Number of faults."""
        return max(self.inputs, 1) * self.site.elements * self.variants

    @cached_property
    def _few(self) -> tuple[Corruption, ...] | None:
        """Every corruption, where there are few enough to make them beforehand."""
        few = self.variants <= self.format.width
        return tuple(map(self._made, range(self.variants))) if few else None

    def _made(self, number: int) -> Corruption:
        return self.model.corruption(number, self.format, self.bits)

    def fault(self, position: int) -> Fault:
        """Return the fault at a position: inputs, then elements, then corruptions."""
        place, number = divmod(position, self.variants)
        row, element = divmod(place, self.site.elements)
        corruption = self._few[number] if self._few else self._made(number)
        return Fault(self.site, element, row if self.inputs else None, corruption)


@dataclass(frozen=True)
class FaultSpace:
    """Blocks of faults, which are numbered by the names of their sites.

    So the same positions are the same faults however a network is run: what its depth
    is said to be depends on that.

    Args:
        blocks: None of them empty, no fault in two of them; by depth.
    """

    blocks: tuple[Block, ...]

    @cached_property
    def _numbered(self) -> tuple[Block, ...]:
        return tuple(sorted(self.blocks, key=lambda b: (b.site.name, b.bits)))

    @cached_property
    def _starts(self) -> list[int]:
        return list(itertools.accumulate((b.size for b in self._numbered), initial=0))

    @property
    def size(self) -> int:
        """Number of faults."""
        return self._starts[-1]

    def fault(self, position: int) -> Fault:
        """Return the fault at a position in ``0..size - 1``.

        Raises:
            IndexError: There is no such position.
        """
        if not 0 <= position < self.size:
            raise IndexError(f"position must be in 0..{self.size - 1}, got {position}")
        number = bisect.bisect_right(self._starts, position) - 1
        return self._numbered[number].fault(position - self._starts[number])

    def __iter__(self) -> Iterator[Fault]:
        """Yield every fault in order."""
        for block in self._numbered:
            yield from map(block.fault, range(block.size))

    def split(self, key: Callable[[Block], str]) -> dict[str, FaultSpace]:
        """Return the strata of the space by a key of its blocks."""
        groups: dict[str, list[Block]] = {}
        for block in self._numbered:
            groups.setdefault(key(block), []).append(block)
        return {name: FaultSpace(tuple(blocks)) for name, blocks in groups.items()}

    def by_bit(self) -> FaultSpace:
        """Return the same faults in blocks of one bit each.

        Raises:
            ValueError: The fault model touches several bits at once.
        """
        blocks = []
        for block in self.blocks:
            alone = [
                Block(block.site, (b,), block.model, block.inputs) for b in block.bits
            ]
            if sum(part.size for part in alone) != block.size:
                name = block.model.as_record()["name"]
                raise ValueError(
                    "strata by bit must have a fault model of single bits, "
                    f"got {name}; stratify by site"
                )
            blocks += alone
        return FaultSpace(tuple(blocks))


def fault_space(
    sites: Sequence[Site],
    *,
    bits: str = "all",
    model: FaultModel | None = None,
    inputs: int,
    scope: Scope = "input",
) -> FaultSpace:
    """Return the space of a fault model over some sites.

    Args:
        sites: Where; those without a format of words are refused.
        bits: Numbers, ranges and roles: ``30``, ``0-22``, ``exponent,31``, ``all``.
        model: How; one flipped bit by default.
        inputs: Number of inputs of the campaign.
        scope: Whether a fault in a value with rows hits one input or every input.

    Raises:
        ValueError: A bit is outside its word, or no fault is left.
    """
    model = model or BitFlip()
    blocks = []
    for site in sites:
        format = format_of(site.dtype)
        if format is None:
            raise ValueError(
                f"site {site.name} must have a number format with words, "
                f"got {site.dtype}; leave it out"
            )
        rows = inputs if site.per_input and scope == "input" else 0
        block = Block(site, chosen_bits(bits, format, site.name), model, rows)
        if block.size:
            blocks.append(block)
    if bits.strip() != "all" and isinstance(model, SetValue | RandomWord):
        raise ValueError(
            f"bits must be all for a fault model that replaces the word, got {bits!r}"
        )
    if not blocks:
        named = " ".join(map(str, model.as_record().values()))
        raise ValueError(
            f"a fault space must hold at least 1 fault, got 0 of model {named} in "
            f"{len(sites)} sites and bits {bits!r}; choose more sites or other bits"
        )
    return FaultSpace(tuple(blocks))


def chosen_bits(text: str, format: Format, where: str) -> tuple[int, ...]:
    """Return the bits of a word that a text names, ascending.

    A role that the format lacks names no bit; a number outside the word is refused.

    Raises:
        ValueError: A bit outside the word, or a word that is neither bit nor role.
    """
    chosen: set[int] = set()
    for part in (piece.strip() for piece in text.split(",")):
        if part == "all":
            chosen.update(range(format.width))
        elif part in _ROLES:
            chosen.update(b for b, role in enumerate(format.roles) if role == part)
        else:
            chosen.update(_numbers(part, format, where))
    return tuple(sorted(chosen))


_ROLES = ("sign", "exponent", "mantissa", "magnitude")


def _numbers(part: str, format: Format, where: str) -> range:
    low, dash, high = part.partition("-")
    try:
        first, last = int(low), int(high if dash else low)
    except ValueError:
        raise ValueError(
            f"bits must be numbers, ranges like 0-22, 'all' or roles "
            f"{', '.join(_ROLES)}, got {part!r}"
        ) from None
    if not 0 <= first <= last < format.width:
        raise ValueError(
            f"bits must be in 0..{format.width - 1} for {where} ({format.name}), "
            f"got {part}"
        )
    return range(first, last + 1)
