"""Traces: features of many inferences, with what was wrong in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stoic.monitors.bounds import Floats

__all__ = ["MEMORY", "NOTHING", "Origin", "Traces"]

# What was done to an inference, where it is not the name of a corruption.
NOTHING, MEMORY = "nothing", "memory"


@dataclass(frozen=True, eq=False)
class Origin:
    """What was done to each inference, and what came of it. One entry per row.

    Args:
        image: Number of the input.
        kind: ``nothing``, ``memory``, or the name of a corruption.
        strength: Of the corruption; 0 for others.
        share: Of the inputs that this strength was chosen by, how many failed at it.
        site: Where the fault hit; empty for others.
        element: Flat index in the site; -1 for others.
        bit: The highest bit that was touched; -1 for others.
        bits: How many.
        failed: Whether the criterion was violated.
        broken: Whether the output was not finite.
    """

    image: NDArray[np.int64]
    kind: NDArray[np.str_]
    strength: NDArray[np.float64]
    share: NDArray[np.float64]
    site: NDArray[np.str_]
    element: NDArray[np.int64]
    bit: NDArray[np.int64]
    bits: NDArray[np.int64]
    failed: NDArray[np.bool_]
    broken: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        image: NDArray[np.int64],
        failed: NDArray[np.bool_],
        broken: NDArray[np.bool_],
        *,
        kind: str = NOTHING,
        strength: float = 0.0,
        share: float = 0.0,
        site: str | Sequence[str] = "",
        element: int | Sequence[int] = -1,
        bit: int | Sequence[int] = -1,
        bits: int = 0,
    ) -> Origin:
        """Return the origin of rows that have most things in common."""

        def all_of(value: Any) -> Any:
            return np.broadcast_to(np.asarray(value), image.shape)

        return cls(
            image=np.asarray(image, np.int64),
            kind=all_of(kind),
            strength=all_of(strength),
            share=all_of(share),
            site=all_of(site),
            element=all_of(element),
            bit=all_of(bit),
            bits=all_of(bits),
            failed=failed,
            broken=broken,
        )


@dataclass(frozen=True, eq=False)
class Traces:
    """Features of inferences.

    Args:
        features: Their names.
        values: Of shape ``(rows, features)``, float32.
        scores: The network's output, of shape ``(rows, classes)``.
        origin: What was done to each.
    """

    features: tuple[str, ...]
    values: Floats
    scores: Floats
    origin: Origin

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.values)

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Which rows have features that are all numbers."""
        return np.asarray(np.isfinite(self.values).all(1))

    def rows(self, chosen: NDArray[Any]) -> Traces:
        """Return some of the rows, by a mask or by index."""
        columns = {f.name: getattr(self.origin, f.name) for f in fields(Origin)}
        origin = Origin(**{name: column[chosen] for name, column in columns.items()})
        return Traces(self.features, self.values[chosen], self.scores[chosen], origin)

    def columns(self, features: Sequence[str]) -> Traces:
        """Return some of the features, in the order asked for.

        Raises:
            KeyError: One of them is not there.
        """
        index = {name: number for number, name in enumerate(self.features)}
        values = self.values[:, [index[name] for name in features]]
        return replace(self, features=tuple(features), values=values)

    @classmethod
    def joined(cls, parts: Sequence[Traces]) -> Traces:
        """Return the rows of several traces of the same features."""
        origin = Origin(
            *(
                np.concatenate([getattr(part.origin, field.name) for part in parts])
                for field in fields(Origin)
            )
        )
        values = np.concatenate([part.values for part in parts])
        scores = np.concatenate([part.scores for part in parts])
        return cls(parts[0].features, values, scores, origin)

    def save(self, path: Path) -> None:
        """Write everything into one file."""
        columns = {f.name: getattr(self.origin, f.name) for f in fields(Origin)}
        np.savez_compressed(
            path,
            features=np.array(self.features),
            values=self.values,
            scores=self.scores,
            **columns,
        )

    @classmethod
    def load(cls, path: Path) -> Traces:
        """Return what `Traces.save` has written."""
        with np.load(path, allow_pickle=False) as file:
            origin = Origin(
                **{field.name: file[field.name] for field in fields(Origin)}
            )
            features = tuple(file["features"].tolist())
            return cls(features, file["values"], file["scores"], origin)
