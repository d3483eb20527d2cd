"""Looking for failures: scenes are afflicted, and those that are read wrong are kept.

Each cause has scenes of its own, and so have pairs of causes: kinds of scenes, each in
a series of its own. A kind is asked for its share of the failures, and looked through
from its first scene on until these are found. A cause that fails too seldom is given
up after `TRIES` scenes for each failure it was asked for; the other kinds then give
more, in equal parts.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Generic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stoic.cases import chance
from stoic.cases.afflicted.stage import S, Stage, scores_of
from stoic.cases.afflicted.truth import scenarios
from stoic.cases.errors import CaseError
from stoic.causes.failures import Examples, Failures, Inquiry
from stoic.causes.pipeline import LEAST

__all__ = ["EXAMPLES", "TRIES", "Found", "Recipe", "Tried", "search"]

EXAMPLES = 1_500
"""Scenes that the network was made for, to learn features from."""

TRIES = 25
"""Scenes looked at, at most, for each failure that a kind is asked for."""

PAIRS = "two causes"
NOTHING = "no cause"
_CHUNK = 64


@dataclass(frozen=True)
class Recipe:
    """How many failures of what.

    Args:
        combined: The share of failures in scenes that were given two causes, all pairs
            being equally likely.
        shares: The share of failures in scenes that were given one cause alone, by its
            name. Causes without one share what is left evenly. A cause with a share is
            in no pair, so that its share is exact.
        untouched: Scenes that are given no cause, for each failure wanted; what the
            network gets wrong of them is among the failures, its cause unknown.
    """

    combined: float = 0.1
    shares: Mapping[str, float] = field(default_factory=dict)
    untouched: float = 0.5


@dataclass(frozen=True)
class Tried:
    """What came of one kind of scenes.

    Args:
        kind: The cause given to them, ``"two causes"`` or ``"no cause"``.
        scenes: How many were looked at.
        failures: How many of them the network gets wrong.
    """

    kind: str
    scenes: int
    failures: int


@dataclass(frozen=True, eq=False)
class Found:
    """Failures, and how often each kind of scenes failed."""

    inquiry: Inquiry
    tried: tuple[Tried, ...]


@dataclass(frozen=True, eq=False)
class _Kind(Generic[S]):
    """One kind of scenes, as far as it has been looked through.

    Args:
        stage: Of the scenes.
        name: What was given to them.
        sets: Places of the causes, one set for each scene, equally likely.
        series: Of its own.
        looked: Scenes looked at.
        most: Scenes that may be looked at.
        found: Places of the failures among them.
    """

    stage: Stage[S]
    name: str
    sets: tuple[tuple[int, ...], ...]
    series: int
    looked: int = 0
    most: int = 0
    found: tuple[int, ...] = ()

    def scenes(self, start: int, stop: int) -> tuple[S, Tensor]:
        """Return some scenes of the series, and which causes were given to each."""
        healthy: S = self.stage.nominal(stop, self.series)
        healthy = healthy.rows(slice(start, stop))
        given = self._given(healthy.seed)
        sick = healthy
        for place, cause in enumerate(self.stage.causes):
            if bool(given[:, place].any()):
                sick = self.stage.afflict(sick, cause, given[:, place])
        return sick, given

    def _given(self, seeds: Tensor) -> Tensor:
        table = torch.zeros(len(self.sets), len(self.stage.causes), dtype=torch.bool)
        for row, causes in enumerate(self.sets):
            table[row, list(causes)] = True
        drawn = (len(self.sets) * chance.uniform(seeds, "causes")).long()
        return table[drawn]

    def asked(self, more: int, *, tries: int = TRIES) -> _Kind[S]:
        """Look for ``more`` failures; it may end with fewer, never with more."""
        kind = replace(self, most=self.most + tries * more)
        wanted = len(self.found) + more
        while len(kind.found) < wanted and kind.looked < kind.most:
            kind = kind._looked_on(wanted)
        return kind

    def _looked_on(self, wanted: int) -> _Kind[S]:
        stop = min(self.looked + _CHUNK, self.most)
        scenes, _ = self.scenes(self.looked, stop)
        wrong = (~self.stage.right(scenes)).nonzero()[:, 0] + self.looked
        found = (*self.found, *wrong.tolist())
        if len(found) >= wanted:
            # The next to be looked at is the one after the last that was wanted.
            found = found[:wanted]
            stop = found[-1] + 1
        return replace(self, looked=stop, found=found)

    def failures(self) -> tuple[S, Tensor]:
        """Return the scenes that failed, and which causes were given to each."""
        scenes, given = self.scenes(0, max(self.looked, 1))
        places = torch.tensor(self.found, dtype=torch.long)
        return scenes.rows(places), given[places]


def search(
    stage: Stage[S], count: int, seed: int, recipe: Recipe | None = None
) -> Found:
    """Find failures of a network whose causes are known.

    The same seed finds the same failures, in an order that says nothing of causes.

    Args:
        stage: Where to look.
        count: How many failures; fewer if there are not so many to be found.
        seed: Chooses the scenes.
        recipe: How many of what.

    Raises:
        CaseError: The recipe cannot be followed, or too few failures are found.
    """
    recipe = recipe or Recipe()
    if count < 2 * LEAST or seed < 0:
        raise CaseError(
            f"failures must be at least {2 * LEAST}, from a seed of at least 0, to be "
            f"clustered, got {count} and seed {seed}; ask for more"
        )
    kinds = _kinds(stage, seed, recipe)
    looked = max(round(recipe.untouched * count), 0)
    untouched = kinds.pop().asked(looked, tries=1) if looked else kinds.pop()
    untouched = replace(untouched, found=untouched.found[: count // 2])
    wanted = count - len(untouched.found)
    kinds = _filled(kinds, wanted, _weights(stage, recipe), fixed=recipe.shares)
    return _found(stage, [*kinds, untouched], seed)


def _kinds(stage: Stage[S], seed: int, recipe: Recipe) -> list[_Kind[S]]:
    """List one kind for each cause, one of pairs, and last that of no cause."""
    causes = range(len(stage.causes))
    free = [place for place in causes if stage.causes[place].name not in recipe.shares]
    sets: list[tuple[str, tuple[tuple[int, ...], ...]]] = [
        *((stage.causes[place].name, ((place,),)) for place in causes),
        (PAIRS, tuple(combinations(free, 2))),
        (NOTHING, ((),)),
    ]
    first = stage.failing + len(sets) * seed
    return [
        _Kind(stage, name, of_kind, first + place)
        for place, (name, of_kind) in enumerate(sets)
    ]


def _weights(stage: Stage[S], recipe: Recipe) -> list[float]:
    """Return the share of each cause, and last that of pairs."""
    names = [cause.name for cause in stage.causes]
    unknown = sorted(recipe.shares.keys() - set(names))
    if unknown:
        raise CaseError(f"shares must be of {', '.join(names)}, got {unknown[0]!r}")
    free = len(names) - len(recipe.shares)
    left = 1 - recipe.combined - sum(recipe.shares.values())
    shares = (recipe.combined, *recipe.shares.values())
    if min(shares) < 0 or left < -1e-9 or (free < 2 and max(left, recipe.combined) > 0):
        raise CaseError(
            "shares must be at least 0 and 1 at most together with that of pairs "
            f"({recipe.combined:g}), with two causes left to share what is left, "
            f"got {dict(recipe.shares)}"
        )
    rest = max(left, 0.0) / max(free, 1)
    return [*(recipe.shares.get(name, rest) for name in names), recipe.combined]


def _filled(
    kinds: list[_Kind[S]], wanted: int, weights: list[float], *, fixed: Container[str]
) -> list[_Kind[S]]:
    """Ask each kind for its share; what some lack, the others give in equal parts.

    A kind whose share is ``fixed`` gives no more than that.
    """
    shares = _apportioned(wanted, weights)
    while any(shares):
        asked = [
            kind.asked(share) if share else kind
            for kind, share in zip(kinds, shares, strict=True)
        ]
        gave = [
            0 < share == len(new.found) - len(old.found) and new.name not in fixed
            for share, new, old in zip(shares, asked, kinds, strict=True)
        ]
        kinds, missing = asked, wanted - sum(len(kind.found) for kind in asked)
        if not any(gave):
            break
        shares = _apportioned(missing, [float(full) for full in gave])
    return kinds


def _apportioned(count: int, weights: list[float]) -> list[int]:
    """Split a number by weights; the largest remainders get what is left over."""
    exact = np.array(weights) / max(sum(weights), 1e-300) * count
    parts = np.floor(exact + 1e-9).astype(int)
    order = np.argsort(-(exact - parts), kind="stable")
    parts[order[: count - parts.sum()]] += 1
    return [int(part) for part in parts]


def _found(stage: Stage[S], kinds: list[_Kind[S]], seed: int) -> Found:
    parts = [
        _failures(stage, *kind.failures(), seed=seed) for kind in kinds if kind.found
    ]
    count = sum(map(len, parts))
    tried = tuple(Tried(kind.name, kind.looked, len(kind.found)) for kind in kinds)
    if count < 2 * LEAST:
        looked = sum(each.scenes for each in tried)
        raise CaseError(
            f"failures of {stage.name} must be at least {2 * LEAST} to be clustered, "
            f"got {count} of {looked} scenes; ask for more"
        )
    healthy: S = stage.nominal(EXAMPLES, stage.learned)
    examples = Examples(stage.pictures(healthy), stage.labels(healthy).numpy())
    channels = examples.images.shape[1]
    inquiry = Inquiry(
        network=stage.network,
        failures=_shuffled(_joined(parts), seed),
        examples=examples,
        black=torch.zeros(channels),
        white=torch.ones(channels),
        classes=stage.classes,
    )
    return Found(inquiry, tried)


def _failures(stage: Stage[S], scenes: S, given: Tensor, *, seed: int) -> Failures:
    images = stage.pictures(scenes)
    return Failures(
        images=images,
        labels=stage.labels(scenes).numpy(),
        scores=scores_of(stage.network, images).numpy(),
        names=tuple(f"{stage.name} {each}" for each in scenes.seed.tolist()),
        recorded=stage.recorded(scenes),
        scenarios=scenarios(stage, scenes, given),
    )


def _joined(parts: list[Failures]) -> Failures:
    def column(of: Any) -> NDArray[Any]:
        return np.concatenate([of(part) for part in parts])

    return Failures(
        images=torch.cat([part.images for part in parts]),
        labels=column(lambda part: part.labels),
        scores=column(lambda part: part.scores),
        names=tuple(name for part in parts for name in part.names),
        recorded={
            name: np.concatenate([part.recorded[name] for part in parts])
            for name in parts[0].recorded
        },
        scenarios=column(lambda part: part.scenarios),
    )


def _shuffled(failures: Failures, seed: int) -> Failures:
    return failures.rows(np.random.default_rng(seed).permutation(len(failures)))
