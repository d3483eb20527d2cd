"""A case: a network with the inputs it is assessed on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stoic.cases.errors import CaseError
from stoic.criteria import Criterion, named_criterion

__all__ = ["Case", "Inputs", "moved"]

Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
"""One tensor, or several that the network takes by position or by name."""


@dataclass(frozen=True, eq=False)
class Case:
    """A network and the inputs it is assessed on.

    Rows are dimension 0 of every input: one row is one input of the network.

    Args:
        name: What reports call it.
        network: In evaluation mode.
        inputs: As the network takes them, normalised and all.
        labels: The right class of each row, or whatever the criterion asks for, such as
            padded boxes; one row for each.
        classes: The name of each class.
        clusters: Rows with the same number come from the same source, so that they are
            not independent. Without it every row is a source of its own.
        tail: What turns the network's output into the output that is judged.
        criterion: What counts as a failure unless a user says otherwise.
        about: One sentence: what it is and how good the network is.
        names: Of each row, such as its file.
        recorded: What else is known of each row, by name: numbers or words.
        scenarios: Why the network gets each row wrong, if it does: a word, or an empty
            one where that is not known.

    Raises:
        CaseError: The inputs and what is said of each row differ in length.
    """

    name: str
    network: nn.Module
    inputs: Inputs
    labels: Tensor | None = None
    classes: tuple[str, ...] | None = None
    clusters: Tensor | None = None
    tail: Callable[[Any], Any] | None = None
    criterion: Criterion | str = "top1-changed"
    about: str = ""
    names: Sequence[str] | None = None
    recorded: Mapping[str, Tensor | NDArray[Any]] | None = None
    scenarios: Sequence[str] | NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        own = self.criterion
        if not isinstance(own, str) and not callable(getattr(own, "failed", None)):
            raise CaseError(
                f"criterion of {self.name} must be a name or one of stoic.criteria, "
                f"got a {type(own).__name__}; write stoic.criteria.Custom(...) around "
                "a function"
            )
        count = len(self)
        for name, rule in (("labels", "row"), ("clusters", "number")):
            column: Tensor | None = getattr(self, name)
            if column is None:
                continue
            shape = tuple(column.shape)
            if (shape if rule == "number" else shape[:1]) != (count,):
                raise CaseError(
                    f"{name} of {self.name} must be one {rule} for each of the "
                    f"{count} inputs, got shape {shape}"
                )
        for name, facts in self._facts().items():
            rows = np.shape(facts)
            if rows != (count,):
                raise CaseError(
                    f"{name} of {self.name} must be one value for each of the "
                    f"{count} inputs, got shape {rows}"
                )

    def _facts(self) -> dict[str, Any]:
        """Return what is said of each row and is no input of anything, by name."""
        facts = {"names": self.names, "scenarios": self.scenarios}
        known = {name: each for name, each in facts.items() if each is not None}
        return known | {f"recorded {n}": v for n, v in (self.recorded or {}).items()}

    def __len__(self) -> int:
        """Count the rows.

        Raises:
            CaseError: There are none, or not as many in every input.
        """
        counts = [len(each) if each.ndim else 0 for each in _tensors(self.inputs)]
        if not counts or min(counts) == 0 or len(set(counts)) > 1:
            raise CaseError(
                f"inputs of {self.name} must be tensors with the same number of rows, "
                f"at least 1, got {counts} rows"
            )
        return counts[0]

    @property
    def judged_by(self) -> Criterion:
        """The criterion, made of its name if that is what was given."""
        if isinstance(self.criterion, str):
            return named_criterion(self.criterion)
        return self.criterion

    def first(self, count: int) -> "Case":
        """Return the case with its first ``count`` rows only.

        Raises:
            CaseError: There are not so many rows.
        """
        if not 1 <= count <= len(self):
            raise CaseError(
                f"inputs must be in 1..{len(self)} for the case {self.name}, "
                f"got {count}"
            )
        return self._rows(slice(count))

    def after(self, count: int) -> "Case":
        """Return the case without its first ``count`` rows.

        Raises:
            CaseError: There are no others.
        """
        if not 0 <= count < len(self):
            raise CaseError(
                f"{self.name} must have inputs after the first {count}, got {len(self)}"
                " in all; give it more"
            )
        return self._rows(slice(count, None)) if count else self

    def _rows(self, rows: slice) -> "Case":
        return replace(
            self,
            inputs=_some(self.inputs, rows),
            labels=None if self.labels is None else self.labels[rows],
            clusters=None if self.clusters is None else self.clusters[rows],
            names=None if self.names is None else self.names[rows],
            recorded=self.recorded
            and {name: each[rows] for name, each in self.recorded.items()},
            scenarios=None if self.scenarios is None else self.scenarios[rows],
        )


def _some(inputs: Inputs, rows: slice) -> Inputs:
    if isinstance(inputs, Tensor):
        return inputs[rows]
    if isinstance(inputs, Mapping):
        return {name: each[rows] for name, each in inputs.items()}
    return tuple(each[rows] for each in inputs)


def _tensors(inputs: Inputs) -> tuple[Tensor, ...]:
    if isinstance(inputs, Tensor):
        return (inputs,)
    return tuple(inputs.values() if isinstance(inputs, Mapping) else inputs)


def moved(case: Case, device: str) -> Case:
    """Return a case on another device; a network is moved, not copied.

    Raises:
        CaseError: The device cannot be used here.
    """
    try:
        target = torch.device(device)
        torch.empty(0, device=target)
    except (RuntimeError, AssertionError) as error:
        raise CaseError(
            f"device must be usable here, got {device!r}: {str(error).splitlines()[0]}"
        ) from None

    def put(each: Any) -> Any:
        return None if each is None else each.to(target)

    inputs: Any = case.inputs
    if isinstance(inputs, Mapping):
        inputs = {name: put(each) for name, each in inputs.items()}
    else:
        inputs = put(inputs) if isinstance(inputs, Tensor) else tuple(map(put, inputs))
    network = case.network.to(target)
    return replace(case, network=network, inputs=inputs, labels=put(case.labels))
