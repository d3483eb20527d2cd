"""From a network and its inputs to the fields of its sites."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stoic.faults.formats import flat_words, format_of
from stoic.faults.space import FaultSpace
from stoic.network.multiplied import multiplied
from stoic.network.program import Program
from stoic.network.sites import Site
from stoic.network.slopes import (
    Lead,
    NoSlopesError,
    activation_slopes,
    input_slopes,
    parameter_slopes,
    program_of,
    word_slopes,
)
from stoic.network.subject import Inputs, Subject
from stoic.population.fields import Field, Verdicts

__all__ = ["Look", "fields_of"]

# Slopes of parameters input by input, and of computed values, as long as they fit here.
_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Look:
    """What is looked at before a campaign begins.

    Args:
        subject: The network.
        inputs: All of them.
        lead: How far each is from another verdict.
        batch: Inputs per block.
        verdicts: What is proved of changes in a site, by its name.
        tick: Told what is being looked at.
    """

    subject: Subject
    inputs: Inputs
    lead: Lead
    batch: int
    verdicts: Mapping[str, Verdicts]
    tick: Callable[[str], None] | None = None

    @property
    def rows(self) -> int:
        """Number of blocks of inputs."""
        return self.inputs.count // self.batch


def fields_of(look: Look, space: FaultSpace) -> dict[str, Field]:
    """Return the fields of those sites whose words can be told apart beforehand."""
    try:
        program = program_of(look.subject)
    except NoSlopesError:
        return {}
    sites = {block.site.name: block for block in space.blocks}.values()
    stored = [b.site for b in sites if b.site.value in program.stored]
    apart = [b.site for b in sites if b.inputs and b.site.value not in program.stored]
    found = _stored(look, program, [s for s in stored if format_of(s.dtype)])
    return {**found, **_computed(look, program, apart)}


def _stored(look: Look, program: Program, sites: Sequence[Site]) -> dict[str, Field]:
    slopes = _slopes(look, program, [s for s in sites if s.dtype.is_floating_point])
    fields, flat = {}, [s for s in sites if s.value not in slopes]
    slopes |= _by_words(look, program, flat)
    for site in sites:
        tensor = program.stored[site.value]
        own = slopes[site.value]
        words = flat_words(tensor).reshape(1, -1)
        verdicts = look.verdicts.get(site.name)
        fields[site.name] = Field(site, words, own, look.rows, verdicts)
    return fields


def _by_words(
    look: Look, program: Program, sites: Sequence[Site]
) -> dict[str, NDArray[Any]]:
    """Return slopes of words without a gradient: by what they are multiplied by.

    Change times slope is the change relative to the tensor's usual word, times the
    other factor relative to its usual size; the former alone where no factor is known.
    """
    names = [site.value for site in sites]
    factors = _factors(look, program, names) if names else {}
    found = {}
    for name in names:
        own = word_slopes(program.stored[name]).cpu().numpy().reshape(1, -1)
        sizes = factors.get(name)
        usual = 0.0 if sizes is None else float(np.sqrt(np.mean(sizes**2)))
        if sizes is not None and 0 < usual < np.inf:
            own = (own * (sizes / usual)).astype(np.float32)
        found[name] = own
    return found


def _factors(
    look: Look, program: Program, names: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Return what words are multiplied by, by block, or over all where too many."""
    if look.tick:
        look.tick("what words are multiplied by")
    rows: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    size = 8 * look.rows * sum(program.stored[name].numel() for name in names)
    for inputs in _batches(look):
        values = program.run(inputs.leaves)
        for name, own in rows.items():
            sizes = multiplied(program, values, name)
            if sizes is not None:
                flat = sizes.cpu().numpy().reshape(1, -1)
                if own and size > _MOST_BYTES:
                    own[0] = own[0] + flat
                else:
                    own.append(flat)
    return {name: np.concatenate(own) for name, own in rows.items() if own}


def _slopes(
    look: Look, program: Program, sites: Sequence[Site]
) -> dict[str, NDArray[Any]]:
    """Return slopes of stored values by block of inputs, or of all where too many."""
    names = [site.value for site in sites]
    if not names:
        return {}
    if look.tick:
        look.tick("slopes of parameters")
    size = 4 * look.rows * sum(site.elements for site in sites)
    try:
        if size > _MOST_BYTES or look.rows == 1:
            whole = parameter_slopes(program, look.inputs, look.lead, names)
            return {n: t.cpu().numpy().reshape(1, -1) for n, t in whole.items()}
        return _by_block(look, program, names)
    except NoSlopesError:
        return {}


def _by_block(
    look: Look, program: Program, names: Sequence[str]
) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    each = input_slopes(program, look.inputs, look.lead, names)
    for row, slopes in enumerate(each):
        for name, slope in slopes.items():
            flat = slope.reshape(-1).cpu().numpy()
            if name not in found:
                found[name] = np.zeros((look.rows, flat.size), np.float32)
            found[name][row // look.batch] += np.sqrt(flat) / look.batch
    return {name: roots**2 for name, roots in found.items()}


def _computed(look: Look, program: Program, sites: Sequence[Site]) -> dict[str, Field]:
    """Return the fields of computed values and inputs, whose words differ by input."""
    sites = [s for s in sites if format_of(s.dtype) and s.dtype.is_floating_point]
    size = 8 * look.inputs.count * sum(site.elements for site in sites)
    if not sites or size > _MOST_BYTES:
        return {}
    if look.tick:
        look.tick("slopes of activations")
    words: dict[str, list[Any]] = {site.name: [] for site in sites}
    slopes: dict[str, list[Any]] = {site.name: [] for site in sites}
    try:
        for inputs in _batches(look):
            values = program.run(inputs.leaves)
            names = [site.value for site in sites]
            found = activation_slopes(program, inputs, look.lead, names)
            for site in sites:
                own = _by_row(values[site.value], site)
                words[site.name].append(flat_words(own).reshape(own.shape))
                slopes[site.name].append(_by_row(found[site.value], site).numpy())
    except NoSlopesError:
        return {}
    return {
        site.name: Field(
            site,
            np.concatenate(words[site.name]),
            np.concatenate(slopes[site.name]),
            look.inputs.count,
        )
        for site in sites
    }


def _by_row(value: Tensor, site: Site) -> Tensor:
    """Return a value as one row per input."""
    assert site.rows is not None
    return value.detach().movedim(site.rows, 0).reshape(-1, site.elements).cpu()


def _batches(look: Look) -> Iterator[Inputs]:
    """Yield the inputs as the trials will see them: with the same words."""
    with torch.inference_mode():
        for start in range(0, look.inputs.count, look.batch):
            yield look.inputs.rows(start, start + look.batch)
