"""A proof of decisions by the certified bound of the whole network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from stoic.network.certified.rounding import is_plain
from stoic.network.program import Program
from stoic.sensitivity.condition import kept
from stoic.sensitivity.golden import Scored
from stoic.sensitivity.layers import each_last
from stoic.sensitivity.narrowed import narrowed, reading
from stoic.sensitivity.norms import Store
from stoic.sensitivity.perturbation import Perturbation
from stoic.sensitivity.quantised import Grid
from stoic.sensitivity.reach import NotKnownError

__all__ = ["CertifiedProof", "proof_of"]

# Golden numbers of one batch; bounds keep some twenty of float64 beside each.
_MOST_NUMBERS = 4_000_000


def proof_of(scored: Scored) -> CertifiedProof:
    """Return the proof for a network whose only output is its scores.

    Raises:
        NotKnownError: It has other outputs, a format whose small numbers are not small
            enough to be left out of account, or products in reduced precision.
    """
    if len(scored.program.output_names) != 1:
        raise NotKnownError(
            "the network has several outputs; wrap it in one that gives scores"
        )
    dtype = max(_formats(scored.program), key=lambda d: torch.finfo(d).eps)
    if torch.finfo(dtype).tiny > 1e-30:
        raise NotKnownError(
            f"what underflows in {dtype} is not covered; ask of a float32 network"
        )
    if not is_plain(scored.scores.device):
        raise NotKnownError(
            "sums here have fewer bits than float32; undo "
            "torch.set_float32_matmul_precision, or run on the CPU"
        )
    return CertifiedProof(scored, replace(Perturbation.of_format(dtype), stored=0.0))


def _formats(program: Program) -> set[torch.dtype]:
    tensors = (v for v in program.stored.values() if isinstance(v, Tensor))
    return {v.dtype for v in tensors if v.is_floating_point()}


@dataclass(frozen=True, eq=False)
class CertifiedProof:
    """Which decisions no rounding can change, that of every sum and value included.

    Args:
        scored: Network and inputs.
        rounding: Of the network's own format.
        store: Norms of steps: they do not hang on what is narrower.
    """

    scored: Scored
    rounding: Perturbation
    store: Store = field(default_factory=dict)

    def __call__(
        self, errors: Mapping[str, Tensor], grids: Mapping[str, Grid]
    ) -> Tensor:
        """Return for each input whether its best class provably stays the best."""
        ours, program = self.scored, self.scored.program
        (scores,) = program.output_names
        steps: dict[str, float | Callable[[Tensor], Tensor]] = {
            reading(step): grids[layer.name].errors
            for layer in ours.layers
            if layer.name in grids
            for step in layer.reads
        }
        if steps:
            program = narrowed(program, ours.layers, grids)
        what = replace(self.rounding, stored_steps=errors, value_steps=steps)
        # A program that cuts off may decide otherwise than the network does.
        decided = ours.decisions.split(self.batch)
        parts = zip(ours.inputs.batches(self.batch), decided, strict=True)
        return torch.cat(
            [kept(program, p.leaves, scores, what, self.store, d) for p, d in parts]
        )

    @cached_property
    def batch(self) -> int:
        """How many inputs at once, for memory's sake."""
        ours = self.scored
        values = ours.program.given(ours.inputs.rows(0, 1).leaves)
        numbers = 0
        with torch.inference_mode():
            for step, done in each_last(ours.program):
                values[step.name] = step(values.__getitem__)
                numbers += getattr(values[step.name], "numel", int)()
                for name in done:
                    del values[name]
        return max(1, min(ours.batch, _MOST_NUMBERS // max(numbers, 1)))
