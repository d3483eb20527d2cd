"""Failures under hardware faults: what a network gets right until a bit flips.

All sites are struck alike: the weights of each layer, in which a fault strikes every
input, and what it computes, in which each input has a fault of its own. Every other
fault flips the highest bit of the exponent, as most others are harmless.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stoic.campaign.scores import scores_of
from stoic.cases.afflicted.search import EXAMPLES
from stoic.cases.case import Case
from stoic.cases.errors import CaseError
from stoic.cases.wrong import classes_of, images_of, range_of
from stoic.causes.failures import Examples, Failures, Inquiry
from stoic.causes.pipeline import LEAST
from stoic.faults.formats import format_of, value_of
from stoic.faults.space import Fault, FaultSpace, fault_space
from stoic.marking import MARKERS, SITE, logarithmic, watching
from stoic.monitors.bounds import Floats
from stoic.monitors.collecting import Watched, words_of_layers
from stoic.network.captured import CapturedBench
from stoic.network.sites import Site
from stoic.network.subject import Inputs

__all__ = ["struck_inputs"]

_BATCH = 50
# Of one fault in a weight: it strikes every input, and they tell much the same.
_OF_ONE_FAULT = 2
_TRIES = 8
# Inputs that are struck at most: runs without a fault are held in memory.
_MOST = 250


def struck_inputs(case: Case, count: int, seed: int) -> Inquiry:
    """Return inputs that a network gets right, and wrong only under a fault.

    Right is what the labels say or, without any, what the network says. Each failure is
    an input with one flipped bit. The known cause is the layer that was hit; what a
    monitor sees and where the fault is are `observed`. Outputs that are not finite show
    by themselves and are left out.

    Args:
        case: Of images, with scores of classes.
        count: How many failures; fewer if faults seldom do harm.
        seed: Of all chance.

    Raises:
        CaseError: The case has no images, none is read right, or too few fail.
        ValueError: The network cannot be captured.
    """
    _check(count, seed)
    images = images_of(case)
    some = np.random.default_rng(seed).permutation(len(images))[:_MOST]
    watched = watching(case.network, images, case.tail or scores_of)
    target = _Target.of(watched, images, classes_of(case), np.sort(some))
    places = [_Place.of(site) for kind in words_of_layers(watched) for site in kind]
    share = -(-count // len(places))
    # Sites that seldom do harm give fewer, and the others then more.
    for quota in (share, 2 * share, 4 * share):
        _strike(places, target, quota, count, seed)
    struck = [each for place in places for each in place.found]
    if len(struck) < 2 * LEAST:
        runs = sum(place.runs for place in places)
        raise CaseError(
            f"failures of {case.name} under faults must be at least {2 * LEAST} to be "
            f"clustered, got {len(struck)} in {runs:,} runs; give it more inputs"
        )
    order = np.random.default_rng(seed).permutation(len(struck))[:count]
    return _inquiry(case, target, places, [struck[place] for place in order])


def _check(count: int, seed: int) -> None:
    if count < 2 * LEAST or seed < 0:
        raise CaseError(
            f"failures must be at least {2 * LEAST}, from a seed of at least 0, to be "
            f"clustered, got {count} and seed {seed}; ask for more"
        )


@dataclass(frozen=True, eq=False)
class _Struck:
    """An input that is right without a fault and wrong with it."""

    row: int
    fault: Fault
    words: tuple[int, int]
    scores: Floats
    markers: Floats


@dataclass(eq=False)
class _Place:
    """A site, what may hit it, and what came of that so far."""

    site: Site
    spaces: tuple[FaultSpace, FaultSpace]
    found: list[_Struck] = field(default_factory=list)
    runs: int = 0

    @classmethod
    def of(cls, site: Site) -> _Place:
        format = format_of(site.dtype)
        assert format is not None
        roles = format.roles
        top = [bit for bit, role in enumerate(roles) if role == "exponent"][-1:]
        bits = ("all", str(top[0]) if top else "all")
        every, high = (
            fault_space([site], inputs=1, bits=own, scope="batch") for own in bits
        )
        return cls(site, (every, high))

    def faults(self, rows: int, seed: int) -> list[Fault]:
        """Draw the faults of the next run: one of each row, or one for all of them."""
        chance = random.Random(f"{seed} {self.site.name} {self.runs}")
        space = self.spaces[self.runs % 2]
        count = rows if self.site.per_input else 1
        drawn = [space.fault(chance.randrange(space.size)) for _ in range(count)]
        if not self.site.per_input:
            return drawn
        return [replace(fault, input=row) for row, fault in enumerate(drawn)]


@dataclass(frozen=True, eq=False)
class _Target:
    """What is struck: inputs that a network gets right, in batches.

    Args:
        watched: The network.
        rows: Places of the inputs in the case.
        images: Of these.
        labels: What is right of them.
        benches: A run without a fault of each batch.
        clean: Markers of these runs.
    """

    watched: Watched
    rows: NDArray[np.int64]
    images: Tensor
    labels: NDArray[np.int64]
    benches: tuple[CapturedBench, ...]
    clean: Floats

    @classmethod
    def of(
        cls,
        watched: Watched,
        images: Tensor,
        labels: Tensor | None,
        rows: NDArray[np.int64],
    ) -> _Target:
        """Return those of some rows that are read right.

        Raises:
            CaseError: There are none.
        """
        images = images[rows]
        parts = (watched.bench(_given(part)) for part in images.split(_BATCH))
        scores = torch.cat([watched.seen(bench)[1] for bench in parts])
        named = scores.argmax(1)
        right = named if labels is None else labels[rows]
        kept = (named == right) & scores.isfinite().all(1)
        if not bool(kept.any()):
            raise CaseError(
                "inputs must hold some that the network gets right, got none of "
                f"{len(images)}; see that labels are classes"
            )
        images = images[kept]
        benches = tuple(watched.bench(_given(part)) for part in images.split(_BATCH))
        clean = np.concatenate([watched.seen(bench)[0] for bench in benches])
        right = right[kept]
        return cls(watched, rows[kept.numpy()], images, right.numpy(), benches, clean)

    def struck(self, place: _Place, seed: int) -> Iterator[_Struck]:
        """Yield what fails in the next run of a site."""
        number = place.runs % len(self.benches)
        bench = self.benches[number]
        faults = place.faults(bench.inputs, seed)
        place.runs += 1
        markers, scores = self.watched.seen(bench, faults)
        first = number * _BATCH
        right = torch.from_numpy(self.labels[first : first + bench.inputs])
        wrong = (scores.argmax(1) != right) & scores.isfinite().all(1)
        several, failed = place.site.per_input, wrong.nonzero()[:, 0].tolist()
        if not several:
            chance = random.Random(f"{seed} {place.site.name} {place.runs}")
            failed = chance.sample(failed, min(_OF_ONE_FAULT, len(failed)))
        for row in failed:
            fault = faults[row if several else 0]
            told = scores[row].detach().float().numpy(), markers[row]
            yield _Struck(first + row, fault, bench.words(fault), *told)


def _given(images: Tensor) -> Inputs:
    return Inputs((images,), {})


def _strike(
    places: Sequence[_Place], target: _Target, quota: int, count: int, seed: int
) -> None:
    """Strike all sites in turn until each has its share, or has been tried enough."""
    while sum(len(place.found) for place in places) < count:
        todo = [
            place
            for place in places
            if len(place.found) < quota and place.runs < _TRIES * quota
        ]
        if not todo:
            return
        for place in todo:
            place.found += target.struck(place, seed)


def _inquiry(
    case: Case, target: _Target, places: Sequence[_Place], struck: Sequence[_Struck]
) -> Inquiry:
    rows = np.array([each.row for each in struck])
    images, names = target.images, case.names
    black, white = range_of(images)
    every = [names[row] if names else f"{case.name} {row}" for row in target.rows]
    markers = np.stack([each.markers for each in struck])
    failures = Failures(
        images=images[rows],
        labels=target.labels[rows],
        scores=np.stack([each.scores for each in struck]),
        names=tuple(f"{every[each.row]} under {_word(each)}" for each in struck),
        recorded=_recorded(struck, places),
        scenarios=np.array([each.fault.site.component for each in struck]),
        observed={
            MARKERS: logarithmic(markers, target.clean),
            SITE: _where(struck, places),
        },
    )
    return Inquiry(
        network=case.network,
        failures=failures,
        examples=Examples(images[:EXAMPLES], target.labels[:EXAMPLES]),
        black=black,
        white=white,
        classes=case.classes or (),
    )


def _bit(struck: _Struck) -> int:
    return struck.fault.corruption.flip.bit_length() - 1


def _word(struck: _Struck) -> str:
    return f"{struck.fault.site.name}[{struck.fault.element}] bit {_bit(struck)}"


def _recorded(
    struck: Sequence[_Struck], places: Sequence[_Place]
) -> dict[str, NDArray[Any]]:
    """Return what is known of each fault."""
    depth = _depths(places)
    sites = [each.fault.site for each in struck]
    roles = [
        format.roles[_bit(each)]
        for each in struck
        if (format := format_of(each.fault.site.dtype)) is not None
    ]

    def value(place: int) -> NDArray[Any]:
        numbers = (value_of(e.words[place], e.fault.site.dtype) for e in struck)
        return np.array([float(number) for number in numbers])

    return {
        "site": np.array([site.name for site in sites]),
        "kind": np.array(["value" if site.per_input else "weight" for site in sites]),
        "depth": np.array([depth[site.name] for site in sites]),
        "bit": np.array([_bit(each) for each in struck]),
        "role": np.array(roles),
        "before": value(0),
        "after": value(1),
    }


def _depths(places: Sequence[_Place]) -> dict[str, int]:
    """Return how many layers come before each site's own."""
    orders = sorted({place.site.order for place in places})
    return {place.site.name: orders.index(place.site.order) for place in places}


def _where(struck: Sequence[_Struck], places: Sequence[_Place]) -> Floats:
    """Return the site of each as one of many, and how deep it lies."""
    depth = _depths(places)
    names = [place.site.name for place in places]
    table = np.zeros((len(struck), len(names) + 1), np.float32)
    for row, each in enumerate(struck):
        table[row, names.index(each.fault.site.name)] = 1
        table[row, -1] = depth[each.fault.site.name] / max(len(set(depth.values())), 1)
    return table
