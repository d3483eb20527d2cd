"""The guard: verdicts in the same inference are those of the monitor, on every way."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import networks
from monitor_support import (
    captured,
    features_by_hand,
    many_rows,
    monitor_of,
    monitor_on,
    random_points,
    random_rules,
)
from networks import Builder
from stoic.campaign.fingerprint import network_fingerprint
from stoic.monitors.alarm import Alarm, calibrated
from stoic.monitors.bounds import bounds_of
from stoic.monitors.exported import export_onnx, rows_free
from stoic.monitors.guarded import Guarded, Plan, guard, guard_with_file
from stoic.monitors.markers import (
    ChannelQuantiles,
    ChannelSums,
    Extremes,
    Marker,
    Moments,
    NonFinite,
    Quantiles,
)
from stoic.monitors.monitor import Monitor, Verdicts
from stoic.monitors.rules import Leaf, Rules, fitted
from stoic.monitors.taps import tap_of
from stoic.monitors.verdict import Judge, Verdict
from stoic.monitors.watches import Watch, every_layer, features_of
from stoic.network.prepare import attention_by_parts, prepare
from stoic.network.subject import Inputs, same_leaves

KINDS = (
    networks.resnet,
    networks.resnet_channels_last,
    networks.mobilenet,
    networks.densenet,
    networks.vit,
    networks.encoder,
    networks.bert,
    networks.gru,
    networks.dlrm,
    networks.quantised,
    networks.bfloat16,
    networks.float16,
    networks.float64,
)
# These know only rounded values: a feature may be one of another last bit.
OTHER_KERNELS = (networks.resnet, networks.vit)
MARKERS: tuple[Marker, ...] = (
    ChannelQuantiles(),
    ChannelQuantiles((1.0,)),
    ChannelQuantiles((0.0,)),
    ChannelQuantiles((0.0, 1.0)),
    ChannelQuantiles((0.7, 0.95)),
    ChannelQuantiles((0.05, 0.3)),
    ChannelQuantiles((0.5,)),
    ChannelQuantiles((0.9, 0.1)),
    ChannelSums(16),
    ChannelSums(16, (3, 11)),
    Quantiles(),
    Quantiles((0.99,), stride=3),
    Extremes(),
    Moments(),
    NonFinite(),
)


def assert_same(verdict: Any, wanted: Verdicts) -> None:
    for name in Verdict._fields:
        found = np.asarray(getattr(verdict, name))
        expected = getattr(wanted, name)
        assert found.dtype == expected.dtype, name
        np.testing.assert_array_equal(found, expected, name)


def told(monitor: Monitor, build: Builder, inputs: Inputs) -> Verdicts:
    """Return the verdicts by the monitor itself, in NumPy."""
    features = features_by_hand(captured(build), monitor.watches, inputs)
    return monitor.verdicts(features)


def guarded_of(build: Builder, monitor: Monitor) -> Guarded:
    """Return a guarded specimen, captured once for all tests."""
    return Guarded(Plan.of(captured(build), build().inputs, monitor))


@torch.no_grad()
def run(network: Any, inputs: Inputs) -> tuple[Any, Verdict]:
    output, verdict = network(*inputs.args, **inputs.kwargs)
    return output, verdict


@pytest.mark.parametrize("build", KINDS, ids=lambda build: build.__name__)
def test_verdicts_are_those_of_the_monitor_and_outputs_are_untouched(
    build: Builder,
) -> None:
    monitor = monitor_of(build, on_values=True)
    specimen = build()
    inputs = many_rows(specimen.inputs, 40)

    guarded = guarded_of(build, monitor)
    output, verdict = run(guarded, inputs)

    with torch.no_grad(), attention_by_parts():
        own = specimen.network(*inputs.args, **inputs.kwargs)
    assert same_leaves(output, own)
    assert_same(verdict, told(monitor, build, inputs))
    assert len(set(verdict.rule.tolist())) > 1


def test_a_network_is_captured_and_left_as_it_was() -> None:
    monitor, specimen = monitor_of(networks.bert), networks.bert()

    guarded = guard(specimen.network, monitor, specimen.inputs)
    _, verdict = run(guarded, specimen.inputs)

    assert_same(verdict, told(monitor, networks.bert, specimen.inputs))
    assert specimen.fingerprint() == specimen.born


def test_one_row_gets_the_verdict_that_it_gets_among_others() -> None:
    build = networks.resnet
    guarded = guarded_of(build, monitor_of(build))
    inputs = many_rows(build().inputs, 9)

    _, together = run(guarded, inputs)

    alone = [run(guarded, inputs.rows(row, row + 1))[1] for row in range(9)]
    for name in Verdict._fields:
        joined = torch.cat([getattr(verdict, name) for verdict in alone])
        assert torch.equal(joined, getattr(together, name))


def test_a_truly_fitted_monitor_gives_its_own_verdicts(tmp_path: Path) -> None:
    build = networks.resnet
    subject, specimen = captured(build), build()
    layers = every_layer(subject, ChannelQuantiles())
    watches = (layers[0], layers[-1])
    clean = features_by_hand(subject, watches, many_rows(specimen.inputs, 300))
    other = many_rows(specimen.inputs, 200, seed=6)
    noisy = other.with_leaves([x + 3 * torch.randn_like(x) for x in other.leaves])
    bounds, rows = bounds_of([clean]), features_by_hand(subject, watches, noisy)
    rules = fitted(
        bounds.normalised(np.concatenate([clean, rows])),
        np.repeat([0, 1], [300, 200]),
        ("regular", "noise"),
        features_of(watches),
        bounds,
    )
    alarm = calibrated(features_by_hand(subject, watches, other), bounds, 0.05)
    fingerprint = network_fingerprint(specimen.network)
    path = tmp_path / "monitor.json"
    chance, ends = np.random.default_rng(0), np.sort(rows, 0)
    points = random_points(ends, features_of(watches), chance)
    Monitor(fingerprint, watches, rules, alarm, points).save(path)

    guarded = guard_with_file(specimen.network, path, specimen.inputs)
    _, verdict = run(guarded, noisy)

    assert_same(verdict, told(Monitor.load(path), build, noisy))
    assert verdict.label.float().mean() > 0.9


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("first", [True, False])
def test_weights_that_are_no_numbers_are_told(bad: float, first: bool) -> None:
    build = networks.resnet
    guarded = guarded_of(build, monitor_of(build))
    inputs = many_rows(build().inputs, 20)
    weights = [p for p in guarded.parameters() if p.dim() > 1]
    weight = weights[0 if first else -1].data
    kept = weight.flatten()[0].item()
    weight.flatten()[0] = bad
    try:
        output, verdict = run(guarded, inputs)
        monitor = guarded.plan.monitor
        assert_same(verdict, told(monitor, build, inputs))
        assert same_leaves(output, build().network(*inputs.args))
    finally:
        weight.view(-1)[0] = kept

    # The least sum is not among the quantiles that are watched.
    if bad != -math.inf:
        assert (verdict.rule == -1).all()
        assert verdict.label.tolist() == [len(monitor.rules.classes)] * 20
        assert verdict.score.tolist() == [1.0] * 20


@pytest.mark.parametrize("marker", MARKERS, ids=repr)
@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_taps_give_the_words_of_their_markers(
    marker: Marker, portable: bool, dtype: torch.dtype
) -> None:
    value = torch.randn(30, 16, 3, 2).to(dtype)
    for row in range(1, 30):
        spots = torch.randperm(96)[: torch.randint(1, 1 + 3 * row, ())]
        bad = (math.nan, math.inf, -math.inf)[row % 3]
        value[row].view(-1)[spots] = bad
        value[row].view(-1)[spots[:1]] = math.nan if row % 2 else 1.0

    tap = tap_of(Watch("x", 1, marker), (16, 3, 2), portable=portable)

    torch.testing.assert_close(
        tap(value), marker(value, 1), rtol=0, atol=0, equal_nan=True
    )


def test_a_tap_takes_channels_where_they_are() -> None:
    value = torch.randn(4, 5, 12)
    marker = ChannelQuantiles((0.3, 0.8))

    tap = tap_of(Watch("x", 2, marker), (5, 12), portable=False)

    assert torch.equal(tap(value), marker(value, 2))


def some_features(rows: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return features of which many are no numbers, infinite, or on an end."""
    chance = np.random.default_rng(1)
    found = chance.normal(size=(rows, 5)).astype(np.float32)
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 3e38, 1e-45], np.float32)
    spots = chance.random(found.shape) < 0.1
    found[spots] = chance.choice(odd, spots.sum())
    return found


def plain_monitor(rules: Rules, alarm: Alarm) -> Monitor:
    watches = tuple(Watch(f"v{n}", 1, NonFinite()) for n in range(len(alarm.low)))
    rules = replace(rules, features=features_of(watches))
    chance = np.random.default_rng(2)
    ends = chance.normal(size=(99, len(watches))).astype(np.float32)
    points = random_points(ends, features_of(watches), chance, len(rules.leaves))
    return Monitor("", watches, rules, alarm, points)


@pytest.mark.parametrize("seed", range(20))
def test_a_judge_says_what_the_monitor_says(seed: int) -> None:
    chance = np.random.default_rng(seed)
    ends = np.sort(chance.normal(size=(99, 5)).astype(np.float32), 0)
    rules = random_rules(ends, ("",) * 5, chance, depth=seed % 8)
    low, high = ends[8].copy(), ends[-9].copy()
    low[0], high[1] = -np.inf, np.inf
    monitor = plain_monitor(rules, Alarm(low, high, 0.1, 99))
    features = np.concatenate([some_features(3000), ends])

    verdict = Judge(monitor)(torch.from_numpy(features))

    assert_same(verdict, monitor.verdicts(features))


def test_nothing_lies_within_an_empty_span() -> None:
    up, down = np.ones(5, np.float32), np.zeros(5, np.float32)
    leaf = Leaf((1.0, 0.0), 1)
    monitor = plain_monitor(Rules(("regular", "x"), ("",), leaf), Alarm(up, down, 0, 1))
    features = np.array([[0.0] * 5, [1.0] * 5, [0.5] * 5], np.float32)

    assert_same(Judge(monitor)(torch.from_numpy(features)), monitor.verdicts(features))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_is_compared_stays_float32(dtype: torch.dtype) -> None:
    build = networks.resnet
    inputs = many_rows(build().inputs, 30)
    guarded = guarded_of(build, monitor_of(build))
    before = {name: b.clone() for name, b in guarded.named_buffers() if "tap" in name}

    guarded.to(dtype)
    output, verdict = run(guarded, inputs.with_leaves([inputs.leaves[0].to(dtype)]))

    after = dict(guarded.named_buffers())
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert output.dtype is dtype
    assert verdict.score.dtype is torch.float32


def test_autocast_changes_no_verdict_of_the_judge() -> None:
    chance = np.random.default_rng(0)
    ends = np.sort(chance.normal(size=(99, 5)).astype(np.float32), 0)
    rules = random_rules(ends, ("",) * 5, chance, depth=6)
    monitor = plain_monitor(rules, Alarm(ends[8], ends[-9], 0.1, 99))
    features = some_features(3000)

    with torch.autocast("cpu", torch.bfloat16):
        verdict = Judge(monitor)(torch.from_numpy(features))

    assert_same(verdict, monitor.verdicts(features))


def test_autocast_counts_a_single_odd_feature_of_hundreds() -> None:
    chance = np.random.default_rng(0)
    ends = np.sort(chance.normal(size=(99, 825)).astype(np.float32), 0)
    rules = random_rules(ends, ("",) * 825, chance, depth=6)
    monitor = plain_monitor(rules, Alarm(ends[8], ends[-9], 0.1, 99))
    features = np.repeat(ends[49:50], 500, 0)
    odd = np.array([0, 9, np.nan, np.inf, -np.inf], np.float32)
    features[np.arange(500), chance.integers(0, 825, 500)] = chance.choice(odd, 500)

    with torch.autocast("cpu", torch.bfloat16):
        verdict = Judge(monitor)(torch.from_numpy(features))

    assert_same(verdict, monitor.verdicts(features))


@pytest.mark.parametrize("build", [*OTHER_KERNELS, networks.bfloat16, networks.dlrm])
def test_verdicts_are_the_same_when_compiled_as_one_graph(build: Builder) -> None:
    monitor = monitor_of(build)
    inputs = many_rows(build().inputs, 40)

    compiled = torch.compile(
        guarded_of(build, monitor), fullgraph=True, backend="aot_eager"
    )
    output, verdict = run(compiled, inputs)

    assert same_leaves(output, run(guarded_of(build, monitor), inputs)[0])
    assert_same(verdict, told(monitor, build, inputs))


@pytest.mark.slow
@pytest.mark.parametrize("build", OTHER_KERNELS)
@pytest.mark.filterwarnings("ignore")
def test_verdicts_are_the_same_in_compiled_kernels(build: Builder) -> None:
    monitor = monitor_of(build)
    inputs = many_rows(build().inputs, 40)

    compiled = torch.compile(guarded_of(build, monitor), fullgraph=True)
    _, verdict = run(compiled, inputs)

    assert_same(verdict, told(monitor, build, inputs))


@pytest.mark.parametrize("build", [*OTHER_KERNELS, networks.bert, networks.float16])
def test_verdicts_are_the_same_when_exported(build: Builder) -> None:
    monitor = monitor_of(build)
    example = build().inputs
    kwargs = dict(example.kwargs)
    if kwargs and torch.__version__.startswith("2.11."):
        pytest.skip("torch 2.11 cannot leave the rows of keyword inputs free")

    exported = torch.export.export(
        guarded_of(build, monitor),
        example.args,
        kwargs,
        dynamic_shapes=rows_free(example),
    )

    # It runs where this package is not installed.
    assert not any("stoic" in str(node.target) for node in exported.graph.nodes)
    for rows in (1, 40):
        inputs = many_rows(example, rows)
        _, verdict = run(exported.module(), inputs)
        assert isinstance(verdict, Verdict)
        assert_same(verdict, told(monitor, build, inputs))


def in_onnx_runtime(path: Path, inputs: Inputs) -> dict[str, Any]:
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(str(path), options)
    names = [one.name for one in session.get_inputs()]
    leaves = [leaf.numpy() for leaf in inputs.leaves]
    outputs = [one.name for one in session.get_outputs()]
    feed = dict(zip(names, leaves, strict=True))
    return dict(zip(outputs, session.run(None, feed), strict=True))


def onnx_verdict(outputs: dict[str, Any]) -> Verdict:
    return Verdict(*(outputs[name] for name in Verdict._fields))


@pytest.mark.slow
@pytest.mark.parametrize("build", OTHER_KERNELS)
def test_verdicts_are_the_same_in_onnx_runtime(build: Builder, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    monitor, example = monitor_of(build), build().inputs
    guarded, path = guarded_of(build, monitor), tmp_path / "guarded.onnx"
    inputs = many_rows(example, 300)

    export_onnx(guarded, example, path)
    outputs = in_onnx_runtime(path, inputs)

    assert list(outputs) == ["output", *Verdict._fields]
    assert_same(onnx_verdict(outputs), told(monitor, build, inputs))
    own = run(guarded, inputs)[0].numpy()
    np.testing.assert_allclose(outputs["output"], own, rtol=1e-4, atol=1e-5)


class Values(nn.Module):
    """A network whose only layer hands on what it is given, bad numbers and all."""

    def forward(self, x: Tensor) -> Tensor:
        return x.neg()


@pytest.mark.slow
@pytest.mark.parametrize(
    "marker",
    [
        ChannelQuantiles(),
        ChannelQuantiles((0.2,)),
        ChannelQuantiles((0.8, 0.9)),
        ChannelQuantiles((0.0, 1.0)),
        Extremes(),
    ],
    ids=repr,
)
def test_what_is_no_number_is_told_in_onnx_runtime(
    marker: Marker, tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript")
    network = Values().eval()
    values = torch.randn(400, 12)
    spots = torch.rand(values.shape) < 0.1
    spots[:100] = False
    bad = torch.tensor([math.nan, math.inf, -math.inf])
    values[spots] = bad[torch.randint(3, (int(spots.sum()),))]
    example = Inputs((values[:2],), {})
    sites = prepare(network, example).sites
    (name,) = [site.name for site in sites if site.kind == "activation"]
    features = marker(-values, 1).numpy()
    fingerprint = network_fingerprint(network)
    monitor = monitor_on((Watch(name, 1, marker),), features[:100], fingerprint)
    path = tmp_path / "guarded.onnx"

    export_onnx(guard(network, monitor, example), example, path)
    outputs = in_onnx_runtime(path, Inputs((values,), {}))

    assert_same(onnx_verdict(outputs), monitor.verdicts(features))


def test_a_file_for_one_row_only_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    build = networks.resnet
    guarded = guarded_of(build, monitor_of(build))

    with pytest.raises(ValueError, match="at least 2 rows, got 1"):
        export_onnx(guarded, build().inputs.rows(0, 1), tmp_path / "x.onnx")


def assert_refused(network: Any, error: type[Exception], words: str) -> None:
    monitor, inputs = monitor_of(networks.resnet), networks.resnet().inputs

    with pytest.raises(error, match=words) as caught:
        guard(network, monitor, inputs)

    assert "\n" not in str(caught.value)


# PyTorch 2.11 warns of itself.
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_compiled_network_is_refused() -> None:
    network = networks.another(networks.resnet).network
    order = "compiled.*guard the network itself first, then compile"

    assert_refused(torch.compile(network), TypeError, order)
    parts: Any = torch.compile(network)
    assert_refused(nn.Sequential(parts), TypeError, "compiled in 0")
    network.compile()
    assert_refused(network, TypeError, order)


def test_an_exported_network_is_refused() -> None:
    specimen = networks.resnet()
    exported = torch.export.export(specimen.network, specimen.inputs.args)

    assert_refused(exported, TypeError, "exported.*guard the network itself first")
    assert_refused(exported.module(), TypeError, "exported.*guard the network itself")


def test_a_guarded_network_is_refused() -> None:
    guarded = guarded_of(networks.resnet, monitor_of(networks.resnet))

    assert_refused(guarded, TypeError, "guarded already.*guard the network itself")


def test_a_network_that_is_training_is_refused() -> None:
    network = networks.another(networks.resnet).network.train()

    assert_refused(network, ValueError, "must be in evaluation mode")


def test_another_network_is_refused(tmp_path: Path) -> None:
    specimen = networks.another(networks.resnet)
    with torch.no_grad():
        specimen.network.get_parameter("0.weight").view(-1)[0] += 1
    path = tmp_path / "monitor.json"
    monitor_of(networks.resnet).save(path)

    assert_refused(specimen.network, ValueError, "one of another")
    with pytest.raises(ValueError, match="monitor of this network"):
        guard_with_file(specimen.network, path, specimen.inputs)


@pytest.mark.parametrize("build", networks.FALLING_BACK)
def test_a_network_that_cannot_be_captured_is_refused(build: Builder) -> None:
    specimen = build()
    monitor = replace(
        monitor_of(networks.resnet), fingerprint=network_fingerprint(specimen.network)
    )

    with pytest.raises(ValueError, match="can be captured, got: .+; change") as caught:
        guard(specimen.network, monitor, specimen.inputs)

    assert "\n" not in str(caught.value)


def test_a_value_that_the_network_has_not_is_refused() -> None:
    monitor = monitor_of(networks.resnet)
    watches = (replace(monitor.watches[0], value="nowhere:out"), monitor.watches[1])
    rules = replace(monitor.rules, features=features_of(watches))
    points = replace(monitor.points, features=rules.features)
    specimen = networks.resnet()

    with pytest.raises(ValueError, match="got 'nowhere:out'"):
        guard(
            specimen.network,
            replace(monitor, watches=watches, rules=rules, points=points),
            specimen.inputs,
        )
