"""Collecting traces: fault-free runs, faults in memory, and corrupted inputs.

Replay makes faulty features cheap: what lies upstream of a fault is golden. Faults of
one half of the words and those of the other never mix, so that a monitor is tried on
sites that it has not seen.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stoic.campaign.scores import scores_of
from stoic.criteria import Criterion, Top1Changed
from stoic.faults.formats import format_of
from stoic.faults.space import Fault, FaultSpace, fault_space
from stoic.monitors.bounds import Floats
from stoic.monitors.checksum import Checksums
from stoic.monitors.corruptions import Pixels, is_image
from stoic.monitors.recipes import Flips, Recipe, Spoilt
from stoic.monitors.traces import Origin, Traces
from stoic.monitors.watches import Watch, features_of
from stoic.network.captured import CapturedBench, CapturedSubject
from stoic.network.sites import Site
from stoic.network.subject import Inputs

__all__ = [
    "Flips",
    "Recipe",
    "Spoilt",
    "Watched",
    "check_flips",
    "collected",
    "shown",
    "words_of_layers",
]


@dataclass(frozen=True)
class Watched:
    """A network whose inner values are looked at.

    Args:
        subject: The captured network.
        watches: What is looked at, and how.
        criterion: What counts as a failure.
        scores: From the network's output to what is judged, a row per input.
        checksums: Of layers, if they are to be looked at too.
        hit: Sites that faults may hit, whatever is looked at; by default the weights of
            all layers, and all values that are looked at.
    """

    subject: CapturedSubject
    watches: tuple[Watch, ...]
    criterion: Criterion = field(default_factory=Top1Changed)
    scores: Callable[[Any], Tensor] = scores_of
    checksums: Checksums | None = None
    hit: tuple[str, ...] = ()

    @property
    def features(self) -> tuple[str, ...]:
        """Names of all features, in order."""
        more = self.checksums.features if self.checksums else ()
        return (*features_of(self.watches), *more)

    def looking_at(self, watches: tuple[Watch, ...]) -> Watched:
        """Return the same network under the same faults, but looked at otherwise."""
        weights, values = words_of_layers(self)
        hit = tuple(site.name for site in (*weights, *values))
        return replace(self, watches=watches, hit=hit)

    @property
    def _values(self) -> dict[str, str]:
        """Names in the program, by name of the site."""
        return {site.name: site.value for site in self.subject.sites}

    def bench(self, inputs: Inputs) -> CapturedBench:
        """Run a batch without a fault."""
        return self.subject.bench(inputs)

    @torch.inference_mode()
    def seen(
        self, bench: CapturedBench, faults: Sequence[Fault] = ()
    ) -> tuple[Floats, Tensor]:
        """Return features and scores of every input of a batch, under faults."""
        values, sums = self._values, self.checksums
        names = {values[watch.value] for watch in self.watches}
        output, found = bench.watched(faults, names | (sums.values if sums else set()))
        rows = [w.marker(found[values[w.value]], w.channels) for w in self.watches]
        rows += [sums.excess(found)] if sums else []
        return torch.cat(rows, 1).cpu().numpy(), self.scores(output)


def words_of_layers(watched: Watched) -> tuple[list[Site], list[Site]]:
    """Return the weights of layers, and the values that layers compute."""
    sites, hit = watched.subject.sites, set(watched.hit)
    weights = [s for s in sites if s.kind == "parameter" and len(s.shape) > 1]
    looked_at = {watch.value for watch in watched.watches}
    if watched.checksums:
        looked_at |= set(watched.checksums.tolerances)
    values = [s for s in sites if s.kind == "activation" and s.name in hit | looked_at]
    if not hit:
        return weights, values
    weights, values = ([s for s in some if s.name in hit] for some in (weights, values))
    return weights, values


def collected(
    watched: Watched,
    inputs: Inputs,
    recipe: Recipe,
    *,
    batch: int,
    seed: int,
    half: int | None,
    pixels: Pixels | None = None,
    first: int = 0,
    tick: Callable[[int], None] | None = None,
) -> Traces:
    """Return traces of every input: without a fault, and with what a recipe says.

    Args:
        watched: The network.
        inputs: Inputs that are not in any other traces that these are compared with.
        recipe: What is done to them.
        batch: Inputs per run.
        seed: Of faults and noise; other first inputs get others by the same seed.
        half: Which half of all words may be hit: 0 or 1; without it, any word.
        pixels: Range of the inputs; only needed where a recipe corrupts them.
        first: Number of the first input.
        tick: Told how many inputs are done.
    """
    parts: list[Traces] = []
    drawer = _Drawer(watched, seed, half)
    for start in range(0, inputs.count, batch):
        own = inputs.rows(start, min(start + batch, inputs.count))
        runs = _Runs(watched, own, first + start, f"{seed} {first + start}")
        parts += runs.clean()
        parts += runs.corrupted(recipe.spoilt, pixels)
        for number, flips in enumerate(recipe.flips):
            parts += runs.flipped(flips, drawer, number)
        if tick:
            tick(own.count)
    return Traces.joined(parts)


def check_flips(watched: Watched, flips: Sequence[Flips]) -> None:
    """Refuse faults in memory that no word of the network can have.

    Raises:
        ValueError: Naming the model.
    """
    drawer = _Drawer(watched, 0, None)
    for each in flips:
        drawer.check(each)


def shown(
    traces: Traces,
    inputs: Inputs,
    recipe: Recipe,
    *,
    batch: int,
    seed: int,
    pixels: Pixels | None = None,
    first: int = 0,
) -> Tensor:
    """Return the image that the network was shown in each of some inferences.

    Args:
        traces: Some rows of what `collected` has returned of the same inputs, recipe,
            batch, seed, pixels and first number.
        inputs: All of them, with images.
        recipe: What was done to them.
        batch: Inputs per run.
        seed: Of faults and noise.
        pixels: Range of the inputs.
        first: Number of the first input.
    """
    kinds = {(each.corruption.name, each.strength): each for each in recipe.spoilt}

    @cache
    def pictures(start: int, kind: str, strength: float) -> Tensor:
        own = inputs.rows(start, min(start + batch, inputs.count))
        if (kind, strength) in kinds:
            assert pixels is not None
            each = kinds[kind, strength]
            own = _spoilt(own, each, pixels, f"{seed} {first + start}")
        image: Tensor = next(leaf for leaf in own.leaves if is_image(leaf))
        return image

    origin, found = traces.origin, []
    for place, kind, strength in zip(
        (origin.image - first).tolist(), origin.kind, origin.strength, strict=True
    ):
        start = place // batch * batch
        found.append(pictures(start, str(kind), float(strength))[place - start])
    return torch.stack(found)


def _spoilt(inputs: Inputs, each: Spoilt, pixels: Pixels, seed: str) -> Inputs:
    chance = zlib.crc32(f"{seed} {each.corruption.name}".encode())
    return pixels.on(inputs, each.corruption, each.strength, chance)


class _Runs:
    """All runs of one batch of inputs."""

    def __init__(self, watched: Watched, inputs: Inputs, first: int, seed: str) -> None:
        self._watched, self._inputs, self._seed = watched, inputs, seed
        self._image = np.arange(first, first + inputs.count)
        self._bench = watched.bench(inputs)
        self._features, self._golden = watched.seen(self._bench)

    def _traces(self, features: Floats, scores: Tensor, **origin: Any) -> Traces:
        failed = self._watched.criterion.failed(self._golden, scores, None)
        broken = ~scores.reshape(len(scores), -1).isfinite().all(1)
        found = Origin.of(
            self._image, failed.cpu().numpy(), broken.cpu().numpy(), **origin
        )
        plain = scores.detach().float().reshape(len(scores), -1).cpu().numpy()
        return Traces(self._watched.features, features, plain, found)

    def clean(self) -> Iterator[Traces]:
        """Yield the run without a fault."""
        yield self._traces(self._features, self._golden)

    def corrupted(
        self, spoilt: Sequence[Spoilt], pixels: Pixels | None
    ) -> Iterator[Traces]:
        """Yield one run per corruption and strength."""
        for each in spoilt:
            assert pixels is not None
            inputs = _spoilt(self._inputs, each, pixels, self._seed)
            bench = self._watched.bench(inputs)
            features, scores = self._watched.seen(bench)
            yield self._traces(
                features,
                scores,
                kind=each.corruption.name,
                strength=each.strength,
                share=each.share,
            )

    def flipped(self, flips: Flips, drawer: _Drawer, number: int) -> Iterator[Traces]:
        """Yield runs with a fault in a weight, and with one in values of each input."""
        count = len(self._image)
        for run in range(flips.weights):
            key = f"{self._seed} {number} weight {run}"
            fault = drawer.weight(flips, key)
            yield from self._struck(flips.kind, [fault], [fault] * count)
        for run in range(flips.activations):
            key = f"{self._seed} {number} activation {run}"
            faults = [
                replace(drawer.activation(flips, f"{key} {row}"), input=row)
                for row in range(count)
            ]
            yield from self._struck(flips.kind, faults, faults)

    def _struck(
        self, kind: str, faults: list[Fault], by_row: list[Fault]
    ) -> Iterator[Traces]:
        features, scores = self._watched.seen(self._bench, faults)
        touched = [_touched(fault) for fault in by_row]
        yield self._traces(
            features,
            scores,
            kind=kind,
            site=[fault.site.name for fault in by_row],
            element=[fault.element for fault in by_row],
            bit=[word.bit_length() - 1 for word in touched],
            bits=[word.bit_count() for word in touched],
        )


class _Drawer:
    """Draws faults from one half of all words, or from all of them."""

    def __init__(self, watched: Watched, seed: int, half: int | None) -> None:
        self._half, self._seed = half, seed
        self._weights, self._activations = words_of_layers(watched)
        self._spaces: dict[Any, FaultSpace] = {}

    def check(self, flips: Flips) -> None:
        """Refuse faults that no weight, or no value, can have."""
        for sites in (self._weights, self._activations):
            self._space(sites, flips)

    def weight(self, flips: Flips, key: str) -> Fault:
        """Draw a fault in a weight; layers are as likely as they are large."""
        return self._drawn(self._weights, flips, f"{self._seed} {key}")

    def activation(self, flips: Flips, key: str) -> Fault:
        """Draw a fault in a value of one input."""
        return self._drawn(self._activations, flips, f"{self._seed} {key}")

    def _drawn(self, sites: list[Site], flips: Flips, key: str) -> Fault:
        space = self._space(sites, flips)
        chance = random.Random(key)
        while True:
            fault = space.fault(chance.randrange(space.size))
            if self._half in (None, half_of(fault.site.name, fault.element)):
                return fault

    def _space(self, sites: list[Site], flips: Flips) -> FaultSpace:
        key = (id(sites), flips)
        if key not in self._spaces:
            bits = _top_bits(sites[0]) if flips.top else "all"
            self._spaces[key] = fault_space(
                sites, inputs=1, model=flips.model, bits=bits, scope="batch"
            )
        return self._spaces[key]


def half_of(site: str, element: int) -> int:
    """Return which half of all words one belongs to, by chance but always the same."""
    return zlib.crc32(f"{site} {element}".encode()) & 1


def _touched(fault: Fault) -> int:
    """Return a word of all bits that a fault may have changed."""
    format = format_of(fault.site.dtype)
    assert format is not None
    gone = ~fault.corruption.keep & ((1 << format.width) - 1)
    return fault.corruption.flip | gone


def _top_bits(site: Site) -> str:
    """Return the three highest bits of a format's exponent."""
    format = format_of(site.dtype)
    assert format is not None
    bits = [bit for bit, role in enumerate(format.roles) if role == "exponent"]
    return ",".join(map(str, bits[-3:])) if bits else "all"
