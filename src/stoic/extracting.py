"""Extracting: all ways to turn failures into features, by name."""

from __future__ import annotations

from stoic.causes.pipeline import Extractor

__all__ = ["ELEVEN", "extractor_of", "extractors"]

ELEVEN = 11
"""The first so many extractors are of the paper's kinds, the others are more."""


def extractors() -> dict[str, Extractor]:
    """Return all extractors by name: the eleven of the paper's kinds, and more."""
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
    return {each.name: each for each in found}


def extractor_of(name: str) -> Extractor:
    """Return an extractor by name.

    Raises:
        ValueError: There is no such extractor.
    """
    known = extractors()
    if name not in known:
        raise ValueError(f"extractor must be one of {', '.join(known)}, got {name!r}")
    return known[name]
