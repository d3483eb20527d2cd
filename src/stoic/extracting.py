"""Extracting: all ways to turn failures into features, by name."""

from __future__ import annotations

from importlib.util import find_spec

from stoic.causes.pipeline import Extractor

__all__ = ["ELEVEN", "absent", "advice", "extractor_of", "extractors"]

ELEVEN = 11
"""The first so many extractors are of the paper's kinds, the others are more."""


def extractors() -> dict[str, Extractor]:
    """Return all extractors by name: the eleven of the paper's kinds, and more.

    Those of torchvision's networks are there if their weights are.
    """
    from stoic.cases.imagenet import hub
    from stoic.cases.imagenet.backbones import BACKBONES
    from stoic.causes.extractors.autoencoder import Autoencoder
    from stoic.causes.extractors.backbones import Pretrained, Tuned
    from stoic.causes.extractors.heatmaps import HeatMaps, RelevantChannels
    from stoic.causes.extractors.neurons import Layers, Neurons
    from stoic.marking import MARKERS, SITE, Markers, Observed

    found: list[Extractor] = [Neurons(), HeatMaps(), Autoencoder()]
    found += [Pretrained(backbone) for backbone in BACKBONES]
    found += [Tuned(backbone) for backbone in BACKBONES]
    found += [Layers(), RelevantChannels(), Markers(), Observed((MARKERS, SITE))]
    more = hub.found()
    found += [Pretrained(backbone) for _, backbone in more]
    found += [Tuned(backbone) for known, backbone in more if known.tunable]
    return {each.name: each for each in found}


def absent() -> dict[str, str]:
    """Return what lacks something here, by name, and how to get that."""
    from stoic.cases.imagenet.hub import KNOWN

    return {known.name: known.missing for known in KNOWN if known.missing}


def advice(channels: int) -> str:
    """Return what else may tell failures apart, in one line.

    Args:
        channels: Of the images.

    Returns:
        A line, or nothing where what it needs is not here.
    """
    from stoic.cases.imagenet.files import LITE0, SQUEEZENET, path_of

    weights = all(path_of(package).is_file() for package in (LITE0, SQUEEZENET))
    if channels not in (1, 3) or find_spec("torchvision") is None or not weights:
        return ""
    return (
        "are failures about what is seen in the picture, or are some causes rare? "
        '\'--extractor "layers and SqueezeNet and Lite0" --reduction PCA --clustering '
        "fine' may tell them apart better; of many failures it makes more clusters"
    )


def extractor_of(name: str) -> Extractor:
    """Return an extractor by name, or a mix of several, joined by ``and``.

    Raises:
        ValueError: There is no such extractor, or it lacks its weights.
    """
    from stoic.causes.extractors.mixed import AND, Mixed

    known = extractors()
    if name in known:
        return known[name]
    if len(parts := name.split(AND)) > 1:
        return Mixed(tuple(map(extractor_of, parts)))
    if (missing := absent().get(name.removesuffix(" tuned"))) is not None:
        raise ValueError(f"extractor {name} {missing}")
    raise ValueError(f"extractor must be one of {', '.join(known)}, got {name!r}")
