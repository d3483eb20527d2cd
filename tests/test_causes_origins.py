"""Failures of any origin: under faults, and of a monitor; markers as features."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import stoic
from stoic.cases import origins
from stoic.cases.errors import CaseError
from stoic.cases.origins import failing_of
from stoic.causes.failures import Inquiry
from stoic.causes.store import content
from stoic.cli import main
from stoic.explaining import pipeline_of
from stoic.extracting import extractor_of
from stoic.marking import logarithmic
from stoic.monitoring import fit


@pytest.fixture(scope="module")
def case() -> stoic.Case:
    return stoic.load("digits", 320)


@pytest.fixture(scope="module")
def struck(case: stoic.Case) -> Inquiry:
    return failing_of(case, 80, 0, of="faults")


@pytest.fixture(scope="module")
def monitor(case: stoic.Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("monitor") / "digits.json"
    assert isinstance(case.inputs, Tensor)
    fit(case.network, case.inputs[:140], rate=0.2, features=1).monitor.save(file)
    return file


def flipped(tensor: Tensor, element: int, bit: int) -> None:
    """Flip a bit of a float32, with NumPy and in place."""
    words = tensor.detach().numpy().reshape(-1).view(np.uint32)
    words[element] ^= np.uint32(1 << bit)


def under_fault(network: nn.Module, name: str, image: Tensor) -> Tensor:
    """Return scores of one image under the fault that a name tells, by hand."""
    place, _, bit = name.rpartition(" under ")[2].rpartition(" bit ")
    site, _, element = place.removesuffix("]").partition("[")
    network = copy.deepcopy(network)
    if site.endswith(":out"):

        def hit(_: nn.Module, __: object, out: Tensor) -> Tensor:
            out = out.clone().contiguous()
            flipped(out, int(element), int(bit))
            return out

        network.get_submodule(site.removesuffix(":out")).register_forward_hook(hit)
    else:
        flipped(network.get_parameter(site).data, int(element), int(bit))
    with torch.no_grad():
        scores: Tensor = network(image[None])[0]
    return scores


def test_each_failure_is_right_without_its_fault_and_wrong_with_it(
    case: stoic.Case, struck: Inquiry
) -> None:
    failures = struck.failures
    assert len(failures) == 80
    with torch.no_grad():
        plain = case.network(failures.images).argmax(1).numpy()
    assert (plain == failures.labels).all()
    assert (failures.predicted != failures.labels).all()
    assert np.isfinite(failures.scores).all()
    for row, name in enumerate(failures.names):
        scores = under_fault(case.network, name, failures.images[row])
        assert int(scores.argmax()) == failures.predicted[row]
        torch.testing.assert_close(
            scores, torch.from_numpy(failures.scores[row]), rtol=1e-4, atol=1e-4
        )


def test_failures_of_a_built_in_case_are_kept_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    finds = origins._found

    def counted(*asked: Any) -> Inquiry:
        made.append(asked[3])
        return finds(*asked)

    monkeypatch.setattr(origins, "_found", counted)

    def asked(seed: int) -> Inquiry:
        return stoic.failing("digits", 10, seed, kept=tmp_path)

    first, again = asked(0), asked(0)
    assert made == [0]
    plain = stoic.failing("digits", 10, 0)
    for one in (first, again):
        assert content(one) == content(plain)
        assert one.failures.names == plain.failures.names
        assert one.classes == plain.classes
    asked(1)
    (file, _) = sorted(tmp_path.glob("*/*.npz"), key=lambda own: own.stat().st_mtime_ns)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert content(asked(0)) == content(plain)
    assert made == [0, 0, 1, 0]


def test_what_is_recorded_of_a_fault_is_the_fault(struck: Inquiry) -> None:
    recorded, known = struck.failures.recorded, struck.failures.scenarios
    assert known is not None
    assert set(recorded["kind"].tolist()) == {"weight", "value"}
    for row, name in enumerate(struck.failures.names):
        assert f"under {recorded['site'][row]}[" in name
        assert name.endswith(f"bit {recorded['bit'][row]}")
        words = np.array([recorded["before"][row], recorded["after"][row]], np.float32)
        before, after = words.view(np.uint32)
        assert before ^ after == 1 << recorded["bit"][row]
        assert recorded["site"][row].startswith(known[row])
    layers = list(dict.fromkeys(known[recorded["depth"].argsort()]))
    assert layers == ["conv1", "conv2", "hidden", "head"]


def test_the_same_seed_strikes_the_same_way_and_another_does_not(
    case: stoic.Case,
) -> None:
    few = case.first(50)
    first, again, other = (failing_of(few, 10, s, of="faults") for s in (0, 0, 1))
    assert again.failures.names == first.failures.names
    assert content(again) == content(first)
    assert other.failures.names != first.failures.names


def test_causes_in_hardware_cluster_by_what_a_monitor_sees(struck: Inquiry) -> None:
    pipeline = pipeline_of("markers", "PCA", "HDBSCAN")
    found = stoic.explain(struck, pipeline)
    assert found.scores is not None and found.random is not None
    purity = found.random.numbers["purity"]
    assert purity is not None
    assert found.scores.purity is not None
    assert found.scores.purity > purity.mean + 0.2
    site = pipeline_of("markers and site", "PCA", "HDBSCAN")
    assert stoic.explain(struck, site).clusters.count > 1
    bare = replace(struck, failures=replace(struck.failures, observed={}))
    assert content(bare) != content(struck)


def test_markers_of_mistakes_are_quantiles_of_sums_over_channels(
    case: stoic.Case,
) -> None:
    inquiry = stoic.failing("digits", 1200, 0)
    features = extractor_of("markers")(inquiry, 0)
    taken: dict[str, Tensor] = {}
    layers = [
        (name, each)
        for name, each in case.network.named_modules()
        if isinstance(each, nn.Conv2d | nn.Linear)
    ]
    hooks = [
        each.register_forward_hook(
            lambda _, __, out, name=name: taken.update({name: out})
        )
        for name, each in layers
    ]

    def markers(images: Tensor) -> np.ndarray:
        with torch.no_grad():
            case.network(images)
        sums = [
            taken[name].flatten(2).sum(2) if taken[name].dim() > 2 else taken[name]
            for name, _ in layers
        ]
        deciles = np.arange(11) / 10
        return np.concatenate(
            [np.quantile(own.numpy(), deciles, axis=1).T for own in sums], 1
        )

    seen, clean = (
        markers(images) for images in (inquiry.failures.images, inquiry.examples.images)
    )
    for hook in hooks:
        hook.remove()
    apart = (seen - np.median(clean, 0)) / clean.std(0)
    expected = np.sign(apart) * np.log(1 + np.abs(apart))
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="must be of failures under faults"):
        extractor_of("markers and site")(inquiry, 0)


def test_logarithms_are_finite_whatever_a_fault_made_of_a_marker() -> None:
    values = np.array([[np.nan, 1], [np.inf, 2], [-np.inf, 3], [3e38, 3]], np.float32)
    found = logarithmic(values, np.array([[0, 2], [1, 2], [np.nan, 2]], np.float32))
    assert np.isfinite(found).all()
    assert found[2, 0] < 0 < found[0, 0]
    assert found[0, 0] == found[1, 0]
    assert found[3, 0] == pytest.approx(found[1, 0], rel=0.01)


@pytest.mark.parametrize("of", ["false-alarms", "misses"])
def test_a_monitor_errs_on_the_images_that_it_is_shown(
    case: stoic.Case, monitor: Path, of: str
) -> None:
    inquiry = failing_of(case, 300, 0, of=of, monitor=str(monitor), first=140)  # type: ignore[arg-type]
    failures = inquiry.failures
    spoilt = np.array(failures.scenarios) != "memory"
    with torch.no_grad():
        scores = case.network(failures.images).numpy()
    assert spoilt.any()
    np.testing.assert_allclose(
        scores[spoilt], failures.scores[spoilt], rtol=1e-3, atol=1e-3
    )
    assert isinstance(case.inputs, Tensor)
    unspoilt = failures.images[~spoilt][:, None]
    assert (unspoilt == case.inputs[None, 140:]).flatten(2).all(2).any(1).all()
    golden = case.network(case.inputs[140:]).argmax(1).numpy()
    rows = [int(name.split()[1]) for name in failures.names]
    changed = failures.predicted != golden[rows]
    assert changed.all() if of == "misses" else not changed.any()
    assert len(inquiry.failures.observed["markers"]) == len(failures)


def test_failures_without_a_monitor_or_of_nothing_known_are_refused(
    case: stoic.Case, monitor: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, said in (
        (("--of", "misses"), "misses must be those of a monitor, got none"),
        (("--of", "faults", "--monitor", str(monitor)), "got one for faults"),
        (("--of", "faults", "--failures", "3"), "failures must be at least 10"),
    ):
        assert main(["causes", "digits", *words]) == 2
        told = capsys.readouterr().err
        assert said in told
        assert told.count("\n") == 1
    with pytest.raises(CaseError, match="must have inputs after the first 320"):
        failing_of(case, 20, 0, of="misses", monitor=monitor, first=320)
