"""What two benchmarks count: right answers, and false alarms that are chance."""

import numpy as np
import pytest
import torch
from benchmarks import accuracy, promises
from scipy.stats import binom
from torch import nn

from stoic.monitors.alarm import calibrated
from stoic.monitors.bounds import bounds_of


def test_right_answers_are_those_whose_best_class_is_the_label() -> None:
    network = nn.Identity()
    parts = [
        (torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([1, 1])),
        (torch.tensor([[0.0, 5.0]]), torch.tensor([1])),
    ]
    assert accuracy.named_right(network, iter(parts)).tolist() == [True, False, True]


@pytest.mark.parametrize("right", [0, 7, 10])
def test_ends_of_an_accuracy_leave_what_was_seen_to_one_draw_in_forty(
    right: int,
) -> None:
    found = accuracy.accuracy("any", right, 10)
    assert found.low <= found.value <= found.high
    if right:
        assert binom.sf(right - 1, 10, found.low) == pytest.approx(0.025)
    if right < 10:
        assert binom.cdf(right, 10, found.high) == pytest.approx(0.025)


def test_chance_is_between_which_rates_calibrated_alarms_are() -> None:
    chance, rates = np.random.default_rng(0), []
    for _ in range(400):
        learnt, fresh = np.split(chance.random((50 + 99, 1), np.float32), [50])
        alarm = calibrated(fresh, bounds_of([learnt]), 0.05)
        # Of uniform numbers, the rate is what lies outside of the span.
        inside = np.clip(alarm.high[0], 0, 1) - np.clip(alarm.low[0], 0, 1)
        rates.append(1 - inside)
    low, high = promises.chance(0.05, 99)
    within = np.mean((np.array(rates) >= low) & (np.array(rates) <= high))
    assert 0.92 < within < 0.98
