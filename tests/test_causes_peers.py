"""Peers: one contract, and each against what its paper says, slowly."""

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import adjusted_rand_score
from torch import nn

from stoic.causes.failures import Examples, Failures, Inquiry
from stoic.causes.peers import (
    PEERS,
    Directions,
    Domino,
    Evidence,
    Peer,
    PlaneSpot,
    Softmax,
    Underperforming,
    gather,
)
from stoic.causes.peers.domino import TINY, Mixture, fit_mixture
from stoic.causes.peers.planespot import ranked
from stoic.causes.peers.underperforming import group_scores, groups_of
from stoic.causes.pipeline import NOISE, Features

CLASSES = 3


def evidence(each: int = 15, width: int = 6) -> Evidence:
    """Three kinds of failures, far apart, and right images of three classes."""
    rng = np.random.default_rng(0)
    kinds = np.repeat(np.arange(3), each)
    labels = np.concatenate([kinds, kinds])
    features = 0.3 * rng.normal(size=(6 * each, width))
    features[np.arange(3 * each), kinds] += 6
    features[np.arange(3 * each, 6 * each), 3 + kinds] += 6
    said = np.concatenate([(kinds + 1) % CLASSES, kinds])
    scores = 4 * np.eye(CLASSES)[said] + 0.2 * rng.normal(size=(6 * each, CLASSES))
    return Evidence(
        features.astype(np.float32), labels, scores.astype(np.float32), 3 * each
    )


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_clusters_the_failures_and_does_so_again(peer: Peer) -> None:
    known = evidence()
    before = known.features.copy()
    found, again = peer(known, 3), peer(known, 3)

    assert found.labels.shape == (known.failures,)
    assert found.labels.dtype == np.int64
    assert found.labels.tolist() == again.labels.tolist()
    assert found.chosen == again.chosen
    assert all(math.isfinite(float(value)) for value in found.chosen.values())
    sizes = [len(found.members(each)) for each in range(found.count)]
    assert sizes == sorted(sizes, reverse=True) and all(size >= 5 for size in sizes)
    assert np.array_equal(known.features, before)
    assert type(peer).__name__ in repr(peer)


@pytest.mark.parametrize(
    "peer", [Domino(parts=9), PlaneSpot(), Directions(), Softmax(least=2)]
)
def test_kinds_that_differ_in_all_ways_are_found(peer: Peer) -> None:
    known = evidence()
    found = peer(known, 0)
    kinds = known.labels[: known.failures]
    assert adjusted_rand_score(kinds, found.labels) > 0.95


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_takes_five_failures_that_are_all_the_same(peer: Peer) -> None:
    features = np.zeros((9, 4), np.float32)
    features[5:] = np.eye(4)
    scores = np.zeros((9, 2), np.float32)
    scores[:5, 1] = 2
    scores[5:, 0] = 2
    found = peer(Evidence(features, np.zeros(9, np.int64), scores, 5), 0)
    assert found.labels.shape == (5,)
    assert len(set(found.labels.tolist())) == 1


def test_features_that_are_not_finite_are_refused() -> None:
    known = evidence()
    broken = known.features.copy()
    broken[3, 2] = np.nan
    with pytest.raises(ValueError, match="features must be finite"):
        Evidence(broken, known.labels, known.scores, known.failures)


def test_evidence_goes_through_the_extractor_together() -> None:
    class Mean:
        name = "mean"

        def __call__(self, inquiry: Inquiry, seed: int) -> Features:
            wide = inquiry.failures.images.flatten(1).numpy()
            return np.asarray(wide - wide.mean(axis=0), np.float32)

    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    images, others = torch.randn(3, 1, 2, 2), torch.randn(5, 1, 2, 2)
    with torch.inference_mode():
        scores, said = network(images).numpy(), network(others).numpy()
    inquiry = Inquiry(
        network,
        Failures(images, np.zeros(3, np.int64), scores, ("a", "b", "c"), {}),
        Examples(others, np.ones(5, np.int64)),
        torch.zeros(1),
        torch.ones(1),
    )
    found = gather(inquiry, Mean(), 0)

    wide = torch.cat([images, others]).flatten(1).numpy()
    assert np.allclose(found.features, wide - wide.mean(axis=0), atol=1e-6)
    assert np.allclose(found.scores, np.concatenate([scores, said]), atol=1e-6)
    assert found.labels.tolist() == [0] * 3 + [1] * 5
    assert found.failures == 3


def mixture_restated(
    mixture: Mixture, point: np.ndarray, label: int, said: np.ndarray, weight: float
) -> list[float]:
    """The density of each part at one image, feature by feature."""
    found = []
    for part in range(len(mixture.weights)):
        log = math.log(mixture.weights[part])
        for value, mean, variance in zip(
            point, mixture.means[part], mixture.variances[part], strict=True
        ):
            log += float(norm.logpdf(value, mean, math.sqrt(variance)))
        agree = sum(said[c] * mixture.said[part, c] for c in range(len(said)))
        log += weight * (math.log(mixture.labels[part, label] + TINY))
        log += weight * math.log(agree + TINY)
        found.append(log)
    return found


def test_the_mixture_is_that_of_its_paper() -> None:
    rng = np.random.default_rng(0)
    points, said = rng.normal(size=(20, 3)), rng.dirichlet(np.ones(4), 20)
    labels = rng.integers(0, 4, 20)
    hot = np.eye(4)[labels]
    shares = rng.dirichlet(np.ones(5), 20)
    mixture = Mixture.of(shares, points, hot, said)
    logs = mixture.logs(points, hot, said, 10.0)

    for row in range(20):
        slow = mixture_restated(mixture, points[row], int(labels[row]), said[row], 10.0)
        assert logs[row].tolist() == pytest.approx(slow)
    for part in range(5):
        own = shares[:, part] / shares[:, part].sum()
        mean = (own[:, None] * points).sum(0)
        variance = (own[:, None] * (points - mean) ** 2).sum(0) + 1e-6
        assert np.allclose(mixture.means[part], mean)
        assert np.allclose(mixture.variances[part], variance)
        assert np.allclose(mixture.labels[part], (own[:, None] * hot).sum(0))
        assert np.allclose(mixture.said[part], (own[:, None] * said).sum(0))


def test_each_step_of_the_mixture_is_more_likely() -> None:
    known = evidence()
    points, said = known.standardised(), known.chances
    rng = np.random.default_rng(1)
    shares = rng.dirichlet(np.ones(4), len(points))
    _, _, course = fit_mixture(
        shares, points, np.eye(3)[known.labels], said, weight=1.0, tolerance=0
    )
    assert len(course) > 3
    assert all(after >= before - 1e-9 for before, after in pairwise(course))


def test_only_the_parts_whose_predictions_are_wrong_are_slices() -> None:
    found = Domino(parts=9, slices=2)(evidence(), 0)
    assert found.count == 2
    assert (found.labels == NOISE).sum() == 15


def test_groups_rank_by_errors_times_error_rate() -> None:
    groups = np.array([0] * 4 + [1] * 10 + [2] * 3)
    wrong = np.array([1, 1, 1, 0] + [1] * 5 + [0] * 5 + [1] * 3, bool)
    # 3 * 0.75 = 2.25, 5 * 0.5 = 2.5, 3 * 1 = 3.
    assert ranked(groups, wrong).tolist() == [2, 1, 0]


def test_a_class_without_right_images_has_no_direction() -> None:
    known = evidence()
    kept = np.arange(75)  # All failures, and right images of the first two classes.
    some = Evidence(
        known.features[kept], known.labels[kept], known.scores[kept], known.failures
    )
    found = Directions()(some, 0)
    assert found.count == 2
    assert set(found.labels[30:].tolist()) == {NOISE}


def test_groups_score_by_their_mean_quality() -> None:
    groups = np.array([0] * 5 + [1] * 6 + [2] * 4 + [NOISE] * 3)
    quality = np.linspace(0, 1, len(groups))
    overall = quality[:11].mean()
    scores = group_scores(groups, quality)
    assert scores == pytest.approx(
        {0: quality[:5].mean() / overall, 1: quality[5:11].mean() / overall}
    )
    assert group_scores(np.full(4, NOISE), quality[:4]) == {}


def test_the_worst_group_is_one_of_all_that_count() -> None:
    known = evidence()
    every = Underperforming(worst_only=False, threshold=0.9)(known, 0)
    worst = Underperforming(threshold=0.9)(known, 0)
    assert every.count == 3
    assert worst.count == 1
    assert Underperforming(threshold=0.0)(known, 0).count == 0


@pytest.mark.peers
def test_groups_are_those_of_the_package_they_restate() -> None:
    peer = pytest.importorskip(
        "cleanlab.datalab.internal.issue_manager.underperforming_group"
    )
    known = evidence()
    # What the issue manager asks its laboratory for; that needs more packages.
    laboratory = SimpleNamespace(labels=known.labels, get_info=lambda name: {})
    manager = peer.UnderperformingGroupIssueManager(laboratory, threshold=0.9)
    manager.find_issues(pred_probs=known.chances, features=known.features)

    groups = groups_of(known.features, 10, 0.5)
    theirs = manager.info["clustering"]["stats"]["cluster_ids"]
    assert adjusted_rand_score(theirs, groups) == 1
    # The package scores groups below the mean only; the others keep a score of 1.
    scores = group_scores(groups, known.quality)
    own = [min(scores.get(int(group), 1.0), 1.0) for group in groups]
    score = manager.issues["underperforming_group_score"].to_numpy()
    assert score.tolist() == pytest.approx(own)
