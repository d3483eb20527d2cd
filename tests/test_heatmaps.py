"""Heat maps as features, the layer that they are taken of, and their pictures."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stoic.causes.extractors.heatmaps import (
    HeatMaps,
    RelevantChannels,
    choose_layer,
    heat_maps,
)
from stoic.causes.failures import Examples, Failures, Inquiry
from stoic.causes.pipeline import Features
from stoic.causes.relevance.composite import EPSILON_PLUS
from stoic.causes.relevance.overlay import heat_colours, overlay
from stoic.causes.relevance.propagation import Propagation


def inquiry(images: Tensor) -> Inquiry:
    """A small network, and images that it is asked about."""
    network = nn.Sequential(
        OrderedDict(
            one=nn.Conv2d(3, 4, 3, padding=1),
            relu=nn.ReLU(),
            two=nn.Conv2d(4, 5, 3, stride=2),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            head=nn.Linear(5 * 9, 4),
        )
    ).eval()
    count = len(images)
    failures = Failures(
        images=images,
        labels=np.zeros(count, np.int64),
        scores=network(images).detach().numpy(),
        names=tuple(map(str, range(count))),
        recorded={},
    )
    examples = Examples(images, failures.labels)
    return Inquiry(network, failures, examples, torch.zeros(3), torch.ones(3))


def test_heat_maps_are_relevance_summed_over_channels() -> None:
    asked = inquiry(torch.rand(12, 3, 8, 8))
    maps = heat_maps(asked, EPSILON_PLUS, batch=5)

    made = Propagation.of(asked.network, asked.failures.images, EPSILON_PLUS)
    values = [layer.value for layer in made.layers]
    at = made(asked.failures.images, keep=values).at

    assert [*maps] == ["one", "two", "head"]
    for own, value in zip(maps.values(), values, strict=True):
        whole = at[value].numpy()
        flat = whole.sum(1).reshape(12, -1) if whole.ndim == 4 else whole
        np.testing.assert_allclose(own, flat, rtol=1e-4, atol=1e-5)


def restated_rows(maps: Features) -> NDArray[np.float64]:
    """Each row's distances to all rows, one by one, the farthest being 1."""
    count = len(maps)
    rows = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            rows[i, j] = np.sqrt(((maps[i].astype(float) - maps[j]) ** 2).sum())
        rows[i] /= rows[i].max()
    return rows


def test_features_are_distances_to_all_failures_in_one_layer_but_the_first() -> None:
    asked = inquiry(torch.rand(15, 3, 8, 8))

    chosen = HeatMaps().chosen(asked)

    assert set(chosen.tightness) == {"two", "head"}
    assert chosen.layer == min(chosen.tightness, key=chosen.tightness.__getitem__)
    expected = restated_rows(heat_maps(asked)[chosen.layer])
    np.testing.assert_allclose(chosen.rows, expected, atol=1e-5)
    assert np.array_equal(HeatMaps()(asked, 3), chosen.rows)


def test_the_layer_with_the_tightest_clusters_is_chosen() -> None:
    chance = np.random.default_rng(0)
    centres = np.repeat(np.eye(3, 6) * 10, 10, axis=0)
    tight = (centres + 0.1 * chance.normal(size=(30, 6))).astype(np.float32)
    loose = chance.normal(size=(30, 6)).astype(np.float32)

    chosen = choose_layer({"loose": loose, "tight": tight})

    assert chosen.layer == "tight"
    assert chosen.tightness["tight"] < chosen.tightness["loose"]


def test_a_layer_without_heat_is_passed_over_and_equal_maps_are_refused() -> None:
    some = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    equal = np.ones((12, 4), np.float32)
    assert choose_layer({"equal": equal, "some": some}).layer == "some"
    with pytest.raises(ValueError, match="heat maps must differ, got 12 equal ones"):
        choose_layer({"equal": equal})


def test_channels_are_the_chosen_layers_shares_of_relevance() -> None:
    asked = inquiry(torch.rand(12, 3, 8, 8))
    extractor = RelevantChannels(EPSILON_PLUS)

    found = extractor(asked, 0)

    layer = HeatMaps(EPSILON_PLUS).chosen(asked).layer
    assert found.shape == (12, {"two": 4, "head": 45}[layer])
    np.testing.assert_allclose(np.abs(found).sum(1), 1, rtol=1e-5)
    assert "EPSILON" not in repr(extractor) and "ZPlus(" in repr(extractor)


def test_colours_run_from_blue_over_white_to_red() -> None:
    blue, white, red = heat_colours(torch.tensor([-1.0, 0.0, 1.0])).tolist()
    assert white == [1, 1, 1]
    assert blue[2] > 0.7 > blue[0] and red[0] > 0.7 > red[2]


def test_an_overlay_shows_heat_where_it_is_and_the_picture_elsewhere() -> None:
    pictures = torch.full((2, 3, 8, 8), 0.5)
    heat = torch.zeros(2, 8, 8)
    heat[0, 1, 1], heat[0, 6, 6] = 4.0, -4.0

    seen = overlay(pictures, heat)

    assert seen.shape == pictures.shape
    assert torch.allclose(seen[1], torch.tensor(0.5))
    assert torch.allclose(seen[0, :, 3, 4], torch.tensor(0.5))
    red, blue = seen[0, :, 1, 1], seen[0, :, 6, 6]
    assert red[0] > red[2] + 0.3 and blue[2] > blue[0] + 0.3


def test_an_overlay_takes_maps_of_another_size_and_grey_pictures() -> None:
    seen = overlay(torch.rand(2, 1, 8, 8), torch.rand(2, 2, 2))
    assert seen.shape == (2, 3, 8, 8)
    assert seen.min() >= 0 and seen.max() <= 1
    with pytest.raises(ValueError, match="heat must be one map for each of 2"):
        overlay(torch.rand(2, 1, 8, 8), torch.rand(2, 1, 2, 2))
    with pytest.raises(ValueError, match="heat must be finite"):
        overlay(torch.rand(1, 1, 8, 8), torch.full((1, 2, 2), torch.nan))
