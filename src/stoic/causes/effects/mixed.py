"""A mixed model: stages as fixed effects, the case as a random block.

score = mean of the pipeline + case + case x pipeline + repeat, the last three random,
normal and independent. The design is balanced, where restricted maximum likelihood has
a closed form: the mean squares of the three random parts, made to increase.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np
from scipy.stats import f as fisher
from scipy.stats import t as student
from sklearn.isotonic import isotonic_regression

from stoic.causes.effects.explained import TIMES, effects_of
from stoic.causes.effects.runs import Floats, Runs

__all__ = ["Components", "Level", "Mixed", "Term", "mixed_model"]


@dataclass(frozen=True)
class Components:
    """The variances of what is random.

    Args:
        case: Between cases.
        together: Of how a pipeline does on one case rather than another.
        repeat: Between repeats, such as seeds. With one run of each pipeline and case,
            it is part of `together`, and None.
    """

    case: float
    together: float
    repeat: float | None


@dataclass(frozen=True)
class Term:
    """A fixed effect, and whether it is there on cases beyond those at hand.

    Args:
        name: The factor, or factors joined.
        statistic: Of the F test against case x pipeline.
        free: Degrees of freedom, above and below.
        p: The chance of an effect so large if there were none.
    """

    name: str
    statistic: float
    free: tuple[int, int]
    p: float


@dataclass(frozen=True)
class Level:
    """What one level adds to the mean of all, on cases like these.

    Args:
        factor: The factor.
        level: Its level.
        effect: What it adds.
        low: Lower limit.
        high: Upper limit.
    """

    factor: str
    level: str
    effect: float
    low: float
    high: float


@dataclass(frozen=True)
class Mixed:
    """A fitted model.

    Args:
        mean: Over all runs.
        components: The variances of what is random.
        terms: The fixed effects, interactions too.
        levels: What each level of each factor adds.
    """

    mean: float
    components: Components
    terms: tuple[Term, ...]
    levels: tuple[Level, ...]


@dataclass(frozen=True)
class _Squares:
    """Mean squares of what is random, increasing, with their degrees of freedom."""

    repeat: float
    together: float
    case: float
    free: int


def mixed_model(
    runs: Runs,
    names: Sequence[str] = ("extractor", "reduction", "clustering"),
    *,
    block: str = "case",
    confidence: float = 0.95,
) -> Mixed:
    """Fit the model to a balanced table.

    Args:
        runs: The table, with as many rows for each pipeline and case.
        names: The factors that make a pipeline.
        block: The factor that is random.
        confidence: Of each interval.

    References:
        Searle, Casella, McCulloch: Variance Components. Wiley 1992; chapter 4.
        Thompson: The problem of negative estimates of variance components. Ann. Math.
        Stat. 33, 1962.
    """
    cells = runs.cells((block, *names))
    cases, repeats = cells.shape[0], cells.shape[-1]
    pipelines = prod(cells.shape[1:-1])
    if cases < 2 or pipelines < 2:
        raise ValueError(
            f"a mixed model must have at least 2 pipelines on 2 levels of {block}, "
            f"got {pipelines} on {cases}"
        )
    random = _squares(cells.reshape(cases, pipelines, repeats))
    spread = (random.together - random.repeat) / repeats
    components = Components(
        (random.case - random.together) / (pipelines * repeats),
        spread,
        random.repeat if repeats > 1 else None,
    )
    effects = {
        axes: effect for axes, effect in effects_of(cells).items() if 0 not in axes
    }
    return Mixed(
        float(cells.mean()),
        components,
        tuple(
            _term([names[axis - 1] for axis in axes], effect, cells, axes, random)
            for axes, effect in effects.items()
        ),
        tuple(
            level
            for axis, name in enumerate(names, start=1)
            for level in _levels(
                name, runs.levels(name), cells, axis, random, confidence
            )
        ),
    )


def _squares(cells: Floats) -> _Squares:
    cases, pipelines, repeats = cells.shape
    effects = effects_of(cells)
    free = np.array(
        [
            cases * pipelines * (repeats - 1),
            (cases - 1) * (pipelines - 1),
            cases - 1,
        ]
    )
    inside = cells - cells.mean(axis=-1, keepdims=True)
    sums = np.array(
        [(part**2).sum() for part in (inside, effects[0, 1], effects[(0,)])]
    )
    there = free > 0
    mean = sums[there] / free[there]
    rising = isotonic_regression(mean, sample_weight=free[there])
    repeat, together, case = rising if repeats > 1 else (0.0, *rising)
    pooled = int(free[there][np.isclose(rising, together, rtol=1e-12, atol=0)].sum())
    return _Squares(float(repeat), float(together), float(case), pooled)


def _term(
    names: Sequence[str],
    effect: Floats,
    cells: Floats,
    axes: Sequence[int],
    random: _Squares,
) -> Term:
    free = prod(cells.shape[axis] - 1 for axis in axes)
    square = float((effect**2).sum()) / free if free else 0.0
    statistic = square / random.together if random.together else np.inf
    chance = float(fisher.sf(statistic, free, random.free)) if free else 1.0
    return Term(TIMES.join(names), float(statistic), (free, random.free), chance)


def _levels(
    factor: str,
    levels: Sequence[str],
    cells: Floats,
    axis: int,
    random: _Squares,
    confidence: float,
) -> tuple[Level, ...]:
    others = tuple(each for each in range(cells.ndim) if each != axis)
    effects = cells.mean(axis=others) - cells.mean()
    # Of one level's mean less that of all: of so many means of `each` runs.
    each = cells.size / len(levels)
    error = sqrt(random.together / each * (1 - 1 / len(levels)))
    half = error * float(student.ppf((1 + confidence) / 2, random.free))
    return tuple(
        Level(factor, level, effect, effect - half, effect + half)
        for level, effect in zip(levels, effects.tolist(), strict=True)
    )
