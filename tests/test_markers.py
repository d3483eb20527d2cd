"""Markers against slow restatements, and on what breaks others."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stoic.monitors.markers import (
    DECILES,
    ChannelQuantiles,
    ChannelSums,
    Extremes,
    Marker,
    Moments,
    NonFinite,
    Quantiles,
    as_record,
    marker_of,
    quantiles,
)
from stoic.monitors.ordered import at_places

MARKERS: list[Marker] = [
    ChannelQuantiles(),
    ChannelQuantiles((0.9, 0.0)),
    ChannelSums(5),
    Quantiles(),
    Quantiles((0.25, 0.9), 7),
    Extremes(),
    Moments(),
    NonFinite(),
]


def value(dtype: torch.dtype = torch.float32) -> Tensor:
    return (10 * torch.randn(3, 5, 6, 4)).to(dtype)


def one_by_one(marker: Marker, batch: Tensor) -> list[list[float]]:
    """Each marker as a person would compute it, input by input, in NumPy."""
    rows: list[list[float]] = []
    for own in batch.float().numpy():
        sums = [float(np.sum(channel, dtype=np.float64)) for channel in own]
        if isinstance(marker, ChannelQuantiles):
            rows.append([float(np.quantile(sums, level)) for level in marker.levels])
        elif isinstance(marker, ChannelSums):
            rows.append(sums)
        elif isinstance(marker, Quantiles):
            some = own.ravel()[:: marker.stride]
            rows.append([float(np.quantile(some, level)) for level in marker.levels])
        elif isinstance(marker, Extremes):
            rows.append([float(own.min()), float(own.max())])
        elif isinstance(marker, Moments):
            rows.append([float(own.mean()), float((own.astype(float) ** 2).mean())])
        else:
            rows.append([float((~np.isfinite(own)).sum())])
    return rows


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("marker", MARKERS, ids=str)
def test_a_marker_is_what_a_person_would_compute(
    marker: Marker, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    batch = value(dtype)

    found = marker(batch.contiguous(memory_format=layout), 1)

    assert found.dtype == torch.float32
    assert found.shape == (3, len(marker.names))
    assert np.allclose(found, one_by_one(marker, batch), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("marker", MARKERS, ids=str)
def test_an_input_is_told_the_same_alone_and_in_a_batch(marker: Marker) -> None:
    batch = value()

    rows = torch.cat([marker(batch[i : i + 1], 1) for i in range(3)])

    assert torch.allclose(rows, marker(batch, 1))


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("marker", MARKERS, ids=str)
def test_what_is_no_number_stays_in_its_own_input(
    marker: Marker, broken: float
) -> None:
    batch = value()
    golden = marker(batch, 1)
    batch[1, 2, 3, 0] = broken

    found = marker(batch, 1)

    assert torch.equal(found[[0, 2]], golden[[0, 2]])
    if isinstance(marker, NonFinite):
        assert found[1] == 1
    elif not isinstance(marker, Quantiles | ChannelQuantiles):
        assert not found[1].isfinite().all()


def test_a_nan_stands_above_all_numbers() -> None:
    numbers = torch.tensor([[3.0, math.nan, 1.0, 2.0, -math.inf]])

    found = quantiles(numbers, (0.0, 0.25, 0.5, 0.75, 1.0))

    assert found[0, :4].tolist() == [-math.inf, 1.0, 2.0, 3.0]
    assert found[0, 4].isnan()
    assert quantiles(numbers, (0.0,)).tolist() == [[-math.inf]]


@pytest.mark.parametrize("levels", [(0.0, 1.0), DECILES, (1.0, 0.3, 0.0)])
def test_fewer_levels_give_the_same_numbers(levels: tuple[float, ...]) -> None:
    numbers = torch.randn(20, 33)
    numbers[3, 5], numbers[4, 6] = math.inf, math.nan

    together = quantiles(numbers, levels)

    for place, level in enumerate(levels):
        alone = quantiles(numbers, (level,))[:, 0]
        assert torch.equal(alone.nan_to_num(7.0), together[:, place].nan_to_num(7.0))


def test_more_numbers_than_torch_takes() -> None:
    many = torch.arange(2**24 + 3, dtype=torch.float32)[None, None]

    found = Quantiles((0.0, 0.5, 1.0))(many, 1)

    assert found.tolist() == [[0.0, float(2**23 + 1), float(2**24 + 2)]]


@pytest.mark.parametrize("marker", MARKERS, ids=str)
def test_a_marker_can_be_recorded(marker: Marker) -> None:
    assert marker_of(as_record(marker)) == marker


def test_an_unknown_marker_is_refused() -> None:
    with pytest.raises(ValueError, match="marker must be one of .*, got 'spectrum'"):
        marker_of({"kind": "spectrum"})


@pytest.mark.parametrize("marker", MARKERS, ids=str)
def test_a_marker_can_be_exported(marker: Marker) -> None:
    class Network(torch.nn.Module):
        def forward(self, x: Tensor) -> Any:
            return marker(x, 1)

    batch = value()
    rows = torch.export.Dim("rows", min=1)
    exported = torch.export.export(Network(), (batch,), dynamic_shapes=({0: rows},))

    assert torch.equal(exported.module()(batch[:2]), marker(batch[:2], 1))


def test_numbers_at_places_are_those_of_a_sorted_row() -> None:
    numbers = torch.randn(5, 40)
    numbers[1, 3], numbers[2, :9], numbers[3, :] = math.nan, math.inf, -math.inf
    numbers[4, ::2] = math.nan
    before, places = numbers.clone(), [0, 39, 7, 7, 20]

    found = at_places(numbers.requires_grad_(), places)

    for row, own in zip(before.tolist(), found, strict=True):
        rising = sorted(row, key=lambda x: (math.isnan(x), x))
        wanted = torch.tensor([rising[place] for place in places])
        torch.testing.assert_close(own, wanted, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(numbers.detach(), before, rtol=0, atol=0, equal_nan=True)
    assert not found.requires_grad
