"""What bounds claim of each input, as condition numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stoic.sensitivity.condition import Condition
from stoic.sensitivity.tightness import Claim

__all__ = ["claims_of", "is_local_known"]

_BOUNDS = ("product", "interval", "linearised", "certified")


def claims_of(found: Sequence[Condition], size: float) -> tuple[Claim, ...]:
    """Return condition numbers of all inputs; what is not known is left out."""

    def numbers(name: str) -> Tensor:
        return torch.cat([each.number(getattr(each, name), size) for each in found])

    claims = [Claim(name, "guarantee", numbers(name)) for name in _BOUNDS]
    if is_local_known(found):
        claims.append(Claim("local", "local", numbers("local")))
        claims.append(Claim("average", "average", numbers("average")))
    return tuple(claims)


def is_local_known(found: Sequence[Condition]) -> bool:
    """Say whether inputs are moved, and the derivative is known."""
    return any(
        bool((each.perturbed > 0).any() and each.local.isfinite().any())
        for each in found
    )
