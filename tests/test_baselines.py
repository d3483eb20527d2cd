"""Baselines: each detector against a slow restatement, all against their contract."""

from __future__ import annotations

import copy
import itertools
import math
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax
from scipy.stats import wasserstein_distance
from sklearn.covariance import LedoitWolf
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from torch import nn

import networks
from networks import Builder, convolutions, gpt2, resnet, subject_of, tied, vit
from stoic.faults.models import BitFlip
from stoic.faults.space import Fault, fault_space
from stoic.monitors.baselines import (
    Detector,
    fit_confidence,
    fit_energy,
    fit_excess,
    fit_mahalanobis,
    fit_ranger,
    fit_signatures,
    fit_tracing,
    fit_trivial,
)
from stoic.monitors.baselines.mahalanobis import FEWEST
from stoic.monitors.baselines.signatures import moved
from stoic.monitors.baselines.tracing import standardised
from stoic.monitors.checksum import (
    Checksums,
    checksums_of,
    fit_checksums,
)
from stoic.monitors.traces import MEMORY, NOTHING, Origin, Traces
from stoic.network.captured import CapturedBench, CapturedSubject
from stoic.network.prepare import prepare
from stoic.network.sites import Site
from stoic.network.subject import Inputs

LEVELS = (0, 25, 50, 100)
FEATURES = tuple(
    f"{name} of {value}"
    for value in ("conv:out", "head:out")
    for name in (
        *(f"q{level}" for level in LEVELS),
        "least",
        "largest",
        *("sum 0", "sum 1", "sum 2"),
        "checksum excess",
    )
)


def fit_traced(traces: Traces) -> Detector:
    labels = np.where(traces.origin.failed, 1 + (traces.origin.kind != MEMORY), 0)
    return fit_tracing(traces, labels, hidden=(6,), rounds=20)


DETECTORS: dict[str, Callable[[Traces], Detector]] = {
    "trivial": fit_trivial,
    "ranger": fit_ranger,
    "feature-map tracing": fit_traced,
    "softmax confidence": fit_confidence,
    "energy": fit_energy,
    "mahalanobis": fit_mahalanobis,
    "signatures": fit_signatures,
    "checksums": fit_excess,
}
every_detector = pytest.mark.parametrize("name", DETECTORS)


@pytest.fixture
def traces() -> Traces:
    """A hundred clean rows, as many with a flip, as many with noise; none broken."""
    chance = np.random.default_rng(0)
    kind = np.repeat([NOTHING, MEMORY, "noise"], 100)
    failed = (kind != NOTHING) & (chance.random(300) < 0.5)
    values = chance.normal(size=(300, len(FEATURES)))
    values[failed] *= np.where(kind[failed] == MEMORY, 1e6, 5)[:, None]
    origin = Origin.of(
        np.tile(np.arange(100), 3),
        failed,
        np.zeros(300, np.bool_),
        kind=kind.tolist(),  # type: ignore[arg-type]
    )
    scores = chance.normal(size=(300, 4)) * 3
    ordered = np.array(values, np.float32)
    for first in (0, len(FEATURES) // 2):
        ordered[:, first : first + 4].sort(1)
        ordered[:, first + 4 : first + 6].sort(1)
    return Traces(FEATURES, ordered, scores.astype(np.float32), origin)


def clean(traces: Traces) -> Traces:
    return traces.rows(traces.origin.kind == NOTHING)


# The contract.


@every_detector
def test_scores_are_one_number_per_row(name: str, traces: Traces) -> None:
    detector = DETECTORS[name](traces)

    score = detector.score(traces)

    assert detector.name == name
    assert set(detector.features) <= set(traces.features)
    assert score.dtype == np.float32 and score.shape == (300,)
    assert not np.isnan(score).any()


@every_detector
def test_a_row_is_scored_as_if_it_were_alone(name: str, traces: Traces) -> None:
    detector = DETECTORS[name](traces)
    chosen = np.array([250, 3, 120])

    few = detector.score(traces.rows(chosen))

    assert few == pytest.approx(detector.score(traces)[chosen], rel=1e-5)


@every_detector
@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_as_wrong_as_can_be(
    name: str, broken: float, traces: Traces
) -> None:
    detector = DETECTORS[name](traces)
    for column in range(len(FEATURES)):
        values, scores = traces.values.copy(), traces.scores.copy()
        values[7, column], scores[7] = broken, math.nan

        score = detector.score(replace(traces, values=values, scores=scores))

        reads = FEATURES[column] in detector.features or name == "trivial"
        if reads or not detector.features:
            assert score[7] == score.max() == (1 if name == "trivial" else math.inf)


@every_detector
def test_a_huge_number_overflows_nothing(name: str, traces: Traces) -> None:
    detector = DETECTORS[name](traces)
    huge = np.full_like(traces.values, 3e38)
    huge[::2] = -3e38

    assert not np.isnan(detector.score(replace(traces, values=huge))).any()


@pytest.mark.parametrize(
    ("name", "marker"),
    [
        ("trivial", "Extremes"),
        ("ranger", "Extremes"),
        ("feature-map tracing", "ChannelSums"),
        ("signatures", "Quantiles"),
        ("checksums", "Checksums"),
    ],
)
def test_a_missing_marker_is_named(name: str, marker: str, traces: Traces) -> None:
    foreign = replace(traces, features=tuple(f"x{n}" for n in range(len(FEATURES))))

    with pytest.raises(ValueError, match=f"features of the marker {marker}, got none"):
        DETECTORS[name](foreign)


@pytest.mark.parametrize("name", ["trivial", "ranger", "mahalanobis", "signatures"])
def test_clean_rows_must_be_there_and_finite(name: str, traces: Traces) -> None:
    with pytest.raises(ValueError, match="at least 2 fault-free rows .* got 0"):
        DETECTORS[name](traces.rows(traces.origin.kind == MEMORY))

    traces.values[3] = math.inf
    with pytest.raises(ValueError, match="must be finite, got 1 rows"):
        DETECTORS[name](traces)


# Each against a restatement.


def test_trivial_compares_with_the_largest_golden_numbers(traces: Traces) -> None:
    largest = [n for n, f in enumerate(FEATURES) if f.startswith("largest")]
    golden = [max(row[n] for row in clean(traces).values) for n in largest]

    score = fit_trivial(traces).score(traces)

    wanted = [
        any(row[n] > most for n, most in zip(largest, golden, strict=True))
        for row in traces.values
    ]
    assert score.tolist() == wanted
    assert not score[:100].any() and score[100:].any()


def test_ranger_measures_in_widths_of_the_golden_range(traces: Traces) -> None:
    wanted = np.full(300, -math.inf)
    for value in ("conv:out", "head:out"):
        columns = [FEATURES.index(f"{end} of {value}") for end in ("least", "largest")]
        golden = clean(traces).values[:, columns]
        low, high = float(golden[:, 0].min()), float(golden[:, 1].max())
        for row, (least, largest) in enumerate(traces.values[:, columns].tolist()):
            beyond = max(low - least, largest - high) / (high - low)
            wanted[row] = max(wanted[row], beyond)

    score = fit_ranger(traces).score(traces)

    assert score == pytest.approx(wanted, rel=1e-5, abs=1e-6)
    assert score[:100].max() == pytest.approx(0), "the golden ends themselves"


def test_ranger_without_least_numbers_takes_the_size_of_the_largest() -> None:
    values = np.array([[2.0], [4.0], [6.0]], np.float32)
    origin = Origin.of(np.arange(3), np.zeros(3, np.bool_), np.zeros(3, np.bool_))
    traces = Traces(("largest of a",), values, values, origin)

    ranger = fit_ranger(traces.rows(np.arange(2)))

    assert ranger.score(traces).tolist() == [-0.5, 0, 0.5]


@pytest.mark.parametrize("classes", [2, 3])
def test_tracing_is_scikit_learns_network(classes: int, traces: Traces) -> None:
    labels = traces.origin.failed * (1 + (traces.origin.kind == "noise"))
    labels = np.minimum(labels, classes - 1)

    tracing = fit_tracing(traces, labels, hidden=(5, 4), rounds=30)

    columns = [n for n, f in enumerate(FEATURES) if f.startswith("sum")]
    rows = standardised(traces.values[:, columns], tracing.mean, tracing.spread)
    counts = np.bincount(labels)
    network = MLPClassifier((5, 4), max_iter=30, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(rows, labels, sample_weight=(counts.mean() / counts)[labels])
    shares = network.predict_proba(rows)
    assert tracing.shares(traces) == pytest.approx(shares, abs=1e-9)
    assert tracing.score(traces) == pytest.approx(1 - shares[:, 0], abs=1e-6)


def test_tracing_finds_large_faults(traces: Traces) -> None:
    two = traces.rows(traces.origin.kind != "noise")
    failed = two.origin.failed

    tracing = fit_tracing(two, failed.astype(np.int64), rounds=300)

    assert ((tracing.score(two) > 0.5) == failed).mean() > 0.98


def test_tracing_learns_from_finite_rows_only(traces: Traces) -> None:
    labels = traces.origin.failed.astype(np.int64)
    values = np.concatenate([traces.values, np.full_like(traces.values[:5], np.nan)])
    rows = np.append(np.arange(300), [100] * 5)
    more = replace(traces.rows(rows), values=values)

    plain = fit_tracing(traces, labels, rounds=5)
    spoilt = fit_tracing(more, np.append(labels, [1] * 5), rounds=5)

    assert spoilt.score(traces).tolist() == plain.score(traces).tolist()
    with pytest.raises(ValueError, match="every class must have finite rows"):
        fit_tracing(traces, labels * 2, rounds=5)


def test_confidence_and_energy_are_those_of_their_papers(traces: Traces) -> None:
    shares = softmax(traces.scores.astype(float), 1)

    confidence = fit_confidence(traces).score(traces)
    energy = fit_energy(traces, temperature=2.5).score(traces)

    assert confidence == pytest.approx(1 - shares.max(1), rel=1e-5)
    wanted = -2.5 * logsumexp(traces.scores.astype(float) / 2.5, 1)
    assert energy == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(ValueError, match="temperature must be above 0"):
        fit_energy(traces, temperature=0)
    with pytest.raises(ValueError, match="at least 2 classes"):
        fit_confidence(replace(traces, scores=traces.scores[:, :1]))


def test_a_score_that_a_flip_made_a_signalling_nan_is_infinite(traces: Traces) -> None:
    scores = np.array([[0x3FA00000 ^ 1 << 30, 0]], np.uint32).view(np.float32)
    row = replace(traces.rows(np.arange(1)), scores=scores)

    for detector in (fit_confidence(row), fit_energy(row)):
        assert detector.score(row) == np.inf


def test_a_confident_row_keeps_its_digits(traces: Traces) -> None:
    scores = np.array([[0, 30.0, -99], [0, 40.0, -99]], np.float32)

    score = fit_confidence(traces).score(
        replace(traces.rows(np.arange(2)), scores=scores)
    )

    assert score == pytest.approx([math.exp(-30), math.exp(-40)], rel=1e-5)


def test_mahalanobis_is_the_distance_to_the_predicted_class(traces: Traces) -> None:
    names = FEATURES[:6]
    golden, said = clean(traces), traces.scores.argmax(1)
    rare = np.flatnonzero(said[:100] == 3)[FEWEST - 1 :]
    traces.scores[rare] = [9, 0, 0, 0]
    golden, said = clean(traces), traces.scores.argmax(1)
    rows = golden.values[:, :6].astype(float)
    means = [rows[said[:100] == label].mean(0) for label in range(3)]
    means.append(rows.mean(0))
    away = rows - np.array(means)[said[:100]]
    scale = rows.std(0)
    oracle = LedoitWolf(assume_centered=True).fit(away / scale)
    offset = (traces.values[:, :6] - np.array(means)[said]) / scale

    score = fit_mahalanobis(traces, names).score(traces)

    assert (said[:100] == 3).sum() == FEWEST - 1, "too few for a mean of its own"
    assert score == pytest.approx(np.sqrt(oracle.mahalanobis(offset)), rel=1e-4)


def test_mahalanobis_reads_the_last_value_by_default(traces: Traces) -> None:
    detector = fit_mahalanobis(traces)

    # Without the checksum, which comes last.
    assert detector.features == FEATURES[len(FEATURES) // 2 : -1]


def test_the_distance_of_quantiles_is_the_earth_movers() -> None:
    chance = np.random.default_rng(0)
    levels = np.array([0, 0.1, 0.4, 0.5, 1.0])
    rows = np.sort(chance.normal(size=(20, 5)), 1)
    golden = np.sort(chance.normal(size=5))

    found = moved(rows, golden, levels)

    dense = (np.arange(20_000) + 0.5) / 20_000
    wanted = [
        wasserstein_distance(
            np.interp(dense, levels, row), np.interp(dense, levels, golden)
        )
        for row in rows
    ]
    assert found == pytest.approx(wanted, abs=1e-3)


def test_signatures_add_up_over_layers(traces: Traces) -> None:
    wanted = np.zeros(300)
    for value in ("conv:out", "head:out"):
        columns = [FEATURES.index(f"q{level} of {value}") for level in LEVELS]
        rows, levels = traces.values[:, columns].astype(float), np.array(LEVELS) / 100
        golden = rows[:100].mean(0)
        distance = moved(rows, golden, levels)
        usual = distance[:100]
        low, high = rows[:100, 0].min(), rows[:100, -1].max()
        for n, row in enumerate(rows):
            beyond = max(low - row[0], row[-1] - high, 0) / (high - low)
            wanted[n] += max((distance[n] - usual.mean()) / usual.std(), 0) + beyond

    score = fit_signatures(traces).score(traces)

    assert score == pytest.approx(wanted, rel=1e-4, abs=1e-5)


def test_quantiles_of_two_markers_of_a_value_are_two_profiles(traces: Traces) -> None:
    names = ("q0", "q100", "1/8 q0", "1/8 q50", "1/8 q100")
    features = tuple(f"{name} of conv:out" for name in names)
    both = replace(traces, features=features, values=traces.values[:, :5])

    found = fit_signatures(both)

    assert [profile.columns for profile in found.profiles] == [(0, 1), (2, 3, 4)]
    apart = [fit_signatures(both.columns(features[a:b])) for a, b in ((0, 2), (2, 5))]
    total = sum(each.score(both).astype(float) for each in apart)
    assert found.score(both) == pytest.approx(total, rel=1e-5)


def test_a_single_quantile_has_no_distance(traces: Traces) -> None:
    one = traces.columns(["q50 of conv:out"])

    with pytest.raises(ValueError, match="conv:out must have at least 2 quantiles"):
        fit_signatures(one)


# Checksums.


def captured(build: Builder) -> CapturedSubject:
    subject = subject_of(build)
    assert isinstance(subject, CapturedSubject)
    return subject


def seen(
    sums: Checksums, bench: CapturedBench, *faults: Fault
) -> tuple[NDArray[np.float32], list[bool]]:
    """Excess of each input and layer, and the alarms, under faults."""
    _, values = bench.watched(faults, sums.values)
    return sums.excess(values).numpy(), sums.raised(values).tolist()


def fault_in(site: Site, bit: int, element: int, row: int | None) -> Fault:
    space = fault_space([site], inputs=1, model=BitFlip(), bits=str(bit), scope="batch")
    return replace(space.fault(element), input=row)


# Convolutions of all kinds, tokens before and after inputs, tied and made weights,
# other formats, and what is no layer.
SOME = [resnet, convolutions, networks.rows, vit, gpt2, tied]
SOME += [networks.gru, networks.weight_norm, networks.bfloat16, networks.float16]


@pytest.mark.parametrize("build", SOME)
def test_rounding_never_raises_an_alarm(build: Builder) -> None:
    sums = checksums_of(captured(build))

    excess, alarms = seen(sums, captured(build).bench(build().inputs))

    assert excess.shape == (len(alarms), len(sums.checks))
    assert (excess < 1).all() and not any(alarms)


@pytest.mark.parametrize("build", [resnet, convolutions, vit])
def test_fitted_checksums_hold_on_other_inputs(build: Builder) -> None:
    inputs = build().inputs
    bench = captured(build).bench(inputs)
    other = inputs.with_leaves([leaf.flip(-1) * 0.7 for leaf in inputs.leaves])

    fitted = fit_checksums(captured(build), [bench])

    excess, _ = seen(fitted, captured(build).bench(other))
    assert (excess < 1).all()
    derived = checksums_of(captured(build))
    assert [c.site for c in fitted.checks] == [c.site for c in derived.checks]
    pairs = zip(fitted.checks, derived.checks, strict=True)
    assert all(narrow.tolerance < wide.tolerance for narrow, wide in pairs)


IMAGES = torch.randn(3, 4, 9, 5, generator=torch.Generator().manual_seed(0))


def slow_sums(layer: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums over outputs, and over absolute products, by layers in double precision."""
    dim = 1 if isinstance(layer, nn.Conv1d | nn.Conv2d) else -1
    plain, sized = copy.deepcopy(layer).double(), copy.deepcopy(layer).double()
    for parameter in sized.parameters():
        parameter.abs_()
    return plain(x.double()).sum(dim), sized(x.double().abs()).sum(dim)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, padding=1),
        nn.Conv2d(4, 6, (3, 2), stride=2, groups=2, bias=False),
        nn.Conv2d(4, 8, 3, groups=4, dilation=2, padding="same"),
        nn.Conv1d(9, 6, 2, stride=2, padding=1),
        nn.Linear(5, 7),
        nn.Linear(5, 7, bias=False),
    ],
    ids=str,
)
def test_a_checksum_is_the_sum_over_outputs(layer: nn.Module) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 9, 5) if isinstance(layer, nn.Conv1d) else IMAGES
    subject = prepare(nn.Sequential(layer).eval(), Inputs((x,), {}))
    assert isinstance(subject, CapturedSubject)
    (check,) = checksums_of(subject).checks
    with torch.no_grad():
        y = layer(x)
        spoilt = y.clone()
        spoilt.view(3, -1)[1, 4] += 1.0
        deviation = check.deviation(x, spoilt)
        sums, size = slow_sums(layer, x)
        dim = 1 if isinstance(layer, nn.Conv1d | nn.Conv2d) else -1
        away = (spoilt.double().sum(dim) - sums).abs()

    wanted = (away / (2.0**-24 * size)).flatten(1).amax(1)
    assert deviation == pytest.approx(wanted, rel=1e-3, abs=1e-3)
    assert deviation[1] > 1000 > 10 > deviation[[0, 2]].max()


@pytest.mark.parametrize("build", [resnet, convolutions, vit, gpt2, tied])
def test_large_faults_raise_an_alarm_where_they_are(build: Builder) -> None:
    subject = captured(build)
    bench = subject.bench(build().inputs)
    sums = fit_checksums(subject, [bench])
    checked = {check.site: n for n, check in enumerate(sums.checks)}
    sites = [site for site in subject.sites if site.name in checked]
    count = len(seen(sums, bench)[1])
    assert sites

    for site, element in itertools.product(sites, (0, -1)):
        # The highest bit of the exponent: 1e38 times as much, or as little.
        fault = fault_in(site, 30, element % site.elements, count - 1)
        before, after = bench.words(fault)
        excess, alarms = seen(sums, bench, fault)

        assert excess[-1, checked[site.name]] > 1, (site.name, before, after)
        assert alarms[-1] and not any(alarms[:-1]), "one input alone was hit"


@pytest.mark.parametrize("build", [resnet, convolutions, vit])
def test_a_fault_in_a_weight_shows_as_the_filter_is_golden(build: Builder) -> None:
    subject = captured(build)
    bench = subject.bench(build().inputs)
    sums = fit_checksums(subject, [bench])
    layers = {check.site.rpartition(":")[0] for check in sums.checks} - {""}
    weights = [
        site
        for site in subject.sites
        if site.kind == "parameter" and site.name.rpartition(".")[0] in layers
    ]
    assert len(weights) >= len(layers) > 1

    for site in weights:
        _, alarms = seen(sums, bench, fault_in(site, 30, site.elements // 2, None))

        assert any(alarms), site.name
    assert not any(seen(sums, bench)[1]), "the golden run is as it was"


def test_checksums_that_cannot_be_are_refused() -> None:
    inputs = Inputs((torch.randn(3, 4),), {})
    subject = prepare(nn.Sequential(nn.ReLU()).eval(), inputs)
    assert isinstance(subject, CapturedSubject)

    with pytest.raises(ValueError, match="checksums need a convolution or a linear"):
        checksums_of(subject)
    with pytest.raises(ValueError, match="at least 1 fault-free run"):
        fit_checksums(captured(resnet), [])
    broken = resnet().inputs
    leaves = [torch.full_like(leaf, math.inf) for leaf in broken.leaves]
    bench = captured(resnet).bench(broken.with_leaves(leaves))
    with pytest.raises(ValueError, match="fault-free runs must be finite"):
        fit_checksums(captured(resnet), [bench])


def test_a_summed_filter_needs_no_grad_and_leaves_the_layer_alone() -> None:
    network = nn.Sequential(nn.Linear(4, 3)).eval()
    before = [p.clone() for p in network.parameters()]
    subject = prepare(network, Inputs((torch.randn(3, 4),), {}))
    assert isinstance(subject, CapturedSubject)

    (check,) = checksums_of(subject).checks

    assert not check.filter.requires_grad
    assert torch.equal(check.filter, before[0].double().sum(0))
    assert all(map(torch.equal, before, network.parameters()))
