"""Traces from replay against full runs, and monitors fitted from end to end."""

import copy
import itertools
import json
import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor, nn

import networks
import stoic
from monitor_support import captured
from stoic.cli import main
from stoic.cli.judged import text_of
from stoic.detections import DetectionsChanged
from stoic.faults.formats import write_word
from stoic.monitoring import Fitted, MonitorSettings, fit, fit_checksums, seen_by
from stoic.monitors.baselines import Trivial
from stoic.monitors.collecting import Flips, Recipe, Spoilt, Watched, collected, half_of
from stoic.monitors.corruptions import CORRUPTIONS, UNSEEN, pixels_of
from stoic.monitors.division import Division, Part
from stoic.monitors.fitting import lesson_of
from stoic.monitors.labels import classes_of, examples, labels_of, macro
from stoic.monitors.markers import Extremes, NonFinite
from stoic.monitors.monitor import Monitor
from stoic.monitors.reduction import (
    by_importance,
    by_layers,
    by_pairs,
    by_steps,
    pruning,
)
from stoic.monitors.scorecard import Scorecard, scorecard
from stoic.monitors.strengths import strengths
from stoic.monitors.traces import MEMORY, NOTHING, Traces
from stoic.monitors.watches import (
    Layer,
    as_watches,
    every_layer,
    features_of,
    layers_of,
)
from stoic.network.captured import CapturedSubject
from stoic.network.prepare import prepare
from stoic.network.subject import Inputs
from stoic.study import as_inputs
from stoic.trying import tried


def small() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 4, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 5),
    ).eval()


def images(count: int = 24) -> Tensor:
    torch.manual_seed(2)
    return torch.rand(count, 2, 8, 8)


def watched(network: nn.Module, inputs: Tensor) -> Watched:
    subject = prepare(network, as_inputs(inputs))
    assert isinstance(subject, CapturedSubject)
    return Watched(subject, every_layer(subject))


def by_hooks(network: nn.Module, own: Watched, inputs: Tensor) -> tuple[Any, Tensor]:
    """Features and output of a full run, by hooks on the layers."""
    seen: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(
            lambda _, __, out, name=name: seen.__setitem__(f"{name}:out", out)
        )
        for name, module in network.named_modules()
        if name
    ]
    with torch.no_grad():
        output = network(inputs)
    for hook in hooks:
        hook.remove()
    rows = [w.marker(seen[w.value], w.channels) for w in own.watches]
    return torch.cat(rows, 1).numpy(), output


def test_layers_are_watched_by_name() -> None:
    own = watched(small(), images())

    assert [watch.value for watch in own.watches] == ["0:out", "3:out", "6:out"]
    assert features_of(own.watches)[:2] == ("q0 of 0:out", "q10 of 0:out")
    assert len(features_of(own.watches)) == 33


def test_what_cannot_be_watched_is_refused() -> None:
    network = nn.Sequential(nn.Conv2d(2, 1, 3), nn.Flatten(), nn.Linear(36, 3)).eval()
    subject = prepare(network, as_inputs(images()))
    assert isinstance(subject, CapturedSubject)
    marker = MonitorSettings().marker

    assert [watch.value for watch in every_layer(subject)] == ["2:out"]
    with pytest.raises(ValueError, match="0:out cannot be watched: it has one channel"):
        as_watches(subject, ["0:out"], marker)
    with pytest.raises(ValueError, match="must be computed by the network, got 'head'"):
        as_watches(subject, ["head"], marker)


def test_traces_of_memory_faults_are_those_of_full_runs() -> None:
    network, inputs = small(), images()
    own = watched(network, inputs)

    found = collected(
        own, as_inputs(inputs), Recipe((), (Flips(6, 0), Flips(6, 0, top=True))),
        batch=8, seed=0, half=0,
    )  # fmt: skip

    golden, answer = by_hooks(network, own, inputs)
    weights = dict(network.named_parameters())
    struck = found.rows(found.origin.kind == MEMORY)
    assert len(struck) == 12 * 24
    assert np.allclose(found.rows(found.origin.kind == NOTHING).values, golden)
    for start in range(0, len(struck), 8):
        rows = struck.rows(np.arange(start, start + 8))
        origin = rows.origin
        faulty = copy.deepcopy(network)
        weight = dict(faulty.named_parameters())[str(origin.site[0])]
        element, bit = int(origin.element[0]), int(origin.bit[0])
        with torch.no_grad():
            old = int(weights[str(origin.site[0])].flatten()[element].view(torch.int32))
            write_word(weight, element, (old & 0xFFFFFFFF) ^ (1 << bit))
        features, output = by_hooks(faulty, own, inputs[origin.image])
        assert np.array_equal(rows.values, features, equal_nan=True)
        assert np.array_equal(rows.scores, output.numpy(), equal_nan=True)
        wanted = answer[origin.image].argmax(1) != output.argmax(1)
        wanted |= ~output.isfinite().all(1)
        assert np.array_equal(origin.failed, wanted.numpy())
        assert np.array_equal(origin.broken, (~output.isfinite().all(1)).numpy())


def test_each_input_has_an_activation_fault_of_its_own() -> None:
    inputs = images()
    own = watched(small(), inputs)

    found = collected(
        own, as_inputs(inputs), Recipe((), (Flips(0, 3),)), batch=8, seed=0, half=1
    )

    origin = found.rows(found.origin.kind == MEMORY).origin
    assert len(origin.image) == 3 * 24
    assert len(set(zip(origin.site, origin.element, strict=True))) > 50
    assert set(origin.site) == {"0:out", "3:out", "6:out"}
    places = zip(origin.site.tolist(), origin.element.tolist(), strict=True)
    assert all(half_of(site, element) == 1 for site, element in places)


def test_halves_of_words_never_mix() -> None:
    inputs = images()
    own = watched(small(), inputs)
    places = []
    for half in (0, 1):
        recipe = Recipe((), (Flips(20, 20),))
        found = collected(
            own, as_inputs(inputs), recipe, batch=8, seed=half, half=half
        ).origin
        struck = found.kind == MEMORY
        places.append(
            set(zip(found.site[struck], found.element[struck].tolist(), strict=True))
        )

    assert len(places[0]) > 100 and not places[0] & places[1]


def test_other_inputs_get_other_faults() -> None:
    inputs = images()
    own = watched(small(), inputs)
    words = [
        set(zip(o.site.tolist(), o.element.tolist(), o.bit.tolist(), strict=True))
        for first in (0, 24)
        for o in [
            collected(
                own,
                as_inputs(inputs),
                Recipe((), (Flips(4, 0),)),
                batch=8,
                seed=0,
                half=0,
                first=first,
            ).origin
        ]
    ]

    assert words[0] & words[1] == {("", -1, -1)}


def test_faults_hit_every_layer_however_few_are_watched() -> None:
    network, inputs = case()
    monitor = fitted().monitor
    (first, *_) = monitor.watches

    traces = seen_by(monitor, network, inputs[420:470], watches=(first,))

    layers = {f"{name}:out" for name in ("conv1", "conv2", "hidden", "head")}
    assert traces.features == first.features
    assert {site for site in traces.origin.site if ":" in site} == layers


def test_each_input_serves_once_wherever_it_stands() -> None:
    """A data set that is sorted by class has all of them in each part."""
    rows = torch.arange(2000)
    inputs = Inputs((rows,), {"classes": rows // 200, "same": 3})

    def parts(seed: int) -> list[Part]:
        own = Division(2000, seed)
        names = "strengths", "learning", "choosing", "calibration"
        return [getattr(own, name)(inputs) for name in names]

    served = [part.inputs.args[0].tolist() for part in parts(0)]
    assert [len(own) for own in served] == [100, 1000, 400, 500]
    assert sorted(itertools.chain(*served)) == rows.tolist()
    assert [part.first for part in parts(0)] == [0, 100, 1100, 1500]
    for part in parts(0):
        classes, same = part.inputs.kwargs["classes"], part.inputs.kwargs["same"]
        assert torch.equal(classes, part.inputs.args[0] // 200)
        assert len(classes.unique()) == 10 and same == 3
    assert served == [part.inputs.args[0].tolist() for part in parts(0)]
    assert served != [part.inputs.args[0].tolist() for part in parts(1)]


def test_inputs_to_calibrate_with_do_not_set_the_range_of_pixels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, inputs = case()
    bright = inputs[:40].clone()
    order = np.random.default_rng(0).permutation(40)
    bright[order[-1]] *= 100
    told = []

    def stop(*args: Any, **how: Any) -> None:
        told.append(args[3])
        raise InterruptedError

    monkeypatch.setattr("stoic.monitors.gathering.strengths", stop)
    with pytest.raises(InterruptedError):
        fit(network, bright, rate=0.2)

    assert torch.equal(told[0].white, inputs[order[:30]].amax((0, 2, 3)))


@pytest.mark.parametrize("kind", [*CORRUPTIONS, *UNSEEN], ids=lambda kind: kind.name)
def test_a_corruption_keeps_to_the_range_of_the_inputs(kind: Any) -> None:
    inputs = 3 * images() - torch.tensor([1.0, 0.5]).reshape(1, 2, 1, 1)
    pixels = pixels_of(inputs)

    none, some, most = (
        pixels.corrupted(inputs, kind, strength, 0)
        for strength in (0.0, kind.most / 40, kind.most)
    )

    assert torch.allclose(none, inputs, atol=1e-6)
    for spoilt in (some, most):
        assert spoilt.dtype == inputs.dtype and spoilt.shape == inputs.shape
        assert (spoilt.amin((0, 2, 3)) >= inputs.amin((0, 2, 3)) - 1e-6).all()
        assert (spoilt.amax((0, 2, 3)) <= inputs.amax((0, 2, 3)) + 1e-6).all()
    assert (some - inputs).abs().mean() < (most - inputs).abs().mean()
    again = pixels.corrupted(inputs, kind, kind.most / 40, 0)
    assert torch.equal(some, again)


def test_inputs_that_are_no_images_cannot_be_corrupted() -> None:
    with pytest.raises(ValueError, match="inputs to corrupt must be images"):
        pixels_of(torch.rand(5, 3))
    with pytest.raises(ValueError, match="every channel .* must have more than one"):
        pixels_of(torch.ones(5, 3, 4, 4))


@lru_cache
def case() -> tuple[nn.Module, Tensor]:
    loaded = stoic.load("digits", 600)
    assert isinstance(loaded.inputs, Tensor)
    return loaded.network, loaded.inputs


def test_strengths_fail_the_share_that_was_asked_for() -> None:
    network, inputs = case()
    own = watched(network, inputs[:200])

    found = strengths(own, as_inputs(inputs[:200]), CORRUPTIONS[:1], pixels_of(inputs))

    shares = []
    for each in found:
        recipe = Recipe((each,), ())
        traces = collected(
            own, as_inputs(inputs[200:]), recipe,
            batch=100, seed=0, half=0, pixels=pixels_of(inputs),
        )  # fmt: skip
        spoilt = traces.origin.kind == "noise"
        assert (traces.origin.strength[spoilt] == each.strength).all()
        shares.append(float(traces.origin.failed[spoilt].mean()))
    told = [each.share for each in found]
    assert told == pytest.approx([0.1, 0.5, 0.875], abs=0.01)
    assert found[-1].strength == CORRUPTIONS[0].most  # It never reaches 90 %.
    assert all(abs(a - b) < 0.12 for a, b in zip(shares, (0.1, 0.5, 0.9), strict=True))


def test_the_share_that_is_told_is_the_one_that_was_found() -> None:
    network, inputs = case()
    own, given, most = watched(network, inputs[:40]), as_inputs(inputs[:40]), 0.02
    kinds, pixels = [replace(CORRUPTIONS[1], most=most)], pixels_of(inputs)

    found = strengths(own, given, [*kinds, CORRUPTIONS[0]], pixels)

    assert [each.strength for each in found].count(most) == 1
    assert len(found) == 4 and found[0].share == 0
    for each in found:
        spoilt = pixels.on(given, each.corruption, each.strength, 0)
        scores = network(*spoilt.args)
        failed = scores.argmax(1) != network(inputs[:40]).argmax(1)
        assert each.share == failed.double().mean()


def test_a_corruption_that_fails_nothing_is_left_out_of_the_lesson() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4)]
    network = nn.Sequential(*layers).eval()
    with torch.no_grad():
        [*network.parameters()][-1][0] = 10.0
    told: list[str] = []

    found = fit(
        network, torch.rand(120, 3, 8, 8), rate=0.05, most=1, notice=told.append
    )

    assert found.monitor.rules.classes == ("regular", MEMORY)
    assert set(found.lesson.origin.kind) == {NOTHING, MEMORY}
    assert "blur 32: 0% fail" in told
    assert "blur hardly makes the network fail: it is left out of the lesson" in told
    assert len(found.monitor.about["corruptions"]) == 6
    assert all(share == 0 for _, _, share in found.monitor.about["corruptions"])


def made(rows: int = 900, seed: int = 3) -> Traces:
    """Traces of five features, of which two tell everything."""
    chance = np.random.default_rng(seed)
    values = chance.normal(size=(rows, 5)).astype(np.float32)
    kind = chance.choice([NOTHING, MEMORY, "noise"], rows)
    values[kind == MEMORY, 3] += 40
    values[kind == "noise", 1] -= 50
    from stoic.monitors.traces import Origin

    origin = Origin.of(
        np.arange(rows), kind != NOTHING, np.zeros(rows, bool), kind="nothing"
    )
    object.__setattr__(origin, "kind", kind)
    names = tuple(f"q{10 * n} of conv:out" for n in range(5))
    return Traces(names, values, np.zeros((rows, 2), np.float32), origin)


@pytest.mark.parametrize("choose", [by_importance, by_pairs, by_steps])
def test_the_features_that_tell_everything_are_chosen(choose: Any) -> None:
    lesson, others = lesson_of(made()), made(seed=4)
    tried: list[Any] = []

    choice = choose(lesson, others, tick=tried.append)

    assert set(choice.best.features) == {"q30 of conv:out", "q10 of conv:out"}
    assert choice.best.within(choice.full)
    assert tuple(tried) == choice.tried
    assert pruning(lesson.on(choice.best.features), others) >= 1e-4
    if choose is by_importance:
        only = by_importance(lesson, others, most=1)
        assert only.best == choice.tried[0] and not only.best.within(only.full)


def test_fault_free_rows_may_weigh_as_much_as_some_classes() -> None:
    traces = made()
    noise = traces.origin.kind == "noise"
    # Noise that is seen seldom, and harms seldom: rows that no feature tells apart.
    traces.values[noise, 1] += np.float32(50)
    failed = traces.origin.failed & ~(noise & (np.arange(900) % 3 == 0))
    object.__setattr__(traces.origin, "failed", failed)
    plain, lesson = lesson_of(traces), lesson_of(traces, clean=3.0)

    rules, other = lesson.rules(alpha=1e-3), plain.rules(alpha=1e-3)

    clean = lesson.traces.origin.kind == NOTHING
    counts = np.bincount(lesson.labels)
    weights = [
        1 / counts[label] + (3 / clean.sum() if own else 0)
        for label, own in zip(lesson.labels, clean, strict=True)
    ]
    tree = DecisionTreeClassifier(ccp_alpha=1e-3, random_state=0).fit(
        lesson.bounds.normalised(lesson.traces.values), lesson.labels, weights
    )
    wanted = tree.predict(lesson.bounds.normalised(lesson.traces.values))
    said, before = (
        own.labels[own.leaf_of(lesson.traces.values)] for own in (rules, other)
    )
    assert (said == wanted).all()
    assert (said[clean] > 0).mean() < (before[clean] > 0).mean()


def test_of_layers_that_tell_as_much_the_cheapest_are_chosen() -> None:
    lesson, others = lesson_of(made()), made(seed=4)
    large, small, other, rest = (
        Layer((f"q{10 * n} of conv:out",), numbers)
        for n, numbers in ((3, 900), (1, 50), (0, 1), (2, 1))
    )
    twin = Layer(("q30 of conv:out", "q40 of conv:out"), 700)

    choice = by_layers(lesson, others, [large, small, other, rest, twin])

    assert set(choice.best.features) == {*twin.features, *small.features}
    assert choice.best.within(choice.full)
    by_hand = {
        layer: max(t.worth for t in choice.tried if t.features == layer.features)
        for layer in (large, small, other, rest, twin)
    }
    best = max(by_hand.values())
    alike = [layer for layer, worth in by_hand.items() if worth >= 0.99 * best]
    first = min(alike, key=lambda layer: layer.numbers)
    assert choice.best.features[: len(first.features)] == first.features


def test_layers_are_values_with_what_is_told_of_them() -> None:
    subject = captured(networks.resnet)
    watches = (*every_layer(subject)[:2], *every_layer(subject, Extremes())[1:3])
    wanted = features_of(watches[:3])

    layers = layers_of(subject, watches, wanted)

    assert len({watch.value for watch in watches}) == 3
    assert tuple(name for layer in layers for name in layer.features) == wanted
    shapes = {site.name: site.shape for site in subject.sites}
    numbers = [math.prod(shapes[watch.value]) for watch in watches[:2]]
    assert [layer.numbers for layer in layers] == numbers


def test_labels_are_as_the_paper_has_them() -> None:
    traces = made(50)
    failed = np.arange(50) % 3 > 0
    object.__setattr__(traces.origin, "failed", failed)

    classes = classes_of(traces)
    labels = labels_of(traces, classes)

    assert classes == ("regular", "memory", "noise")
    for kind, fails, label in zip(traces.origin.kind, failed, labels, strict=True):
        wanted = 0 if kind == NOTHING or not fails else classes.index(kind)
        assert label == wanted
    with pytest.raises(ValueError, match="kinds of traces must be among"):
        labels_of(traces, ("regular", "memory"))


def test_precision_and_recall_are_means_over_fault_classes() -> None:
    from sklearn.metrics import precision_recall_fscore_support

    chance = np.random.default_rng(5)
    wanted, got = chance.integers(0, 4, (2, 500))

    found = macro(wanted, got, 4)

    told = precision_recall_fscore_support(wanted, got, labels=[1, 2, 3])
    assert found == pytest.approx((told[0].mean(), told[1].mean()))
    with pytest.raises(ValueError, match="got none of class 4"):
        macro(wanted, got, 5)


def test_traces_can_be_saved_and_those_that_are_not_finite_left_out(
    tmp_path: Path,
) -> None:
    traces = made(20)
    traces.values[3, 2] = np.nan
    traces.origin.broken[5] = True

    traces.save(tmp_path / "t.npz")
    again = Traces.load(tmp_path / "t.npz")

    assert np.array_equal(again.values, traces.values, equal_nan=True)
    assert again.features == traces.features
    assert again.origin.kind.tolist() == traces.origin.kind.tolist()
    assert len(examples(again)) == 18


@lru_cache
def fitted() -> Fitted:
    network, inputs = case()
    return fit(network, inputs[:420], features=3, rate=0.05)


def test_a_monitor_is_fitted_and_tells_other_inputs_apart() -> None:
    network, inputs = case()
    monitor = fitted().monitor

    traces = seen_by(monitor, network, inputs[420:])

    assert len({fork.feature for fork in monitor.rules.forks}) <= 3
    assert len({watch.value for watch in monitor.watches}) <= 3
    failed = traces.origin.failed & (traces.origin.kind == "noise")
    limit = monitor.points.limit(0.05)
    assert (monitor.verdicts(traces.values).score[failed] > limit).mean() > 0.5
    assert monitor.classes[-1] == "non-finite"
    assert traces.features == monitor.rules.features
    known = np.isin(traces.origin.kind, (NOTHING, *monitor.rules.classes))
    seen = examples(traces.rows(known))
    labels = labels_of(seen, monitor.rules.classes)
    said = monitor.verdicts(seen.values).label
    memory = monitor.rules.classes.index(MEMORY)
    caught = said[labels == memory] > 0
    assert caught.mean() > 0.7
    clean = seen.origin.kind == NOTHING
    assert (said[clean] > 0).mean() < 0.2
    assert {"darkness", "pixelation", "specks"} <= set(traces.origin.kind)


def boxed(scores: Tensor) -> Tensor:
    """One detection of each image, of its best class."""
    best, classes = scores.softmax(1).max(1)
    box = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(len(scores), -1)
    return torch.cat([box, classes[:, None], best[:, None]], 1)[:, None]


def test_a_monitor_goes_by_the_tail_and_criterion_of_a_case() -> None:
    network, inputs = case()
    judged = MonitorSettings(criterion=DetectionsChanged(confidence=1e-6), tail=boxed)
    ours = fitted().monitor
    about = {name: told for name, told in ours.about.items() if name != "criterion"}

    untold = replace(ours, about=about)
    by_box = seen_by(untold, network, inputs[420:440], settings=judged)

    # Whoever finds another class in the same box finds something wrong.
    by_class = seen_by(ours, network, inputs[420:440])
    assert by_box.scores.shape == (len(by_class), 6)
    assert by_box.origin.failed.any() and not by_box.origin.failed.all()
    assert by_box.origin.failed.tolist() == by_class.origin.failed.tolist()


def test_a_network_is_left_as_it_was_and_the_same_seed_gives_the_same_monitor() -> None:
    network, inputs = case()
    before = {name: value.clone() for name, value in network.state_dict().items()}

    again = fit(network, inputs[:420], features=3, rate=0.05)

    first = fitted().monitor
    assert json.dumps(first.rules.as_record()) == json.dumps(
        again.monitor.rules.as_record()
    )
    after = network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_monitor_of_another_network_is_not_tried() -> None:
    network = copy.deepcopy(case()[0])
    with torch.no_grad():
        next(network.parameters())[0] += 1

    with pytest.raises(ValueError, match="must be one of this network"):
        seen_by(fitted().monitor, network, case()[1])


def test_too_little_to_learn_from_is_refused() -> None:
    with pytest.raises(
        ValueError, match="at least 10 failed rows .*; give [2-9] times"
    ):
        lesson_of(made(20))


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_inputs_that_are_not_finite_are_named_before_any_work(wrong: float) -> None:
    network, inputs = case()
    spoilt = inputs[:420].clone()
    spoilt[7, ..., 0, 0] = spoilt[300] = wrong
    told: list[str] = []

    line = "in input 7, the first of 2 such of 420"
    with pytest.raises(ValueError, match=line):
        fit(network, spoilt, rate=0.05, notice=told.append)
    with pytest.raises(ValueError, match=line):
        fit_checksums(network, spoilt, rate=0.05)
    with pytest.raises(ValueError, match="in input 427, "):
        seen_by(fitted().monitor, network, spoilt, first=420)
    assert not told


def test_markers_that_are_not_finite_are_named_with_the_users_input() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 4)).eval()
    inputs = torch.randn(100, 8)
    inputs[41] = 3e38
    with torch.no_grad():
        next(network.parameters()).mul_(30)

    with pytest.raises(ValueError, match=r"for \w+ of 0:out of input 41 \(counted"):
        fit(network, inputs, rate=0.05)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("features", -1), ("alpha", -1.0), ("alpha", math.nan), ("seed", -1),
        ("seed", 2**32), ("most", -1), ("batch", 0), ("clean", math.inf),
        ("choose", "luck"), ("marker", NonFinite()), ("marker", "moments"),
        ("values", "head:out"), ("values", ("a", "a")), ("values", (3,)),
        ("features", 2.5), ("most", True), ("alpha", "small"), ("rate", "low"),
        ("rate", math.nan), ("criterion", "top1"), ("tail", 3), ("corruptions", 1),
        ("kinds", "noise"), ("kinds", ()), ("kinds", ("fog",)), ("faults", ("flips",)),
        ("settings", {"features": 2}), ("progress", 3),
    ],
)  # fmt: skip
def test_settings_are_refused_before_any_work(name: str, value: Any) -> None:
    told: list[str] = []

    with pytest.raises(ValueError, match=f"^{name} must be .*got .*; "):
        fit(*case(), notice=told.append, **{name: value})
    assert not told


def test_another_way_to_choose_features() -> None:
    network, inputs = case()

    how: dict[str, Any] = {"rate": 0.05, "alpha": 1e-3}
    found = fit(network, inputs[:300], choose="importance", most=0, **how)

    assert len({watch.value for watch in found.monitor.watches}) > 3
    choice = found.choice
    assert choice
    tried = [len(trial.features) for trial in choice.tried]
    assert tried == list(range(1, len(tried) + 1)) and len(tried) <= 4
    assert choice.best.within(choice.full) or choice.best == max(
        choice.tried, key=lambda trial: trial.worth
    )
    layers = fit(network, inputs[:300], choose="layers", most=2, **how).monitor
    assert {name.split()[-1] for name in layers.rules.features} == {
        watch.value for watch in layers.watches
    }
    assert len({watch.value for watch in layers.watches}) <= 2
    with pytest.raises(ValueError, match="features must be 2 or more for pairs"):
        fit(network, inputs[:300], choose="pairs", features=1)
    with pytest.raises(ValueError, match="choose must be .*got 'guessing'"):
        fit(network, inputs[:300], choose="guessing")


def test_a_network_that_cannot_be_captured_is_refused() -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :3] if x.sum() > 0 else -x.flatten(1)[:, :3]

    with pytest.raises(ValueError, match="must be captured, got"):
        fit(Branching().eval(), images(), rate=0.2)


def test_the_command_fits_and_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "digits.json"

    code = main(
        ["monitor", "fit", "digits", "--inputs", "600", "--rate", "0.05",
         "--features", "2", "--out", str(path)]
    )  # fmt: skip

    told = capsys.readouterr().out
    assert code == 0 and "chosen" in told and "memory" in told
    assert main(["monitor", "show", str(path)]) == 0
    told = capsys.readouterr().out
    assert "false alarms: 5.00% at most" in told
    assert "+8 each time that the span of a feature of head:out" in told
    assert main(["monitor", "show", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stoic monitor"] == 4
    assert Monitor.load(path).about["inputs"] == 600


def test_the_command_tries_a_monitor_on_other_inputs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "digits.json"
    fitted().monitor.save(path)

    assert main(["monitor", "evaluate", "digits", str(path), "--inputs", "100"]) == 0
    told = capsys.readouterr().out
    assert main(
        ["monitor", "evaluate", "digits", str(path), "--inputs", "100", "--json"]
    ) == 0  # fmt: skip
    card = json.loads(capsys.readouterr().out)

    assert "inferences on 100 inputs, none of them known" in told
    assert "calibrated alarm" in told and "pixelation" in told
    assert "at the calibrated 5.0%" in told and "at exactly 1.0% here" in told
    assert "residual hazard" in told and "\nnon-finite  " in told
    assert "by the trivial one" in told and "\nhit, least found first" in told
    assert "\nhit at once" in told and "\n4 bits" in told
    assert {each["detector"] for each in card["beside"]} == {"this monitor", "trivial"}
    # One clean run, twelve with single flips, eight with several bits, and up to three
    # of each corruption.
    assert card["images"] == 100 and 3300 < card["rows"] <= 3900
    assert "memory flips:2" in told and "memory burst:4" in told
    first = card["levels"]["finite"][0]
    assert [each["name"] for each in first["classes"]] == list(
        fitted().monitor.rules.classes[1:]
    )
    assert main(["monitor", "evaluate", "digits", str(path), "--inputs", "500"]) == 2


@lru_cache
def judged() -> tuple[Traces, Scorecard]:
    network, inputs = case()
    monitor = fitted().monitor
    traces = seen_by(monitor, network, inputs[420:500])
    return traces, scorecard(monitor, traces, draws=50)


def test_a_scorecard_is_what_its_rows_say() -> None:
    monitor = fitted().monitor

    traces, card = judged()

    said, origin = monitor.verdicts(traces.values), traces.origin
    clean = origin.kind == NOTHING
    assert card.rules.clean and card.alarm.clean
    assert card.rules.clean.value == pytest.approx((said.label[clean] > 0).mean())
    assert card.alarm.clean.value == pytest.approx(said.unlike[clean].mean())
    for line in card.kinds:
        here = (origin.kind == line.name) & origin.failed
        assert line.recall and line.failed
        assert line.recall.value == pytest.approx((said.label[here] > 0).mean())
    assert [line.name for line in card.several] == ["1 bit", "2 bits", "4 bits"]
    for line, bits in zip(card.several, (1, 2, 4), strict=True):
        assert line.failed
        assert line.failed.value == pytest.approx(
            origin.failed[origin.bits == bits].mean()
        )
    limit = monitor.points.limit(0.05)
    false = card.limits[0.05].clean
    assert false and false.value == pytest.approx((said.score[clean] > limit).mean())
    for score in card.scores[: len(card.kinds)]:
        here = (origin.kind == score.name) & origin.failed
        recall, area = score.recall[0.05], score.auroc
        assert recall and area
        assert recall.value == pytest.approx((said.score[here] > limit).mean())
        # Of 80 fault-free rows one may be above: the limit is the second highest.
        assert score.exact[0.001] is None and score.exact[0.01] is None
        right = ((origin.kind == score.name) & ~origin.failed) | clean
        wins = said.score[here][:, None] - said.score[right][None]
        assert area.value == pytest.approx(((np.sign(wins) + 1) / 2).mean())
    lost = ~np.isfinite(traces.values).all(1) | origin.broken
    faulty = lost & ~clean
    finite, other, together = card.parts
    assert (finite.rows, other.rows) == ((~lost).sum(), lost.sum())
    assert together.rows == len(traces) and other.rows > 10
    assert other.alarms.failed and other.alarms.recall
    assert other.alarms.failed.value == pytest.approx(origin.failed[faulty].mean())
    found = said.label[faulty & origin.failed] > 0
    assert other.alarms.recall.value == pytest.approx(found.mean())
    sure = examples(traces.rows(np.isin(origin.kind, (NOTHING, *monitor.classes))))
    wanted = labels_of(sure, monitor.rules.classes)
    got = monitor.verdicts(sure.values).label
    levels = card.levels["finite"][0]
    for number, each in enumerate(levels.classes, 1):
        assert each.recall and each.precision
        assert each.recall.value == pytest.approx(
            (got[wanted == number] == number).mean()
        )
        assert each.precision.value == pytest.approx(
            (wanted[got == number] == number).mean()
        )


def test_a_long_table_is_cut_and_says_how_much_it_lacks() -> None:
    _, card = judged()
    failing = [replace(card.kinds[0], name=f"conv{n}:out") for n in range(30)]

    told = list(text_of(replace(card, sites=tuple(failing))))

    (hit,) = (table for table in told if table.startswith("hit, least found first"))
    assert hit.splitlines()[-1] == "and 18 more, which --json has"
    assert len(hit.splitlines()) == 14
    assert told[-1].startswith("- at exactly such a rate")
    (unseen,) = (table for table in told if table.startswith("corruption never seen"))
    kinds = {line.split()[0] for line in unseen.splitlines()[1:]}
    assert kinds == {kind.name for kind in UNSEEN}


def test_the_trivial_detector_stands_beside_every_monitor() -> None:
    network, inputs = case()
    monitor = fitted().monitor

    found = tried(monitor, network, inputs[:470])

    (trivial,) = found.others
    own = watched(network, inputs[:420])
    ends = replace(
        own, watches=tuple(replace(w, marker=Extremes()) for w in own.watches)
    )
    golden, _ = by_hooks(network, ends, inputs[:420])
    assert isinstance(trivial, Trivial)
    assert [f"largest of {watch.value}" for watch in own.watches] == list(
        trivial.features
    )
    assert np.allclose(trivial.high, golden[:, 1::2].max(0), rtol=1e-6)
    # What others look at changes no fault, nor what is finite to the monitor.
    alone = seen_by(monitor, network, inputs[420:470], first=420)
    told = found.traces.columns(monitor.rules.features).values
    assert np.array_equal(told, alone.values, equal_nan=True)
    card = scorecard(monitor, found.traces, others=found.others, draws=20)
    assert card.parts[0].rows == (alone.finite & ~alone.origin.broken).sum()
    largest, origin = found.traces.columns(trivial.features).values, alone.origin
    fine = (largest <= trivial.high) & np.isfinite(largest)
    alarmed = np.asarray(~fine.all(1))
    clean = origin.kind == NOTHING
    assert card.trivial and card.trivial.clean and card.trivial.benign
    assert card.trivial.clean.value == pytest.approx(alarmed[clean].mean())
    right = ~clean & ~origin.failed
    assert card.trivial.benign.value == pytest.approx(alarmed[right].mean())
    for line in card.trivially:
        here = (origin.kind == line.name) & origin.failed
        assert line.recall
        assert line.recall.value == pytest.approx(alarmed[here].mean())


def test_every_baseline_stands_beside_a_monitor_if_asked() -> None:
    """As if it had been fitted with few inputs: others then learn from these alone."""
    network, inputs = case()
    monitor = fitted().monitor
    few = replace(monitor, about=monitor.about | {"inputs": 60})
    told: list[str] = []

    found = tried(
        few, network, inputs[:100], MonitorSettings(rate=0.2), baselines=True,
        notice=told.append,
    )  # fmt: skip

    assert [each.name for each in found.others] == [
        *("trivial", "ranger", "feature-map tracing", "mahalanobis", "signatures"),
        *("softmax confidence", "energy", "checksums"),
    ]
    assert told == ["fitting other detectors to 60 inputs"]
    for each in found.others:
        assert not np.isnan(each.score(found.traces)).any()
    with pytest.raises(ValueError, match="inputs must be more than the 60 "):
        tried(few, network, inputs[:60])
    with pytest.raises(ValueError, match="must be one of this network"):
        tried(few, small(), images(80))


def test_the_command_says_in_one_line_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.json").write_text("no monitor")

    assert main(["monitor", "show", str(tmp_path / "m.json")]) == 2
    assert main(["monitor", "fit", "digits", "--inputs", "60", "--out", "x"]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert all(line.startswith("stoic: ") for line in (told[0], told[-1]))


def test_a_missing_package_is_said_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "digits.json"
    fitted().monitor.save(path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    code = main(
        ["monitor", "export", "digits", str(path), "--out", str(tmp_path / "m.onnx")]
    )

    assert code == 2 and not (tmp_path / "m.onnx").exists()
    assert "stoic: export to ONNX needs the package onnx" in capsys.readouterr().err


def test_spoilt_inputs_are_found_again() -> None:
    found = fitted().monitor.about["corruptions"]

    assert {name for name, _, _ in found} == {
        *(kind.name for kind in CORRUPTIONS),
        *(kind.name for kind in UNSEEN),
    }
    assert 0.1 <= Spoilt(CORRUPTIONS[0], *found[0][1:]).share < 0.2
