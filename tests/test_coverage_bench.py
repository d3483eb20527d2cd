"""The coverage study: its replays are campaigns, its limits those of the binomial."""

from pathlib import Path

import pytest
from benchmarks.coverage import limit, replayed
from benchmarks.truths import Network, load
from scipy.stats import binomtest

import stoic
from stoic.plans import Adaptive

SITES, HALF_WIDTH = "conv1.weight", 0.01


@pytest.mark.slow
def test_a_replay_is_the_campaign_itself(tmp_path: Path) -> None:
    case = stoic.load("digits", 4)
    network = Network("digits", 4, SITES, per_trial=2)
    network.truth().save(tmp_path / "truth.npz")
    truth = load(tmp_path / "truth.npz")

    measured = stoic.pvf(
        case.network,
        case.inputs,
        case.labels,
        sites=SITES,
        mode="fast",
        half_width=HALF_WIDTH,
        inputs_per_fault=2,
        seed=3,
        out=tmp_path / "run",
    )
    plan = Adaptive(HALF_WIDTH, guaranteed=True, per_trial=2)
    trials, value, low, high, _ = replayed(truth, plan, 3, peek=True)

    real = measured.pvf
    assert trials > plan.pilot
    assert (trials, value, low, high) == (real.n, real.value, real.low, real.high)


def test_limits_of_a_share_are_those_of_the_binomial() -> None:
    for count, of in ((0, 7), (3, 7), (7, 7), (285, 300)):
        exact = binomtest(count, of).proportion_ci(0.98, method="exact")

        found = limit(count, of, 0.01), limit(count, of, 0.99)

        assert found == pytest.approx((exact.low, exact.high))
