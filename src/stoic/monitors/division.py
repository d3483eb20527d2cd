"""Which inputs serve for what when a monitor is fitted; none serves twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from stoic.network.subject import Inputs

__all__ = ["Division", "Part"]


@dataclass(frozen=True, eq=False)
class Part:
    """Some of the inputs.

    Args:
        inputs: Copied out of the others, in a row.
        first: Number of the first of them; no other part has any of its numbers.
    """

    inputs: Inputs
    first: int


@dataclass(frozen=True)
class Division:
    """Inputs divided by chance, so that they may be given in any order.

    A twentieth is for strengths (of few inputs up to ten, a fifth at most), a half for
    learning with these, a fifth for choosing, and the rest for calibration.

    Args:
        count: Of all inputs.
        seed: Of chance; with the same one they are divided the same way.
    """

    count: int
    seed: int

    @property
    def strengths_count(self) -> int:
        """How many inputs are to find strengths by."""
        return self._ends[0]

    @property
    def learning_count(self) -> int:
        """How many inputs are to learn from."""
        return self._ends[1] - self._ends[0]

    @property
    def calibration_count(self) -> int:
        """How many inputs are for calibration."""
        return self.count - self._ends[2]

    def strengths(self, inputs: Inputs) -> Part:
        """Return the inputs to find strengths of corruptions by."""
        return self._part(inputs, 0, self._ends[0])

    def learning(self, inputs: Inputs) -> Part:
        """Return the inputs to learn from."""
        return self._part(inputs, *self._ends[:2])

    def choosing(self, inputs: Inputs) -> Part:
        """Return the inputs to choose features and pruning by."""
        return self._part(inputs, *self._ends[1:])

    def calibration(self, inputs: Inputs) -> Part:
        """Return the inputs to calibrate with."""
        return self._part(inputs, self._ends[2], self.count)

    def before_calibration(self, inputs: Inputs) -> Part:
        """Return all inputs but those to calibrate with."""
        return self._part(inputs, 0, self._ends[2])

    def after_strengths(self, inputs: Inputs) -> Part:
        """Return all inputs but those to find strengths by."""
        return self._part(inputs, self._ends[0], self.count)

    @property
    def order(self) -> NDArray[np.int64]:
        """Where the input of each number stands among those given."""
        return np.random.default_rng(self.seed).permutation(self.count)

    @property
    def _ends(self) -> tuple[int, int, int]:
        count = self.count
        return (
            max(count // 20, min(count // 5, 10), 1),
            11 * count // 20,
            3 * count // 4,
        )

    def _part(self, inputs: Inputs, start: int, end: int) -> Part:
        return Part(inputs.picked(torch.from_numpy(self.order[start:end])), start)
