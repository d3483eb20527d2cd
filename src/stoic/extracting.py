"""Extracting: all ways to turn failures into features, by name."""

from __future__ import annotations

from stoic.causes.pipeline import Extractor

__all__ = ["ELEVEN", "absent", "extractor_of", "extractors"]

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


def extractor_of(name: str) -> Extractor:
    """Return an extractor by name.

    Raises:
        ValueError: There is no such extractor, or it lacks its weights.
    """
    known = extractors()
    if name in known:
        return known[name]
    if (missing := absent().get(name.removesuffix(" tuned"))) is not None:
        raise ValueError(f"extractor {name} {missing}")
    raise ValueError(f"extractor must be one of {', '.join(known)}, got {name!r}")
