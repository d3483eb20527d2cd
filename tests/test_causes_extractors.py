"""Extractors: features of failures, each beside a slow and obvious way to get them."""

from itertools import count

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stoic.causes.extractors.autoencoder import Autoencoder
from stoic.causes.extractors.backbones import Backbone, Body, Pretrained, Tuned
from stoic.causes.extractors.mixed import Mixed
from stoic.causes.extractors.neurons import Layers, Neurons
from stoic.causes.failures import Examples, Failures, Inquiry
from stoic.extracting import extractor_of


def inquiry(channels: int = 3, failures: int = 30, examples: int = 80) -> Inquiry:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(channels, 6, 3),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    ).eval()
    images, labels = _striped(failures + examples, channels)
    with torch.no_grad():
        scores = network(images[:failures]).numpy()
    failing = Failures(
        images=images[:failures],
        labels=labels[:failures],
        scores=scores,
        names=tuple(str(place) for place in range(failures)),
        recorded={},
    )
    return Inquiry(
        network=network,
        failures=failing,
        examples=Examples(images[failures:], labels[failures:]),
        black=torch.full((channels,), -1.0),
        white=torch.full((channels,), 1.0),
    )


def _striped(rows: int, channels: int) -> tuple[Tensor, np.ndarray]:
    """Stripes across or along: two classes that no single pixel tells apart."""
    labels = np.arange(rows) % 2
    shift = torch.rand(rows, 1, 1, 1) * 6.3
    place = torch.arange(16.0).reshape(1, 1, 1, -1)
    lines = torch.sin(place * 1.5 + shift).expand(-1, channels, 16, -1)
    turned = torch.from_numpy(labels).reshape(-1, 1, 1, 1) == 1
    return torch.where(turned, lines.transpose(2, 3), lines), labels


def backbone(size: int = 16) -> Backbone:
    def load() -> Body:
        torch.manual_seed(1)
        first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        last = nn.Sequential(nn.Conv2d(8, 12, 3, padding=1), nn.ReLU())
        return Body(first.requires_grad_(False), last.requires_grad_(False))

    return Backbone("small", "1", size, load)


@pytest.mark.parametrize("channels", [1, 3])
def test_transfer_features_are_the_means_of_the_last_maps(channels: int) -> None:
    asked = inquiry(channels)
    first, last = backbone().load()
    for image, found in zip(
        asked.failures.images, Pretrained(backbone())(asked, 0), strict=True
    ):
        picture = ((image + 1) / 2).expand(3, -1, -1)[None]
        maps = last(first(picture))[0]
        assert np.allclose(found, [float(own.mean()) for own in maps], atol=1e-6)


def test_pictures_of_two_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="images must have 1 or 3 channels for small"):
        Pretrained(backbone())(inquiry(2), 0)


def test_pictures_of_another_size_are_resized() -> None:
    assert Pretrained(backbone(24))(inquiry(), 0).shape == (30, 12)


def test_tuned_features_tell_classes_apart_that_the_backbone_does_not() -> None:
    asked = inquiry()
    tuned = Tuned(backbone(), epochs=40, rate=3e-3)
    before, after = (each(asked, 0) for each in (Pretrained(backbone()), tuned))
    assert _apart(after, asked) > 2 * _apart(before, asked)
    assert np.array_equal(after, tuned(asked, 0))
    assert not np.array_equal(after, tuned(asked, 1))


def _apart(features: np.ndarray, asked: Inquiry) -> float:
    """Distance of the classes' means, in deviations within them."""
    one, two = (features[asked.failures.labels == label] for label in (0, 1))
    within = np.sqrt(one.var(0).sum() + two.var(0).sum())
    return float(np.linalg.norm(one.mean(0) - two.mean(0)) / within)


def test_tuning_leaves_the_backbone_as_it_was() -> None:
    body = backbone().load()
    before = [each.clone() for each in body.last.parameters()]
    made = count()

    def load() -> Body:
        next(made)
        return body

    Tuned(Backbone("small", "1", 16, load), epochs=1, rate=1.0)(inquiry(), 0)
    assert next(made) == 1
    assert all(map(torch.equal, before, body.last.parameters()))


@pytest.mark.parametrize("channels", [1, 3])
def test_an_autoencoder_squeezes_alike_images_alike(channels: int) -> None:
    asked = inquiry(channels)
    images = asked.failures.images
    images[15:] = images[:15] + 0.1 * torch.randn(images[:15].shape)
    squeeze, state = Autoencoder(width=8, epochs=6), torch.random.get_rng_state()
    squeezed = squeeze(asked, 0)
    assert torch.equal(state, torch.random.get_rng_state())
    assert squeezed.shape == (30, 8)
    apart = np.linalg.norm(squeezed[:15, None] - squeezed[None, 15:], axis=2)
    assert (apart.argmin(1) == np.arange(15)).mean() > 0.8
    assert np.array_equal(squeezed, squeeze(asked, 0))


def test_neurons_are_what_the_last_layer_reads() -> None:
    asked = inquiry()
    with torch.no_grad():
        told = asked.network[:6](asked.failures.images)  # type: ignore[index]
    assert np.allclose(Neurons()(asked, 0), told.numpy(), atol=1e-6)


def test_each_layer_has_the_same_weight_in_the_mix() -> None:
    asked = inquiry()
    found = Layers()(asked, 0)
    assert found.shape == (30, 2 * 6 + 2 * 8 + 2)
    for part in (found[:, :12], found[:, 12:28], found[:, 28:]):
        assert np.isclose(part.var(0).sum(), 1, atol=1e-5)
    with torch.no_grad():
        first = asked.network[0](asked.failures.images).flatten(2)  # type: ignore[index]
    mean = first.mean(2)[:, 2].numpy()
    even = (mean - mean.mean()) / mean.std() / np.sqrt(12)
    assert np.allclose(found[:, 2], even, atol=1e-4)


def test_settings_are_part_of_what_an_extractor_prints() -> None:
    assert repr(Tuned(backbone(), epochs=3)) != repr(Tuned(backbone(), epochs=4))
    assert "at 0x" not in repr(Tuned(backbone()))


def test_a_mix_holds_what_each_part_tells_standardised() -> None:
    asked = inquiry()
    found = Mixed((Layers(), Neurons()))(asked, 0)
    parts = [each(asked, 0).astype(float) for each in (Layers(), Neurons())]
    slow = np.concatenate(parts, 1)
    slow = slow[:, (slow != slow[0]).any(axis=0)]
    slow = (slow - slow.mean(axis=0)) / slow.std(axis=0)
    assert found == pytest.approx(slow, abs=1e-4)
    assert extractor_of("layers and neurons") == Mixed((Layers(), Neurons()))
    with pytest.raises(ValueError, match="parts must be at least two extractors"):
        Mixed((Layers(),))
