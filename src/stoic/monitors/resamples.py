"""Intervals by a bootstrap over images and fault sites together.

Rows share images, and a fault in a weight hits many images: neither rows nor images
alone are independent. Images are drawn again, and so are words, and a row counts as
often as both were drawn. A word that only one image was hit in is drawn with it.

References:
    Owen, The pigeonhole bootstrap, 2007: the variance of such means is estimated, if
    anything, too high.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stoic.estimates.estimate import Estimate, Verdict
from stoic.monitors.measures import Bools, Measure, Weights
from stoic.monitors.traces import Origin

__all__ = ["Difference", "Resamples"]

# Numbers of one piece of work: what fits into the memory of a laptop many times.
_PIECE = 4_000_000
# Units that count, or do not, below which percentiles of draws are too narrow.
_FEW = 5


@dataclass(frozen=True)
class Difference:
    """By how much one number exceeds another of the same rows, with its interval.

    Args:
        value: First less second, between -1 and 1.
        low: Lower limit.
        high: Upper limit.
        n: Number of rows.
        confidence: That the interval covers the truth, approximately.
        about: What varies.
    """

    value: float
    low: float
    high: float
    n: int
    confidence: float
    about: str

    @property
    def verdict(self) -> Verdict:
        """Whether the first is shown to be above or below the second."""
        if self.low > 0:
            return "above"
        return "below" if self.high < 0 else "not shown"


@dataclass(frozen=True, eq=False)
class Resamples:
    """Draws of images and words, the same for every measure: so differences pair.

    Args:
        image: Number of the image of each row, from 0 without a gap.
        word: Number of the word of each row that more than one image shares, likewise;
            -1 where there is none.
        count: Draws.
        seed: Of them.
        confidence: Of intervals.
    """

    image: NDArray[np.int64]
    word: NDArray[np.int64]
    count: int = 1000
    seed: int = 0
    confidence: float = 0.95

    @classmethod
    def of(
        cls,
        origin: Origin,
        *,
        count: int = 1000,
        seed: int = 0,
        confidence: float = 0.95,
    ) -> Resamples:
        """Return draws for the rows of some traces."""
        image = np.unique(origin.image, return_inverse=True)[1]
        return cls(image, _shared_words(origin, image), count, seed, confidence)

    @cached_property
    def _drawn(self) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        """How often each image, and each word, is in each draw; one more word of 1."""
        chance = np.random.default_rng(self.seed)
        images = _multinomial(chance, int(self.image.max()) + 1, self.count)
        words = _multinomial(chance, int(self.word.max()) + 1, self.count)
        ones = np.ones((self.count, 1), np.int16)
        return images, np.concatenate([words, ones], 1)

    def weights(self, rows: NDArray[Any]) -> Iterator[Weights]:
        """Yield how much rows count in each draw, of shape ``(some draws, rows)``."""
        images, words = self._drawn
        image, word = self.image[rows], self.word[rows]
        step = max(1, _PIECE // max(len(image), 1))
        for start in range(0, self.count, step):
            piece = slice(start, start + step)
            # Words without a number, -1, find the last column.
            yield images[piece][:, image] * words[piece][:, word].astype(float)

    def estimates(
        self, measure: Measure, *, certain: bool = False
    ) -> tuple[Estimate | None, ...]:
        """Return each number of a measure; None where there is nothing to divide by.

        Limits are percentiles over the draws; a draw without anything to divide by is
        as good and as bad as can be. Where few would count, or few would not, draws
        hardly differ: then the interval is at least that of a count of as many
        independent rows as there are images, or shared words.

        Args:
            measure: Numbers between 0 and 1.
            certain: Whether a number that no draw moves is known, as one that is given.
        """
        values, draws = self._both(measure)
        found: list[Estimate | None] = []
        for number, value in enumerate(values.tolist()):
            if np.isnan(value):
                found.append(None)
                continue
            # A quotient of sums may be rounded to a hair above one.
            value = min(max(value, 0.0), 1.0)
            among = measure.among[:, number]
            units = 0 if certain else self.units(among)
            low, high = self._limits(value, draws[:, number], units, 0.0)
            found.append(
                Estimate(
                    value=value,
                    low=low,
                    high=high,
                    n=int(among.sum()),
                    confidence=self.confidence,
                    kind="approximate",
                    about=self._about(among),
                )
            )
        return tuple(found)

    def differences(
        self, first: Measure, second: Measure
    ) -> tuple[Difference | None, ...]:
        """Return by how much each number of one measure exceeds that of another."""
        one, one_drawn = self._both(first)
        other, other_drawn = self._both(second)
        drawn = one_drawn - other_drawn
        found: list[Difference | None] = []
        for number, value in enumerate((one - other).tolist()):
            if np.isnan(value):
                found.append(None)
                continue
            among = first.among[:, number] | second.among[:, number]
            units = self.units(among)
            low, high = self._limits(value, drawn[:, number], units, -1.0)
            count = int(among.sum())
            about = self._about(among)
            found.append(Difference(value, low, high, count, self.confidence, about))
        return tuple(found)

    def units(self, among: Bools) -> int:
        """Return how many of some rows are independent at least.

        Image 1 with word 1, 2 with 2, and so on: no two share either.
        """
        shared = among & (self.word >= 0)
        alone = np.unique(self.image[among & ~shared]).size
        pairs = min(np.unique(x[shared]).size for x in (self.image, self.word))
        return int(min(np.unique(self.image[among]).size, alone + pairs))

    def rare(self, value: float, units: int) -> bool:
        """Say whether a share is so small, or so large, that draws tell too little."""
        return units * min(value, 1 - value) < _FEW

    def _both(self, measure: Measure) -> tuple[Weights, Weights]:
        """Return the numbers with every row once, and in every draw."""
        rows = np.flatnonzero(measure.rows)
        if not rows.size:
            numbers = measure.among.shape[1]
            return np.full(numbers, np.nan), np.full((self.count, numbers), np.nan)
        narrow = measure.on(rows)
        drawn = [narrow(weights) for weights in self.weights(rows)]
        return narrow(np.ones((1, len(rows))))[0], np.concatenate(drawn)

    def _limits(
        self, value: float, draws: Weights, units: int, least: float
    ) -> tuple[float, float]:
        tail = (1 - self.confidence) / 2
        if units and np.nan_to_num(np.abs(draws - value)).max() < 1e-12:
            half = 1 - tail ** (1 / units)
            return max(least, value - half), min(1.0, value + half)
        low = float(np.quantile(np.nan_to_num(draws, nan=least), tail))
        high = float(np.quantile(np.nan_to_num(draws, nan=1.0), 1 - tail))
        if units and least == 0 and self.rare(value, units):
            fewest, most = _count_limits(value, units, tail)
            low, high = min(low, fewest), max(high, most)
        return max(least, min(low, value)), min(1.0, max(high, value))

    def _about(self, among: Bools) -> str:
        images = np.unique(self.image[among]).size
        words = np.unique(self.word[among & (self.word >= 0)]).size
        shared = f" and words of weights like these {words:,}" if words else ""
        return f"images like these {images:,}{shared}"


def _shared_words(origin: Origin, image: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of each row's word, if rows of several images share it."""
    hit = np.flatnonzero(origin.element >= 0)
    site = np.unique(origin.site[hit], return_inverse=True)[1]
    keys = np.stack([site, origin.element[hit]], 1)
    numbers = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    pairs = np.unique(np.stack([numbers, image[hit]], 1), axis=0)
    shared = np.bincount(pairs[:, 0]) > 1
    again = np.where(shared, shared.cumsum() - 1, -1)
    words = np.full(len(image), -1)
    words[hit] = again[numbers]
    return words


def _count_limits(share: float, units: int, tail: float) -> tuple[float, float]:
    """Return the limits of Clopper and Pearson; of shares of units, too."""
    from scipy.special import betaincinv

    count = share * units
    low = float(betaincinv(count, units - count + 1, tail)) if count > 0 else 0.0
    rest = units - count
    high = float(betaincinv(count + 1, rest, 1 - tail)) if rest > 0 else 1.0
    return low, high


def _multinomial(
    chance: np.random.Generator, units: int, count: int
) -> NDArray[np.int16]:
    """Return how often each unit is drawn in each of some draws of as many units."""
    if not units:
        return np.zeros((count, 0), np.int16)
    draws = chance.multinomial(units, np.full(units, 1 / units), count)
    return draws.astype(np.int16)
