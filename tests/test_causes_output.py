"""What an engineer looks at: typical images, rules, files, and retraining."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from stoic.causes.describing import described
from stoic.causes.failures import Examples
from stoic.causes.pipeline import NOISE, Clusters
from stoic.causes.reading import read_images
from stoic.causes.retraining import Learning, accuracy, assigned, evenly, retrained
from stoic.causes.typical import looks


def on_a_line() -> tuple[Clusters, np.ndarray]:
    """Two clusters of points on a line, and one point between them."""
    places = np.array([0, 1, 2, 3, 4, 7, 10, 11, 12, 13, 14], np.float32)
    labels = np.array([0] * 5 + [NOISE] + [1] * 5)
    return Clusters.of(labels, {}), places[:, None]


def test_typical_is_the_middle_and_borderline_the_edge_that_others_are_near() -> None:
    clusters, points = on_a_line()
    first, second = looks(clusters, points, typical=2, borderline=1)
    assert first.typical.tolist() == [2, 1]
    assert first.borderline.tolist() == [4]
    assert second.typical.tolist() == [8, 7]
    assert second.borderline.tolist() == [6]


def test_an_image_that_is_in_another_cluster_too_is_borderline() -> None:
    clusters = Clusters.of(np.repeat([0, 1], 5), {})
    points = np.array([0, 1, 2, 3, 9, 9, 10, 11, 12, 13], np.float32)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = looks(clusters, points, typical=1, borderline=1)[0]
    assert first.borderline.tolist() == [4]


def test_one_cluster_of_all_has_no_border() -> None:
    clusters = Clusters.of(np.zeros(6, np.int64), {})
    (only,) = looks(clusters, np.arange(6, dtype=np.float32)[:, None])
    assert sorted(only.typical.tolist()) == list(range(6))
    assert only.borderline.tolist() == []


def test_a_rule_says_which_parameters_a_cluster_shares() -> None:
    chance = np.random.default_rng(0)
    gain, yaw = chance.uniform(0, 1, 300), chance.uniform(-60, 60, 300)
    lens = np.where(chance.random(300) < 0.5, "wide", "tele")
    labels = np.where((gain < 0.2) & (lens == "wide"), 0, 1)
    recorded = {"yaw": yaw, "gain": gain, "lens": lens}
    dark = described(Clusters.of(labels, {}), recorded)[1]
    assert {str(own)[:8] for own in dark.conditions} == {"gain ≤ 0", "lens is "}
    assert dark.share == 1
    assert dark.precision == 1
    holds = np.logical_and.reduce([own(recorded) for own in dark.conditions])
    assert np.array_equal(holds, labels == 0)


def test_a_rule_counts_what_it_holds_of() -> None:
    chance = np.random.default_rng(1)
    gain = chance.uniform(0, 1, 200)
    labels = np.where(gain + chance.normal(0, 0.1, 200) < 0.4, 0, 1)
    clusters, recorded = Clusters.of(labels, {}), {"gain": gain}
    for number, rule in enumerate(described(clusters, recorded)):
        inside = clusters.labels == number
        holds = np.logical_and.reduce([own(recorded) for own in rule.conditions])
        assert rule.share == (holds & inside).sum() / inside.sum()
        assert rule.precision == (holds & inside).sum() / holds.sum()
        assert rule.share > 0.8
        assert rule.precision > 0.8


def test_a_rule_is_about_huge_numbers_infinity_and_none_at_all() -> None:
    after = np.array([1e38] * 60 + [-3e38] * 20 + [np.inf] * 20 + [0.1, np.nan] * 50)
    labels = np.repeat([0, 1], 100)
    clusters = Clusters.of(labels, {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rule = described(clusters, {"after": after})[0]
    holds = np.logical_and.reduce([own({"after": after}) for own in rule.conditions])
    assert rule.share == (holds & (labels == 0)).sum() / 100 == 0.8
    assert rule.precision == 1


@pytest.mark.parametrize("recorded", [{}, {"same": np.ones(20)}])
def test_without_a_parameter_that_differs_there_is_no_rule(
    recorded: dict[str, np.ndarray],
) -> None:
    clusters = Clusters.of(np.arange(20) % 2, {})
    for rule in described(clusters, recorded):
        assert str(rule) == "no recorded parameter tells it apart"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label, colour in (("cat", 255), ("dog", 0)):
        (tmp_path / label).mkdir()
        Image.new("RGB", (8, 6), (colour, 0, 0)).save(tmp_path / label / "a.png")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    return tmp_path


def test_images_are_read_with_the_names_of_their_folders(folder: Path) -> None:
    read = read_images(folder, 3, (12, 16))
    assert read.names == ("cat/a.png", "dog/a.png")
    assert read.labels == ("cat", "dog")
    assert read.pictures.shape == (2, 3, 12, 16)
    assert read.pictures[0, 0].min() == 1
    assert read.pictures[1].max() == 0
    assert read_images(folder, 1, (6, 8)).pictures.shape == (2, 1, 6, 8)


def test_unreadable_and_truncated_images_are_named_or_refused(folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"no picture")
    whole = (folder / "cat" / "a.png").read_bytes()
    (folder / "dog" / "cut.png").write_bytes(whole[: len(whole) // 2])
    read = read_images(folder, 3, (6, 8))
    assert [name for name, _ in read.skipped] == ["broken.png", "dog/cut.png"]
    assert len(read.names) == 2
    with pytest.raises(ValueError, match="must be readable, got broken.png"):
        read_images(folder, 3, (6, 8), strict=True)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must hold images that can be read"):
        read_images(tmp_path, 3, (6, 8))
    with pytest.raises(ValueError, match="images must be a folder"):
        read_images(tmp_path / "none", 3, (6, 8))


def test_other_images_belong_to_the_cluster_of_a_near_failure() -> None:
    clusters, points = on_a_line()
    others = np.array([[1.5], [7.0], [14.9], [-30.0]], np.float32)
    assert assigned(points, clusters, others).tolist() == [0, NOISE, 1, NOISE]


def test_clusters_are_taken_from_in_turn() -> None:
    labels = np.array([0] * 8 + [1] * 2 + [NOISE] * 5)
    taken = evenly(labels, 6, np.random.default_rng(0))
    assert np.bincount(labels[taken]).tolist() == [4, 2]
    assert len(set(taken.tolist())) == 6
    assert len(evenly(labels, 100, np.random.default_rng(0))) == 10


def test_retraining_helps_and_leaves_the_network_as_it_was() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    images = torch.randn(200, 1, 2, 2)
    labels = (images[:, 0, 0, 0] > 0).long().numpy()
    before = [own.clone() for own in network.parameters()]
    learning = Learning(epochs=20, rate=0.05)
    learnt = retrained(network, Examples(images, labels), learning, 0)
    again = retrained(network, Examples(images, labels), learning, 0)
    assert accuracy(learnt, images, labels).mean() > 0.95
    assert accuracy(network, images, labels).mean() < 0.8
    assert all(map(torch.equal, before, network.parameters()))
    assert not network.training
    assert all(map(torch.equal, learnt.parameters(), again.parameters()))
