"""Estimates of adaptive plans: fair over everything that could have been drawn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, t

from made_runs import a_manifest
from stoic.estimates.bets import LOWER, UPPER, Side
from stoic.estimates.course import Course, run_course
from stoic.estimates.facts import Facts
from stoic.estimates.martingale import (
    Told,
    approximate_limits,
    guaranteed_limit,
    interval,
    martingale_mean,
)
from stoic.estimates.searched import Searched
from stoic.plans import Adaptive, Batch, Known, Steps, Stratum, drawing
from stoic.plans import search as module

SIDES: tuple[Side, Side] = (UPPER, LOWER)
LEVELS = (0.025, 0.3)

# --- everything that could have been drawn ---------------------------------

# Shares by stratum.
GAMES = {
    "all hold": ((0.0, 0.0, 0.0), (0.0, 0.0)),
    "all fail": ((1.0, 1.0), (1.0, 1.0, 1.0)),
    "one fails": ((0.0, 0.0, 0.0), (0.0, 1.0)),
    "parts": ((0.25, 0.0, 0.75), (1.0, 0.5)),
    "three": ((0.0, 1.0), (0.0, 0.0), (1.0,)),
}


class Chance:
    """The chances of one way that a search can go; `every` goes through them all."""

    def __init__(self, path: list[int]) -> None:
        self.path, self.probability, self._at = path, 1.0, 0
        self.open: list[int] = []

    def pick(self, weights: Sequence[float]) -> int:
        """Return the place that the path says, and note how likely it was."""
        if self._at == len(self.path):
            self.path.append(0)
        places = [place for place, weight in enumerate(weights) if weight > 0]
        place = places[self.path[self._at]]
        self.probability *= weights[place] / sum(weights)
        self.open.append(len(places))
        self._at += 1
        return place


def every(play: Callable[[Chance], Any]) -> Iterator[tuple[float, Any]]:
    """Yield what comes of a game, however its chances fall, with its probability."""
    path: list[int] = []
    while True:
        chance = Chance(path)
        found = play(chance)
        yield chance.probability, found
        while path and path[-1] + 1 == chance.open[len(path) - 1]:
            path.pop()
        if not path:
            return
        path[-1] += 1


@dataclass(frozen=True)
class Played:
    """A search that has ended: what was drawn, and what was known before it."""

    steps: Steps
    share: np.ndarray[Any, Any]
    known: Known
    drawn: tuple[tuple[int, int], ...]

    @property
    def told(self) -> Told:
        return Told(self.steps, self.share, self.known)


@cache
def ways(game: str, most: int, guaranteed: bool = True) -> list[tuple[float, Played]]:
    """Every way that a search of a tiny population can go, and how likely it is.

    The two places where a search asks for chance are taken: which stratum, and which of
    its units. All else is the search's own.
    """
    shares = GAMES[game]

    def play(chance: Chance) -> Played:
        def at(cumulated: Sequence[float], spot: float) -> int:
            return chance.pick(np.diff([0.0, *cumulated]).tolist())

        def shuffled(size: int, trials: int, bits: Any) -> Iterator[int]:
            left = list(range(size))
            while left:
                yield left.pop(chance.pick([1.0] * len(left)))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_SMALLEST", 1)
            patch.setattr(drawing, "bisect", SimpleNamespace(bisect_right=at))
            patch.setattr(drawing, "shuffled", shuffled)
            plan = Adaptive(0.2, guaranteed=guaranteed, most=most, pilot=1)
            return played(plan, shares, known_of(shares))

    return list(every(play))


def played(plan: Adaptive, shares: Sequence[Sequence[float]], known: Known) -> Played:
    """Go through a search until it says that it is done."""
    strata = [
        Stratum(str(i), len(own), hint=0.1 + i / 10) for i, own in enumerate(shares)
    ]
    search = plan.search(strata, known, 0)
    steps, found, drawn = [], [], []
    batch: Batch | None = None
    while not (batch and batch.last) and (batch := search.batch()) is not None:
        own = np.array([shares[d.stratum][d.position] for d in batch.draws])
        search.learn(own)
        steps.append(batch.steps)
        found.append(own)
        drawn += [(d.stratum, d.position) for d in batch.draws]
    return Played(Steps.joined(steps), np.concatenate(found), known, tuple(drawn))


def known_of(shares: Sequence[Sequence[float]]) -> Known:
    """Beside the units, some that are proved."""
    units = sum(map(len, shares))
    return Known(units + 3, 3, 1.5)


def truth_of(shares: Sequence[Sequence[float]], known: Known) -> float:
    return (known.failed + sum(map(sum, shares))) / known.size


@pytest.mark.parametrize("guaranteed", [True, False])
@pytest.mark.parametrize("game", GAMES)
def test_the_mean_over_everything_that_could_have_been_drawn_is_the_truth(
    game: str, guaranteed: bool
) -> None:
    """The plan chooses strata, guesses, weights and sizes by what it has seen."""
    shares = GAMES[game]
    known = known_of(shares)

    found = ways(game, 5, guaranteed)

    assert math.isclose(sum(chance for chance, _ in found), 1)
    assert len({p.drawn for _, p in found}) == len(found) > 50
    assert all(math.isclose(p.steps.weight.sum(), 1) for _, p in found)
    mean = sum(chance * martingale_mean(p.told) for chance, p in found)
    assert mean == pytest.approx(truth_of(shares, known), abs=1e-12)
    # It learns: what it draws from hangs on what it has seen.
    scales = {tuple(p.steps.scale[1:2]) for _, p in found}
    assert len(scales) > 2


@pytest.mark.parametrize("game", GAMES)
def test_each_trial_alone_is_fair(game: str) -> None:
    """Also where what has been seen decides if there is such a trial at all."""
    truth = truth_of(GAMES[game], known_of(GAMES[game]))

    said, taken = np.zeros(5), np.zeros(5)
    for chance, p in ways(game, 5):
        count = len(p.share)
        said[:count] += chance * (p.told.found + p.told.rest)
        taken[:count] += chance

    assert said == pytest.approx(truth * taken, abs=1e-12)


@pytest.mark.parametrize("inside", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("game", ["one fails", "parts", "three"])
def test_the_mean_of_a_group_is_fair_however_the_plan_came_to_draw_there(
    game: str, inside: tuple[int, ...]
) -> None:
    """The proved units are of the group here, and their outcome another than the run's.

    What leaves `Searched` is kept between what is certain, so that of its value is
    compared way by way.
    """
    shares = GAMES[game]
    known = known_of(shares)
    units = sum(len(shares[i]) for i in inside)
    truth = (2.5 + sum(sum(shares[i]) for i in inside)) / (units + known.known)

    mean = 0.0
    for chance, p in ways(game, 5):
        fair = fair_mean(p, inside, 2.5) / (units + known.known)
        mean += chance * fair
        estimate = searched(p, shares).estimate(
            np.isin(np.arange(len(shares) + 1), [*inside, len(shares)]),
            p.share,
            p.share,
            0.95,
            guaranteed=False,
            failed=2.5,
        )
        tried = [s for (i, _), s in zip(p.drawn, p.share, strict=True) if i in inside]
        low = (2.5 + sum(tried)) / (units + known.known)
        high = low + (units - len(tried)) / (units + known.known)
        assert estimate.value == pytest.approx(min(max(fair, low), high))
        assert estimate.n == len(tried)
    assert mean == pytest.approx(truth, abs=1e-12)


def fair_mean(p: Played, inside: tuple[int, ...], failed: float) -> float:
    """The sum over a group: what is certain, and each trial by one over its chance."""
    size = p.known.size
    total, before = 0.0, failed
    rows = zip(p.drawn, p.share, p.steps.scale, p.steps.weight, strict=True)
    for (stratum, _), share, scale, weight in rows:
        own = float(share) if stratum in inside else 0.0
        total += weight * (before + own * scale * size)
        before += own
    return total


def searched(p: Played, shares: Sequence[Sequence[float]]) -> Searched:
    """A run with a cell per stratum, and one more of which all is proved."""
    trials = len(p.share)
    zeros, none = np.zeros(trials, np.int64), np.zeros(trials, np.bool_)
    cells = {
        "units": np.array([*map(len, shares), 0]),
        "known": np.array([0] * len(shares) + [p.known.known]),
        "failed": np.array([0] * len(shares) + [1]),
    }
    facts = Facts(
        trial=np.arange(trials),
        stratum=p.steps.stratum,
        exposed=zeros + 4,
        crashed=none,
        unknown=none,
        failed=(p.share * 4).astype(np.int64),
        exact=~none,
    )
    course: Any = SimpleNamespace(steps=p.steps, known=p.known)
    course.part = partial(Course.part, course)
    return Searched(a_manifest(), cells, facts, course)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("game", GAMES)
def test_limits_miss_as_seldom_as_they_say_over_all_that_could_be_drawn(
    game: str, level: float, side: Side
) -> None:
    """Misses after any batch count: peeking is allowed. So do those of a group."""
    shares = GAMES[game]
    known = known_of(shares)
    truth = truth_of(shares, known)
    one = (known.failed + sum(shares[0])) / known.size

    missed = missed_group = 0.0
    for chance, p in ways(game, 5):
        ends = np.flatnonzero(np.diff(p.steps.batch, append=-1)) + 1
        peeks = [Told(p.steps.first(n), p.share[:n], known) for n in ends.tolist()]
        limits = [guaranteed_limit(told, side, level) for told in peeks]
        missed += chance * any(side * (truth - limit) > 1e-9 for limit in limits)
        limits = [guaranteed_limit(group(told, 0), side, level) for told in peeks]
        missed_group += chance * any(side * (one - limit) > 1e-9 for limit in limits)

    assert missed <= level
    assert missed_group <= level


def group(told: Told, stratum: int) -> Told:
    inside = told.steps.stratum == stratum
    share = np.where(inside, told.share, 0.0)
    return Told(told.steps.unguided(), share, told.known, inside)


# --- the game against the truth --------------------------------------------


def capitals(told: Told, mean: float, side: Side) -> list[float]:
    """The capital after each trial, in the words of the paper: a product.

    The stake is the plan's, or 0.95 by the most that the trial can lose.
    """
    found, capital, all_of_them = told.known.failed / told.known.size, 1.0, []
    for row, share in enumerate(told.share.tolist()):
        steps = {name: float(getattr(told.steps, name)[row]) for name in NUMBERS}
        rest = steps["base"] + steps["scale"] * (share - steps["guess"])
        supposed = mean - found
        loss = steps["top"] - supposed if side == UPPER else supposed - steps["bottom"]
        bet = min(steps["stake"], 0.95 / loss if loss > 0 else math.inf)
        capital *= 1 + side * bet * (supposed - rest)
        all_of_them.append(capital)
        found += share / told.known.size
    return all_of_them


NUMBERS = ("base", "scale", "guess", "top", "bottom", "stake")


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("game", GAMES)
def test_against_the_truth_no_trial_is_in_favour_of_the_gambler(
    game: str, guided: bool, side: Side
) -> None:
    """Over all ways, his capital is 1 on average after each trial, and never gone."""
    shares = GAMES[game]
    known = known_of(shares)
    truth = truth_of(shares, known)

    average = np.zeros(5)
    for chance, p in ways(game, 5):
        told = p.told if guided else replace(p.told, steps=p.steps.unguided())
        own = capitals(told, truth, side)
        # At worst a trial takes 0.95 of what there is.
        assert all(b >= 0.05 * a * (1 - 1e-9) > 0 for a, b in itertools.pairwise(own))
        # Who has stopped keeps what he has.
        average += chance * np.array(own + own[-1:] * (5 - len(own)))

    assert average == pytest.approx(1.0, abs=1e-12)


@st.composite
def steps_and_strata(draw: Any) -> tuple[Told, list[tuple[float, float]], float]:
    """A trial that is still to come: whom it may hit, with what chance, and the truth.

    Guesses may be any; chances, too.
    """
    count = draw(st.integers(1, 4))
    sizes = draw(st.lists(st.integers(1, 50), min_size=count, max_size=count))
    odds = draw(st.lists(st.floats(0.01, 1), min_size=count, max_size=count))
    guesses = draw(st.lists(st.floats(0, 1), min_size=count, max_size=count))
    means = draw(st.lists(st.floats(0, 1), min_size=count, max_size=count))
    stake = draw(st.floats(0, 1e4))
    known = Known(sum(sizes) + 20, 20, draw(st.floats(0, 20)))
    chances = np.array(odds) / sum(odds)
    part = np.array(sizes) / known.size
    base, scale = float(part @ guesses), part / chances
    # One row per stratum: in each, what would be said if it were hit.
    steps = Steps(
        stratum=np.arange(count),
        base=np.full(count, base),
        scale=scale,
        guess=np.array(guesses),
        top=np.full(count, base + (scale * (1 - np.array(guesses))).max()),
        bottom=np.full(count, base - (scale * guesses).max()),
        widest=np.full(count, scale.max()),
        stake=np.full(count, stake),
        weight=np.full(count, 1.0),
        batch=np.arange(count),
    )
    told = Told(steps, np.zeros(count), known)
    truth = known.failed / known.size + float(part @ means)
    return told, list(zip(chances.tolist(), means, strict=True)), truth


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("side", SIDES)
@given(steps_and_strata())
def test_one_trial_is_a_fair_game_whatever_was_known_before_it(
    side: Side, guided: bool, given: tuple[Told, list[tuple[float, float]], float]
) -> None:
    """Shares of 0 and 1, the extremes: others lie between, and the game is linear."""
    told, strata, truth = given
    steps = told.steps if guided else told.steps.unguided()

    expected = 0.0
    for row, (chance, mean) in enumerate(strata):
        alone = Steps(*(value[row : row + 1] for value in vars(steps).values()))
        for share, part in ((0.0, 1 - mean), (1.0, mean)):
            own = Told(alone, np.array([share]), told.known)
            (capital,) = capitals(own, truth, side)
            assert capital >= 0.05 - 1e-9
            expected += chance * part * capital

    assert expected == pytest.approx(1.0, abs=1e-9)


@st.composite
def tolds(draw: Any) -> Told:
    """Trials of a search of some tiny population, or of a part of it."""
    seed = draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    sizes = draw(st.lists(st.integers(1, 60), min_size=1, max_size=4))
    shares = [rng.binomial(2, rng.beta(0.5, 1), size) / 2 for size in sizes]
    known = Known(sum(sizes) + 10, 10, 4.0)
    plan = Adaptive(0.1, guaranteed=draw(st.booleans()), pilot=5)
    search = plan.search([Stratum(str(i), n) for i, n in enumerate(sizes)], known, seed)
    steps, found = [], []
    for _ in range(draw(st.integers(1, 4))):
        if (batch := search.batch()) is None:
            break
        own = np.array([shares[d.stratum][d.position] for d in batch.draws])
        search.learn(own)
        steps.append(batch.steps)
        found.append(own)
    told = Told(Steps.joined(steps), np.concatenate(found), known)
    return group(told, 0) if draw(st.booleans()) else told


@pytest.mark.parametrize("side", SIDES)
@given(tolds())
def test_the_further_a_supposed_mean_is_away_the_richer_the_gambler(
    side: Side, told: Told
) -> None:
    """At every trial, though his bet hangs on the mean that he bets against.

    So the means that are not rejected are an interval, and bisection finds its end.
    """
    low, high = told.certain
    grid = np.linspace(low, high, 23)[::side]

    rich = np.array([capitals(told, float(mean), side) for mean in grid])

    assert (np.diff(rich, axis=0) >= -1e-9 * rich[1:]).all()
    assert (rich > 0).all()


@pytest.mark.parametrize("side", SIDES)
@given(tolds(), st.sampled_from([0.4, 0.025, 1e-3]))
def test_the_limit_is_where_the_gambler_stops_being_rich_enough(
    side: Side, told: Told, level: float
) -> None:
    low, high = told.certain
    ends = np.flatnonzero(np.diff(told.steps.batch, append=-1))

    limit = guaranteed_limit(told, side, level)

    def rejected(mean: float) -> bool:
        rich = capitals(told, mean, side)
        return max(rich[end] for end in ends) >= 1 / level

    assert low <= limit <= high
    outer = high if side == UPPER else low
    if limit != outer:
        assert rejected(limit + side * 1e-9)
    inner = limit - side * 1e-9
    if low <= inner <= high:
        assert not rejected(inner)


# --- coverage --------------------------------------------------------------


@dataclass(frozen=True)
class Population:
    """Shares by stratum, what the plan reckons with there, and what stays unknown."""

    shares: tuple[np.ndarray[Any, Any], ...]
    hints: tuple[float, ...]
    unknown: tuple[np.ndarray[Any, Any], ...] | None = None

    @property
    def truth(self) -> float:
        everything = np.concatenate(self.shares)
        return float(everything.mean())


def coins(rate: float, size: int) -> np.ndarray[Any, Any]:
    shares = np.zeros(size)
    shares[: round(rate * size)] = 1.0
    return shares


RNG = np.random.default_rng(1)
POPULATIONS = {
    "rare": Population((coins(0.01, 300), coins(0.06, 200)), (0.01, 0.05)),
    "all hold": Population((np.zeros(300), np.zeros(100)), (0.05, 0.01)),
    "all fail": Population((np.ones(300), np.ones(100)), (0.05, 0.4)),
    "parts": Population((RNG.beta(0.3, 2, 300), RNG.beta(2, 1, 100)), (0.05, 0.4)),
    "a tiny stratum": Population((np.zeros(400), np.ones(12)), (0.3, 1e-6)),
    "misled": Population((np.zeros(250), coins(0.3, 150)), (0.4, 1e-6)),
    "unknown": Population(
        (coins(0.1, 300), coins(0.5, 100)),
        (0.05, 0.3),
        (RNG.random(300) < 0.1, RNG.random(100) < 0.1),
    ),
}


def misses(population: Population, seed: int) -> bool:
    """Say whether a guaranteed interval misses, however often it is looked at."""
    size = sum(map(len, population.shares))
    known = Known(size)
    strata = [
        Stratum(str(i), len(own), hint=hint)
        for i, (own, hint) in enumerate(
            zip(population.shares, population.hints, strict=True)
        )
    ]
    search = Adaptive(0.08, guaranteed=True, pilot=20, most=200).search(
        strata, known, seed
    )
    steps, low, high = [], [], []
    while (batch := search.batch()) is not None:
        places = [(d.stratum, d.position) for d in batch.draws]
        own = np.array([population.shares[s][p] for s, p in places])
        hidden = np.zeros(len(own), np.bool_)
        if population.unknown is not None:
            hidden = np.array([population.unknown[s][p] for s, p in places])
        low.append(np.where(hidden, 0.0, own))
        high.append(np.where(hidden, 1.0, own))
        steps.append(batch.steps)
        search.learn((low[-1] + high[-1]) / 2)
    joined = Steps.joined(steps)
    below = Told(joined, np.concatenate(low), known)
    above = Told(joined, np.concatenate(high), known)
    # A limit is the best of those after each batch: it misses if one of them did.
    least = guaranteed_limit(below, LOWER, 0.025)
    most = guaranteed_limit(above, UPPER, 0.025)
    return not least - 1e-9 <= population.truth <= most + 1e-9


def least_coverage(missed: int, campaigns: int) -> float:
    """A lower 99 % limit of the coverage, by Clopper and Pearson."""
    return float(beta.ppf(0.01, campaigns - missed, missed + 1))


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SMALLEST", 16)


def test_coverage_of_campaigns_of_every_kind(small_batches: None) -> None:
    """100 campaigns each; their Monte Carlo error is 0.8 points in all."""
    missed = {
        name: sum(misses(population, seed) for seed in range(100))
        for name, population in POPULATIONS.items()
    }

    assert least_coverage(sum(missed.values()), 100 * len(missed)) > 0.945, missed
    assert all(least_coverage(count, 100) > 0.88 for count in missed.values()), missed


@pytest.mark.slow
@pytest.mark.parametrize("name", POPULATIONS)
def test_coverage_of_2000_campaigns(name: str, small_batches: None) -> None:
    missed = sum(misses(POPULATIONS[name], seed) for seed in range(2_000))

    assert least_coverage(missed, 2_000) >= 0.945, missed


# --- intervals -------------------------------------------------------------


@pytest.mark.parametrize("guaranteed", [True, False])
@given(tolds())
def test_intervals_are_nested_and_within_what_is_certain(
    guaranteed: bool, told: Told
) -> None:
    floor, ceiling = told.certain
    ends = [
        interval(told, told, confidence, guaranteed=guaranteed)
        for confidence in (0.5, 0.9, 0.95, 0.999)
    ]

    assert len({value for value, _, _ in ends}) == 1
    for value, low, high in ends:
        assert floor - 1e-12 <= low <= value <= high <= ceiling + 1e-12
    for (_, low, high), (_, lower, higher) in itertools.pairwise(ends):
        assert lower <= low and high <= higher


def test_what_is_certain_is_proved_or_tried() -> None:
    steps = made_steps(3)

    told = Told(steps, np.array([1.0, 0.0, 0.5]), Known(20, 6, 2.0))
    inside = replace(told, inside=np.array([True, False, True]))

    # 2 + 1.5 of 20 have failed, and 14 - 3, or 14 - 2, are open.
    assert told.certain == pytest.approx((3.5 / 20, 14.5 / 20))
    assert inside.certain == pytest.approx((3.5 / 20, 15.5 / 20))


def made_steps(count: int, **changes: Any) -> Steps:
    ones = np.ones(count)
    return replace(
        Steps(
            stratum=np.zeros(count, np.int64),
            base=0 * ones,
            scale=ones,
            guess=0 * ones,
            top=ones,
            bottom=0 * ones,
            widest=ones,
            stake=0.5 * ones,
            weight=ones / count,
            batch=np.zeros(count, np.int64),
        ),
        **changes,
    )


def test_a_pilot_alone_counts_each_trial_the_same() -> None:
    steps = made_steps(4, weight=np.zeros(4), stake=np.zeros(4))
    told = Told(steps, np.array([1.0, 0.0, 0.0, 0.0]), Known(1_000))

    value, low, high = interval(told, told, 0.95, guaranteed=False)
    assert value == pytest.approx((1.0 + 3 * 0.001) / 4)
    assert low < value < high
    # Nothing was staked: nobody knows more than what is certain.
    assert interval(told, told, 0.95, guaranteed=True)[1:] == (0.001, 0.997)


def test_trials_beyond_the_plan_narrow_the_interval_and_leave_the_value() -> None:
    rng = np.random.default_rng(1)
    share = (rng.random(120) < 0.3).astype(float)
    batch, weight = np.repeat([0, 1, 2], 40), np.repeat([0.4, 0.6, 0.5], 40) / 40
    steps = made_steps(120, batch=batch, weight=weight, stake=np.full(120, 0.5))
    share[80:] = 0.0
    planned = Told(steps.first(80), share[:80], Known(10**9))
    more = Told(steps, share, Known(10**9))

    for guaranteed in (False, True):
        before = interval(planned, planned, 0.95, guaranteed=guaranteed)
        after = interval(more, more, 0.95, guaranteed=guaranteed)
        assert after[0] == pytest.approx(before[0], rel=1e-6)
        assert after[2] - after[1] < before[2] - before[1]
        assert after[1] <= after[0] <= after[2]


def test_approximate_limits_are_those_of_the_variance_within_batches() -> None:
    rng = np.random.default_rng(0)
    share = (rng.random(90) < 0.3).astype(float)
    batch = np.repeat([0, 1, 2], [20, 30, 40])
    weight = np.repeat([0.0, 0.4 / 30, 0.6 / 40], [20, 30, 40])
    scale = rng.uniform(0.5, 2.0, 90)
    guess = np.where(np.arange(90) % 3, 0.2, 0.0)
    steps = made_steps(90, batch=batch, weight=weight, scale=scale, guess=guess)
    told = Told(steps, share, Known(10**9))

    variance = squares = 0.0
    said = share.copy()
    for i in range(90):
        said[i] = scale[i] * (share[i] - guess[i])
    for number, count in ((1, 30), (2, 40)):
        own = said[batch == number]
        parts = (own - own.mean()) ** 2 * count / (count - 1)
        each = (0.4 / 30 if number == 1 else 0.6 / 40) ** 2
        variance += each * parts.sum()
        squares += float(((each * parts) ** 2).sum())
    free = variance**2 / squares
    quiet = [i for i in range(20, 90) if guess[i] == 0 and share[i] == 0]
    rare = sum((weight[i] * scale[i]) ** 2 for i in quiet) * 0.5 / (len(quiet) + 1)
    half = t.ppf(0.975, free) * math.sqrt(variance + rare)

    found = approximate_limits(told, 0.95)
    value = martingale_mean(told)
    assert value == pytest.approx(float(weight @ said), abs=1e-6)
    assert found == pytest.approx((value - half, value + half), rel=1e-6)


def test_without_a_failure_an_approximate_interval_is_not_empty() -> None:
    told = Told(made_steps(400), np.zeros(400), Known(10**6))

    value, low, high = interval(told, told, 0.95, guaranteed=False)

    assert value == low == 0
    # Wider than the rule of three: one degree of freedom.
    assert 3 / 400 < high < 0.1


# --- courses ---------------------------------------------------------------


def course_of(
    shares: Sequence[np.ndarray[Any, Any]], plan: Adaptive, known: Known, seed: int = 0
) -> Course:
    strata = [Stratum(str(i), len(own), hint=0.1) for i, own in enumerate(shares)]
    return Course(plan, strata, known, seed)


def run(course: Course, shares: Sequence[np.ndarray[Any, Any]]) -> list[float]:
    """Go through a course; return what came of its trials."""
    found: list[float] = []
    while (batch := course.batch()) is not None:
        own = np.array([shares[d.stratum][d.position] for d in batch.draws])
        course.learn(own, own)
        found += own.tolist()
    return found


def test_trials_that_all_failed_do_not_show_that_all_units_do() -> None:
    """Without a variance only a guaranteed interval says something."""
    shares = [np.ones(100_000), np.ones(10_000)]
    course = course_of(
        shares, Adaptive(half_width=0.02, pilot=50), Known(110_000), seed=0
    )
    run(course, shares)

    found = course.estimate(guaranteed=False)

    assert found == course.estimate(guaranteed=True)
    assert found.kind == "guaranteed" and found.low < 0.99 < found.value == 1


@pytest.mark.parametrize("guaranteed", [True, False])
@pytest.mark.parametrize("name", ["parts", "all hold", "all fail", "misled"])
def test_a_course_through_every_unit_ends_with_the_truth(
    name: str, guaranteed: bool
) -> None:
    shares = POPULATIONS[name].shares
    size = sum(map(len, shares))
    known = Known(size + 100, 100, 30.0)
    course = course_of(shares, Adaptive(1e-9, guaranteed=guaranteed, pilot=20), known)

    run(course, shares)

    estimate = course.estimate(guaranteed=guaranteed)
    truth = (30 + sum(float(own.sum()) for own in shares)) / known.size
    assert estimate.n == size and estimate.kind == "census"
    assert (estimate.low, estimate.value, estimate.high) == pytest.approx([truth] * 3)


@pytest.mark.parametrize("guaranteed", [True, False])
def test_a_course_stops_where_its_interval_is_narrow_enough(guaranteed: bool) -> None:
    shares = [coins(0.1, 3_000), coins(0.02, 9_000)]
    plan = Adaptive(0.03, guaranteed=guaranteed, pilot=50)
    course = course_of(shares, plan, Known(12_000))

    while (batch := course.batch()) is not None:
        if course.trials > 50 and guaranteed:
            before = course.estimate(guaranteed=True)
            assert before.high - before.low > 0.06
        own = np.array([shares[d.stratum][d.position] for d in batch.draws])
        course.learn(own, own)

    estimate = course.estimate(guaranteed=guaranteed)
    assert estimate.kind == ("guaranteed" if guaranteed else "approximate")
    assert (estimate.high - estimate.low) / 2 <= 0.03
    assert estimate.low <= 0.04 <= estimate.high


def test_a_relative_width_is_a_part_of_the_estimate() -> None:
    shares = [coins(0.3, 4_000)]
    course = course_of(shares, Adaptive(relative=0.2, pilot=50), Known(4_000))

    run(course, shares)

    estimate = course.estimate(guaranteed=False)
    assert (estimate.high - estimate.low) / 2 <= 0.2 * estimate.value


@pytest.mark.parametrize("cut", [1, 49, 50, 51, 80, 113, 200])
def test_a_course_that_was_cut_off_says_what_its_trials_say(cut: int) -> None:
    """Also in the middle of a batch, whose other trials then have no weight."""
    shares = [coins(0.2, 900), coins(0.01, 2_000)]
    plan, known = Adaptive(0.02, guaranteed=True, pilot=50), Known(2_900)
    whole = course_of(shares, plan, known)
    found = np.array(run(whole, shares))
    assert len(found) > 200

    cut_off = run_course(course_of(shares, plan, known), found[:cut], found[:cut])

    assert cut_off.trials == len(cut_off.steps) == cut
    told = Told(whole.steps.first(cut), found[:cut], known)
    for guaranteed in (True, False):
        estimate = cut_off.estimate(guaranteed=guaranteed)
        # A single trial with weight shows no variance.
        sure = guaranteed or cut in (1, 51)
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx(
            interval(told, told, 0.95, guaranteed=sure)
        )
        assert estimate.kind == ("guaranteed" if sure else "approximate")
    again = run_course(course_of(shares, plan, known), found, found)
    assert again.steps.stratum.tolist() == whole.steps.stratum.tolist()


def test_unknown_outcomes_widen_an_interval_on_both_sides() -> None:
    shares = [coins(0.2, 900)]
    plan, known = Adaptive(0.001, guaranteed=True, pilot=50, most=300), Known(900)
    sure, unsure = (course_of(shares, plan, known) for _ in range(2))
    for course, every_tenth in ((sure, False), (unsure, True)):
        while (batch := course.batch()) is not None:
            own = np.array([shares[0][d.position] for d in batch.draws])
            hidden = np.array([d.position % 10 == 0 for d in batch.draws]) & every_tenth
            course.learn(np.where(hidden, 0, own), np.where(hidden, 1, own))

    narrow, wide = (c.estimate(guaranteed=True) for c in (sure, unsure))

    assert wide.low < narrow.low < narrow.high < wide.high
    # In ten of a hundred trials nobody knows.
    assert wide.high - wide.low > 0.1


def test_proofs_alone_are_an_estimate() -> None:
    plan = Adaptive(0.1)
    half = Course(plan, [Stratum("open", 50)], Known(100, 50, 20.0), 0)
    whole = Course(plan, [], Known(100, 100, 20.0), 0)

    assert whole.batch() is None and whole.expected == 0
    found = whole.estimate(guaranteed=True)
    assert (found.value, found.low, found.high, found.n) == (0.2, 0.2, 0.2, 0)
    assert found.kind == "census"
    found = half.estimate(guaranteed=False)
    assert (found.low, found.high, found.kind) == (0.2, 0.7, "guaranteed")


def test_what_is_proved_is_in_order() -> None:
    with pytest.raises(ValueError, match="in order from 0 on, got 3, 2 and 9"):
        Known(9, 2, 3.0)


def test_a_search_is_told_what_lies_between() -> None:
    """Of an unknown outcome the plan reckons with one half."""
    course = Course(Adaptive(0.1, pilot=4), [Stratum("all", 90)], Known(90), 0)
    told: list[Any] = []
    search: Any = course._search
    search.learn = told.append

    assert course.batch() is not None
    course.learn(np.array([0.0, 0.0, 1.0, 0.0]), np.array([0.0, 1.0, 1.0, 1.0]))

    assert told[0].tolist() == [0.0, 0.5, 1.0, 0.5]
