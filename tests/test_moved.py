"""By how much outputs moved, against loops over their values."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from stoic.campaign.moved import gaps

INPUTS = 3


def scores(dtype: torch.dtype) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "first": torch.randn(INPUTS, 2, 2, dtype=torch.float64).to(dtype),
        "of_all": torch.randn(3, 2, dtype=torch.float64).to(dtype).flatten(),
        "last": torch.randn(INPUTS, 4, dtype=torch.float64).to(dtype),
    }


def values(output: dict[str, Tensor], row: int) -> list[float]:
    """All values of an input, over the tensors of the output."""
    parts = [t[row] if len(t) == INPUTS else t for t in output.values()]
    return [value for part in parts for value in part.reshape(-1).tolist()]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize(
    "broken",
    [
        [],
        [("last", (1, 2), math.inf), ("last", (1, 3), math.nan)],
        [("first", (0, 1, 1), -math.inf), ("last", (0, 0), math.nan)],
        [("of_all", (4,), math.nan), ("first", (2, 0, 0), math.inf)],
    ],
)
def test_where_values_turn_non_finite(
    dtype: torch.dtype, broken: list[tuple[str, tuple[int, ...], float]]
) -> None:
    golden = scores(dtype)
    faulty = {name: t + 0.5 for name, t in golden.items()}
    for name, place, value in broken:
        faulty[name][place] = value

    moved = gaps(golden, faulty, INPUTS)

    for row in range(INPUTS):
        before, after = values(golden, row), values(faulty, row)
        at = [i for i, value in enumerate(after) if not math.isfinite(value)]
        finite = [
            abs(b - a) for a, b in zip(before, after, strict=True) if math.isfinite(b)
        ]
        assert moved.nonfinite[row] == len(at)
        assert moved.nonfinite_at[row] == (at[0] if at else -1)
        assert moved.deviation[row] == np.float32(max(finite))


def test_what_was_not_finite_before_did_not_turn() -> None:
    golden = torch.tensor([[math.nan, 1.0], [2.0, 3.0]])
    faulty = torch.tensor([[math.nan, math.inf], [2.0, 3.0]])

    moved = gaps(golden, faulty, 2)

    assert moved.nonfinite.tolist() == [1, 0]
    assert moved.nonfinite_at.tolist() == [1, -1]


def test_some_rows_are_told_like_all() -> None:
    golden, faulty = torch.zeros(4, 3), torch.ones(4, 3)
    faulty[2, 1] = math.nan

    moved = gaps(golden, faulty, 4, torch.tensor([1, 2]))

    assert moved.nonfinite_at.tolist() == [-1, 1]
    assert moved.deviation.tolist() == [1.0, 1.0]
