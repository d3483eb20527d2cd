"""Scenes as a table by column, for kinds of scenes that need no more than that."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from stoic.cases import chance
from stoic.cases.afflicted.cause import Cause

__all__ = ["Column", "Range", "Table", "afflict", "nominal", "reset"]

Column = Float64[Tensor, " scene"]
Range = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Table:
    """Scenes, one row each; every parameter is drawn from the seed in its row.

    Args:
        seed: Of each scene.
        label: The right class.
        columns: Its parameters, by name.
        ranges: Of every parameter in a nominal scene.
    """

    seed: Int64[Tensor, " scene"]
    label: Int64[Tensor, " scene"]
    columns: Mapping[str, Column]
    ranges: Mapping[str, Range]

    def __len__(self) -> int:
        return len(self.seed)

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]

    def rows(self, index: slice | Tensor) -> "Table":
        """Return the table of the rows that ``index`` picks."""
        columns = {name: column[index] for name, column in self.columns.items()}
        return Table(self.seed[index], self.label[index], columns, self.ranges)


def nominal(
    count: int, series: int, *, classes: int, ranges: Mapping[str, Range]
) -> Table:
    """Draw the first ``count`` scenes of a series, all classes in turn."""
    seed = chance.seeds(count, seed=series)
    columns = {name: chance.between(seed, name, *ends) for name, ends in ranges.items()}
    return Table(seed, torch.arange(count) % classes, columns, ranges)


def afflict(table: Table, cause: Cause, where: Bool[Tensor, " scene"]) -> Table:
    """Give ``cause`` to the scenes ``where`` it is wanted."""
    return _with(table, cause, cause.severity(table.seed), where)


def reset(table: Table, cause: Cause, where: Bool[Tensor, " scene"]) -> Table:
    """Take ``cause`` away: its parameter gets the value that its seed says."""
    healthy = chance.between(table.seed, cause.column, *table.ranges[cause.column])
    return _with(table, cause, healthy, where)


def _with(
    table: Table, cause: Cause, values: Column, where: Bool[Tensor, " scene"]
) -> Table:
    column = torch.where(where, values, table[cause.column])
    return replace(table, columns={**table.columns, cause.column: column})
