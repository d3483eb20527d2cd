"""Failures and clusters: rows stay together, small clusters are noise."""

import numpy as np
import pytest
import torch

from stoic.causes.failures import Failures
from stoic.causes.pipeline import NOISE, Clusters


def failures(count: int = 4) -> Failures:
    places = np.arange(count)
    return Failures(
        images=torch.arange(float(count)).reshape(-1, 1, 1, 1),
        labels=places,
        scores=np.eye(count, dtype=np.float32),
        names=tuple(f"{place}.png" for place in places),
        recorded={"yaw": places * 10.0},
        scenarios=places.astype(str),
    )


def test_rows_take_all_that_is_known_along() -> None:
    some = failures().rows(np.array([False, True, False, True]))
    assert some.images.flatten().tolist() == [1, 3]
    assert some.names == ("1.png", "3.png")
    assert some.recorded["yaw"].tolist() == [10, 30]
    assert some.predicted.tolist() == some.labels.tolist() == [1, 3]


def test_a_column_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="names must have one row for each of the 4"):
        Failures(
            torch.zeros(4, 1, 1, 1),
            np.zeros(4, np.int64),
            np.eye(4, dtype=np.float32),
            ("a",),
            {},
        )


def test_clusters_are_by_size_and_small_ones_are_noise() -> None:
    labels = np.array([3] * 5 + [7] * 9 + [2] * 4 + [NOISE] * 6)
    found = Clusters.of(labels, {})
    assert found.labels.tolist() == [1] * 5 + [0] * 9 + [NOISE] * 10
    assert found.count == 2
    assert found.members(1).tolist() == [0, 1, 2, 3, 4]
