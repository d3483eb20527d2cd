"""The paper's claims of 99 pipelines: which groups of them are better than which.

References:
    Attaoui, Fahmy, Pastore and Briand, DNN explanation for safety analysis: an
    empirical evaluation of clustering-based approaches, 2023.
    Fahmy, Pastore, Bagherzadeh and Briand, HUDD, 2021; Attaoui, Fahmy, Pastore and
    Briand, SAFE, 2023.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stoic.explaining.judging import FACTORS

__all__ = ["CLAIMS", "FACTORS", "NAME", "PUBLISHED", "Claim", "within"]

PUBLISHED = {"purity": 0.943, "coverage": 0.967}
"""Of VGG-16 as it is, UMAP and DBSCAN, in the paper."""

_BACKBONES = ("VGG-16", "Lite0", "Lite2", "SqueezeNet")
_TUNED = tuple(f"{name} tuned" for name in _BACKBONES)

Levels = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Claim:
    """That some pipelines are better than others.

    Args:
        text: In words.
        better: The levels of those that are, by factor; all levels of those not named.
        worse: Likewise of the others; all others if empty.
    """

    text: str
    better: Levels
    worse: Levels = field(default_factory=dict)

    def split(self, pipelines: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return the pipelines on both sides."""
        one = [name for name in pipelines if within(name, self.better)]
        two = [name for name in pipelines if within(name, self.worse)]
        return one, [name for name in two if name not in one]


WINNER: dict[str, Sequence[str]] = {
    "extractor": ("VGG-16",),
    "reduction": ("UMAP",),
    "clustering": ("DBSCAN",),
}
NAME = " + ".join(WINNER[factor][0] for factor in FACTORS)
_HUDD: Levels = {"extractor": ("heat maps",)}
_SAFE: Levels = WINNER | {"reduction": ("PCA",)}

CLAIMS = (
    Claim("VGG-16 + UMAP + DBSCAN beats the mean of the other 98", WINNER),
    Claim(
        "transfer features, UMAP and DBSCAN beat the mean of all others",
        WINNER | {"extractor": _BACKBONES},
    ),
    Claim(
        "networks as they are beat the same ones fine-tuned",
        {"extractor": _BACKBONES},
        {"extractor": _TUNED},
    ),
    Claim(
        "UMAP beats features as they are",
        {"reduction": ("UMAP",)},
        {"reduction": ("none",)},
    ),
    Claim("UMAP beats PCA", {"reduction": ("UMAP",)}, {"reduction": ("PCA",)}),
    Claim(
        "DBSCAN beats K-means",
        {"clustering": ("DBSCAN",)},
        {"clustering": ("K-means",)},
    ),
    Claim(
        "DBSCAN beats HDBSCAN",
        {"clustering": ("DBSCAN",)},
        {"clustering": ("HDBSCAN",)},
    ),
    Claim(
        "after UMAP, DBSCAN beats HDBSCAN",
        {"reduction": ("UMAP",), "clustering": ("DBSCAN",)},
        {"reduction": ("UMAP",), "clustering": ("HDBSCAN",)},
    ),
    Claim("transfer features beat HUDD's heat maps", {"extractor": _BACKBONES}, _HUDD),
    Claim(
        "transfer features beat the network's own neurons",
        {"extractor": _BACKBONES},
        {"extractor": ("neurons",)},
    ),
    Claim(
        "transfer features beat an autoencoder",
        {"extractor": _BACKBONES},
        {"extractor": ("autoencoder",)},
    ),
    Claim("VGG-16 + UMAP + DBSCAN beats SAFE (VGG-16 + PCA + DBSCAN)", WINNER, _SAFE),
    Claim("SAFE beats HUDD's heat maps", _SAFE, _HUDD),
)


def within(pipeline: str, levels: Levels) -> bool:
    """Say whether each stage of a pipeline is one of the levels of its factor."""
    parts = dict(zip(FACTORS, pipeline.split(" + "), strict=True))
    return all(parts[factor] in allowed for factor, allowed in levels.items())
