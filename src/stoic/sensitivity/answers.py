"""What is said of one kind of perturbation, as plain numbers of each input."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from stoic.sensitivity.tightness import Claim

__all__ = ["Answer", "finite", "plain"]


@dataclass(frozen=True)
class Answer:
    """What is said of one kind of perturbation.

    Args:
        name: Of the perturbation.
        size: Relative: radius, error of a word, or unit roundoff.
        claims: Condition numbers of each input: relative change of the scores, for a
            relative perturbation of that size, over the size.
        measured: The same of the strongest perturbation that was tried; None if none
            was.
    """

    name: str
    size: float
    claims: tuple[Claim, ...]
    measured: Tensor | None = None

    def numbers(self) -> list[tuple[str, str, Tensor]]:
        """Return names, labels and numbers of the claims and of what was measured."""
        found: list[tuple[str, str, Tensor]] = [
            (claim.name, claim.label, claim.values) for claim in self.claims
        ]
        if self.measured is not None:
            found.append(("measured", "measured", self.measured))
        return found

    def beside(
        self,
        sizes: Tensor,
        *,
        local: Tensor | None = None,
        average: Tensor | None = None,
        measured: Tensor | None = None,
    ) -> Answer:
        """Return the answer with how far scores were seen to move, as far as known.

        Args:
            sizes: 2-norms of the scores.
            local: 2-norm of the move, per size of the perturbation, by the derivative.
            average: The same of a random perturbation.
            measured: The same of one that was tried.
        """
        claims = [*self.claims]
        if local is not None:
            claims.append(Claim("local", "local", local / sizes))
        if average is not None:
            claims.append(Claim("average", "average", average / sizes))
        tried = None if measured is None else measured / sizes
        return replace(self, claims=tuple(claims), measured=tried)

    def median(self, name: str) -> float | None:
        """Return the median over the inputs of a claim, or of what was measured.

        Args:
            name: Of the claim, or ``measured``; None is returned if there is none.
        """
        found = {own: values for own, _, values in self.numbers()}
        return float(found[name].nanquantile(0.5)) if name in found else None

    def as_record(self) -> dict[str, Any]:
        """Return plain data; what is infinite or not defined as nothing."""
        claims = [
            {"name": name, "label": label, "values": plain(values)}
            for name, label, values in self.numbers()
        ]
        return {"name": self.name, "size": self.size, "claims": claims}


def finite(value: float) -> float | None:
    """Return a number, or nothing where it is infinite or none."""
    return value if math.isfinite(value) else None


def plain(values: Tensor) -> list[float | None]:
    """Return numbers of inputs; what is infinite or none as nothing."""
    return [finite(each) for each in values.tolist()]
