"""Adaptive searches: what they draw and say of it, restated from scratch."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from scipy.stats import chisquare

from stoic.estimates.course import Course
from stoic.estimates.preset import course_of
from stoic.plans import (
    Adaptive,
    Batch,
    Known,
    Preset,
    Search,
    Stratum,
    nested,
    read_plan,
)
from stoic.plans import search as module
from stoic.plans.allocation import STAKE, Allocation, Goal, allocate

# Leaves by the keys of two levels above them, with sizes and how often they fail.
KEYS = (("a", 0), ("a", 0), ("a", 1), ("b", 0), ("b", 0), ("c", 0))
SIZES = (40, 10, 30, 60, 25, 7)
RATES = (0.9, 0.0, 0.1, 0.0, 0.4, 1.0)


def strata(hint: float = 0.02) -> tuple[Stratum, ...]:
    leaves = [
        Stratum(f"leaf {i}", size, hint=hint * (i + 1)) for i, size in enumerate(SIZES)
    ]
    return nested(leaves, KEYS)


def shares(sizes: Sequence[int] = SIZES, parts: int = 4) -> list[list[float]]:
    """The shares of all units: of a few values, so that sums are without rounding."""
    rng = np.random.default_rng(5)
    return [
        (rng.binomial(parts, rate, size) / parts).tolist()
        for size, rate in zip(sizes, RATES, strict=True)
    ]


def search_of(
    plan: Adaptive, seed: int = 0, of: Sequence[Stratum] | None = None
) -> Search:
    of = of or strata()
    return plan.search(of, Known(sum(s.size for s in of) + 28, 28, 9.0), seed)


def plan_of(**changes: Any) -> Adaptive:
    return Adaptive(
        **{"half_width": 0.1, "guaranteed": True, "pilot": 12, "per_trial": 4} | changes
    )


def batches(
    search: Search, units: Sequence[Sequence[float]], most: int = 99
) -> Iterator[Batch]:
    """Yield batches; what comes of each is learnt before the next one."""
    while most and (batch := search.batch()) is not None:
        yield batch
        search.learn(np.array([units[d.stratum][d.position] for d in batch.draws]))
        most -= 1


def places(batch: Batch) -> list[tuple[int, int]]:
    return [(draw.stratum, draw.position) for draw in batch.draws]


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many batches of few trials, and splits as soon as there is something to split."""
    monkeypatch.setattr(module, "_SMALLEST", 8)
    monkeypatch.setattr(module, "_SPLIT_AFTER", 4)


# --- what is drawn ---------------------------------------------------------


def test_a_search_is_a_pure_function_of_its_seed_and_of_what_it_is_told() -> None:
    first, again, other = (search_of(plan_of(), seed) for seed in (3, 3, 4))
    drawn = list(batches(first, shares()))

    assert [b.draws for b in batches(again, shares())] == [b.draws for b in drawn]
    assert [b.draws for b in batches(other, shares())] != [b.draws for b in drawn]
    assert [d.trial for b in drawn for d in b.draws] == list(
        range(sum(len(b.draws) for b in drawn))
    )


def test_no_batch_knows_what_comes_of_it() -> None:
    """Another outcome changes the batches after its own, and no other."""
    told, untold = search_of(plan_of()), search_of(plan_of())
    zeros = [[0.0] * size for size in SIZES]

    first, second = told.batch(), untold.batch()
    assert first is not None and second is not None
    assert first.draws == second.draws
    told.learn(np.array([shares()[d.stratum][d.position] for d in first.draws]))
    untold.learn(np.zeros(len(second.draws)))

    assert [b.draws for b in batches(told, shares())] != [
        b.draws for b in batches(untold, zeros)
    ]


@pytest.mark.parametrize("guaranteed", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_every_unit_is_drawn_once_where_all_can_be(
    guaranteed: bool, seed: int, small_batches: None
) -> None:
    plan = plan_of(half_width=1e-6, guaranteed=guaranteed)

    drawn = [p for b in batches(search_of(plan, seed), shares()) for p in places(b)]

    assert len(drawn) == len(set(drawn)) == sum(SIZES)
    assert {p for p in drawn} == {(s, u) for s, n in enumerate(SIZES) for u in range(n)}


@bounded(max_examples=30)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 9))
def test_tiny_strata_run_out_without_a_hitch(sizes: list[int], seed: int) -> None:
    of = [Stratum(str(i), size, hint=0.3) for i, size in enumerate(sizes)]
    plan = Adaptive(1e-6, guaranteed=True, pilot=2)
    units = [[float((i + u) % 3 == 0) for u in range(n)] for i, n in enumerate(sizes)]

    drawn = list(batches(search_of(plan, seed, of), units))

    assert sum(len(b.draws) for b in drawn) == sum(sizes)
    assert len({p for b in drawn for p in places(b)}) == sum(sizes)
    assert all(np.isfinite(b.steps.scale).all() for b in drawn)


@pytest.mark.parametrize("most", [1, 11, 12, 13, 50, 171])
def test_there_are_never_more_trials_than_are_allowed(most: int) -> None:
    plan = plan_of(half_width=1e-6, most=most)

    found = list(batches(search_of(plan), shares()))

    assert sum(len(b.draws) for b in found) == most


def ranks(seeds: range, most: int) -> list[list[float]]:
    """Where each drawn unit stands among those left in its stratum, between 0 and 1.

    A second chance spreads each unit over its part of the way: if every unit is as
    likely as the others, all places are.
    """
    rng = np.random.default_rng(0)
    found: list[list[float]] = []
    for seed in seeds:
        search = search_of(plan_of(), seed)
        left = [list(range(size)) for size in SIZES]
        own: list[float] = []
        for batch in batches(search, shares(), most):
            nodes = [range(n.start, n.stop) for n in search._nodes]
            for leaf, unit in places(batch):
                node = next(node for node in nodes if leaf in node)
                units = [(i, u) for i in node for u in left[i]]
                own.append((units.index((leaf, unit)) + rng.random()) / len(units))
                left[leaf].remove(unit)
        found.append(own)
    return found


def test_every_unit_that_is_left_in_a_stratum_is_as_likely(
    small_batches: None,
) -> None:
    found = ranks(range(250), most=6)

    everything = np.concatenate([np.array(own) for own in found])
    pairs = [p for own in found for p in zip(own[::2], own[1::2], strict=False)]
    cells = (np.array(pairs) * 4).astype(int) @ [4, 1]
    # Fixed seeds: these are samples, and their fit was looked at once.
    assert len(everything) > 10_000
    assert chisquare(np.bincount((everything * 25).astype(int))).pvalue > 0.01
    assert chisquare(np.bincount(cells)).pvalue > 0.01


def test_strata_of_a_pilot_are_drawn_half_evenly_and_half_by_size() -> None:
    plan = plan_of(pilot=3)
    seen = Counter[int]()
    for seed in range(3_000):
        batch = search_of(plan, seed).batch()
        assert batch is not None
        # The first alone: later ones have fewer units to draw from.
        seen[places(batch)[0][0]] += 1

    sizes = [80, 85, 7]
    by_stratum = [sum(seen[i] for i in leaves) for leaves in ((0, 1, 2), (3, 4), (5,))]
    expected = [3_000 * (1 / 3 + size / 172) / 2 for size in sizes]
    assert chisquare(by_stratum, expected).pvalue > 0.01


PINNED = {
    (True, 0): (4243, "87be96a57e0b68f9", (0.0133891315, 0.0094294213, 0.0168008134)),
    (True, 1): (4648, "a46e57f717587872", (0.0127256315, 0.0103646099, 0.0174081589)),
    (False, 0): (1778, "eb2e427c372ade10", (0.0108664764, 0.0089100408, 0.0153551549)),
    (False, 1): (1750, "817aeb238da0d346", (0.0142207006, 0.0085545704, 0.0155919352)),
}


@pytest.mark.parametrize(("given", "said"), PINNED.items(), ids=str)
def test_a_seed_has_drawn_the_same_trials_ever_since(given: Any, said: Any) -> None:
    """Run folders are gone on with, and read, by drawing their trials again."""
    guaranteed, seed = given
    sizes, every = (4_000, 9_000, 300, 50_000, 2_500, 70), (13, 997, 2, 4_001, 7, 1)
    leaves = [
        Stratum(f"leaf {i}", size, hint=0.02 * (i + 1)) for i, size in enumerate(sizes)
    ]
    plan = Adaptive(0.004, guaranteed=guaranteed, pilot=100)
    known = Known(sum(sizes) + 28, 28, 9.0)
    course, digest = Course(plan, nested(leaves, KEYS), known, seed), hashlib.sha256()
    while (batch := course.batch()) is not None:
        digest.update(repr(places(batch)).encode())
        share = np.array([float(u % every[leaf] == 0) for leaf, u in places(batch)])
        course.learn(share, share)
    found = course.estimate(guaranteed=guaranteed)

    assert (course.trials, digest.hexdigest()[:16]) == said[:2]
    assert (found.value, found.low, found.high) == pytest.approx(said[2])


# --- what is said of it ----------------------------------------------------


class Watched:
    """A search whose allocations are kept, and all it says computed again."""

    def __init__(self, plan: Adaptive, seed: int, monkeypatch: Any) -> None:
        self.search = search_of(plan, seed)
        self.plans: list[Allocation] = []
        monkeypatch.setattr(module, "allocate", self.allocate)
        self.left = [set(range(size)) for size in SIZES]
        self.seen: dict[int, list[float]] = {i: [] for i in range(len(SIZES))}

    def allocate(self, *given: Any) -> Allocation:
        self.plans.append(allocate(*given))
        return self.plans[-1]

    def chances(self, nodes: Sequence[range], number: int) -> list[float]:
        sizes = [sum(len(self.left[i]) for i in node) for node in nodes]
        if number:
            return list(self.plans[number - 1].chances)
        return [(1 / len(nodes) + size / sum(sizes)) / 2 for size in sizes]

    def check(self, batch: Batch, number: int) -> None:
        """Restate the steps of a batch, draw by draw, with nothing but counts."""
        nodes = [range(n.start, n.stop) for n in self.search._nodes]
        odds = self.chances(nodes, number)
        means = [
            sum(seen) / len(seen) if (seen := self._seen(node)) else 0.0
            for node in nodes
        ]
        known = self.search.known
        for row, (leaf, unit) in enumerate(places(batch)):
            said = {
                name: float(getattr(batch.steps, name)[row])
                for name in ("base", "scale", "guess", "top", "bottom", "widest")
            }
            left = [sum(len(self.left[i]) for i in node) for node in nodes]
            whole = sum(o for o, n in zip(odds, left, strict=True) if n)
            scales = [
                n / known.size / (o / whole) if n else 0.0
                for o, n in zip(odds, left, strict=True)
            ]
            at = next(k for k, node in enumerate(nodes) if leaf in node)
            base = sum(n * m for n, m in zip(left, means, strict=True)) / known.size

            assert unit in self.left[leaf]
            assert said["base"] == pytest.approx(base, abs=1e-12)
            assert said["scale"] == pytest.approx(scales[at])
            assert said["guess"] == pytest.approx(means[at])
            pairs = list(zip(scales, means, strict=True))
            top = base + max(s * (1 - m) for s, m in pairs)
            bottom = base - max(s * m for s, m in pairs)
            assert said["top"] >= top - 1e-12
            assert said["bottom"] <= bottom + 1e-12
            assert said["widest"] >= max(scales) - 1e-12
            if row == 0:
                tight = (said["top"], said["bottom"], said["widest"])
                assert tight == pytest.approx((top, bottom, max(scales)))
            # What is left of a bet of the stake when it is lost.
            assert batch.steps.stake[row] * max(scales) <= STAKE + 1e-12
            self.left[leaf].remove(unit)
        assert (batch.steps.batch == number).all()
        assert batch.steps.stratum.tolist() == [leaf for leaf, _ in places(batch)]

    def _seen(self, node: range) -> list[float]:
        return [share for i in node for share in self.seen[i]]

    def learn(self, batch: Batch) -> None:
        for leaf, unit in places(batch):
            self.seen[leaf].append(shares()[leaf][unit])


@pytest.mark.parametrize("guaranteed", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_steps_say_what_was_known_before_each_trial(
    guaranteed: bool,
    seed: int,
    small_batches: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = plan_of(half_width=0.1, guaranteed=guaranteed)
    watched = Watched(plan, seed, monkeypatch)

    count = 0
    for count, batch in enumerate(batches(watched.search, shares())):
        watched.check(batch, count)
        watched.learn(batch)

    assert count > 3
    assert not any(watched.left), "strata ran out on the way"


def test_a_split_stratum_keeps_its_leaves(small_batches: None) -> None:
    search = search_of(plan_of(half_width=0.02))
    names = search.names
    levels = []
    for _ in batches(search, shares()):
        nodes = search._nodes
        levels.append(len(nodes))
        assert [i for n in nodes for i in range(n.start, n.stop)] == list(range(6))
        for node in nodes:
            leaves = [leaf.name for leaf in node.stratum.leaves()]
            assert leaves == names[node.start : node.stop]
    assert search.names == names
    assert levels[0] == 3 and levels == sorted(levels) and levels[-1] > 3


def test_nothing_is_split_where_parts_are_alike(small_batches: None) -> None:
    search = search_of(plan_of(half_width=0.02))
    alike = [[float(u % 2) for u in range(size)] for size in SIZES]

    assert all(len(search._nodes) == 3 for _ in batches(search, alike, 3))


@pytest.mark.parametrize("guaranteed", [True, False])
@pytest.mark.parametrize("most", [1 << 40, 90, 40])
def test_weights_are_fixed_before_their_batch_and_add_up_to_one(
    guaranteed: bool, most: int, small_batches: None
) -> None:
    for seed in range(10):
        plan = plan_of(half_width=0.03, guaranteed=guaranteed, most=most)
        spent = []
        for batch in batches(search_of(plan, seed), shares()):
            assert len(set(batch.steps.weight.tolist())) == 1
            spent.append(float(batch.steps.weight.sum()))
            if batch.last:
                break
        assert spent[0] == 0, "a pilot shows where to look and nothing else"
        assert all(weight > 0 for weight in spent[1:])
        assert sum(spent) == pytest.approx(1)


def test_a_search_that_was_to_be_done_goes_on_with_less_and_less_weight() -> None:
    """Where the last batch did not suffice, more trials count as much as it says."""
    search = search_of(plan_of(half_width=0.05, most=160))
    last = False
    for batch in batches(search, shares()):
        if last:
            assert batch.last
            assert 0 < batch.steps.weight.sum() <= search._spent
        last = last or batch.last
    assert search._spent > 1


# --- how trials are spread -------------------------------------------------


@given(
    st.lists(st.integers(0, 10**9), min_size=1, max_size=8),
    st.lists(st.floats(1e-6, 0.5), min_size=8, max_size=8),
    st.integers(0, 255),
    st.booleans(),
    st.floats(1e-6, 0.9),
)
def test_chances_reach_every_stratum_with_units(
    left: list[int], spreads: list[float], quiet: int, guaranteed: bool, half: float
) -> None:
    weights = np.array([left[0] + 1, *left[1:]]) / (sum(left) + 9)
    silent = np.array([bool(quiet >> i & 1) for i in range(len(weights))])

    found = allocate(
        weights, np.array(spreads[: len(weights)]), silent, Goal(half, guaranteed)
    )

    some = weights > 0
    assert math.isclose(found.chances.sum(), 1)
    assert (found.chances[~some] == 0).all()
    floor = 0.02 * weights[some] / weights.sum()
    assert (found.chances[some] >= floor * (1 - 1e-9)).all()
    worst = (weights[some] / found.chances[some]).max()
    assert 0 < found.stake <= STAKE / worst * (1 + 1e-9)
    assert 1 <= found.trials < math.inf


def test_strata_with_failures_share_as_neyman_says() -> None:
    weights, spreads = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.4, 0.2])

    chances = allocate(
        weights, spreads, np.zeros(3, bool), Goal(0.01, guaranteed=False)
    ).chances

    neyman = weights * spreads / (weights @ spreads)
    assert chances == pytest.approx(0.98 * neyman + 0.02 * weights)


def test_strata_without_failures_are_one_pool() -> None:
    weights = np.array([0.1, 0.4, 0.5])
    quiet = np.array([False, True, True])

    found = allocate(weights, np.full(3, 0.3), quiet, Goal(0.05, guaranteed=True))

    assert found.chances[2] / found.chances[1] == pytest.approx(5 / 4)


def test_leaves_of_one_key_must_stand_together() -> None:
    leaves = [Stratum(str(i), 1) for i in range(3)]

    with pytest.raises(ValueError, match="must stand together, got a apart"):
        nested(leaves, [("a",), ("b",), ("a",)])


def test_nested_strata_hold_their_leaves_in_order() -> None:
    top = strata()

    assert [s.size for s in top] == [80, 85, 7]
    assert [leaf.name for s in top for leaf in s.leaves()] == [
        f"leaf {i}" for i in range(6)
    ]
    # A part that is all of its stratum takes its place.
    assert [len(s.parts) for s in top] == [2, 2, 0]
    assert [len(p.parts) for p in top[0].parts] == [2, 0]
    assert top[0].hint == pytest.approx((40 * 0.02 + 10 * 0.04 + 30 * 0.06) / 80)
    assert nested([], []) == ()


# --- when it is enough -----------------------------------------------------


@pytest.mark.parametrize("most", [150, 900, 4_000])
def test_what_is_said_to_be_within_reach_is_so(most: int) -> None:
    of, known = [Stratum("all", 100_000)], Known(100_000)

    with pytest.raises(ValueError, match="which reach") as caught:
        Adaptive(1e-5, guaranteed=True, most=most, pilot=100).outlook(of, known)

    reach = float(str(caught.value).split("which reach ")[1].split(";")[0])
    Adaptive(reach * 1.06, guaranteed=True, most=most, pilot=100).outlook(of, known)
    with pytest.raises(ValueError, match="which reach"):
        Adaptive(reach / 1.06, guaranteed=True, most=most, pilot=100).outlook(of, known)


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ([Stratum("a", 30), Stratum("b", 50)], "each of the 90 units .* got 80"),
        ([Stratum("a", 60), Stratum("b", 50)], "each of the 90 units .* got 110"),
        ([Stratum("a", 40), Stratum("a", 50)], "different ones, got a twice"),
    ],
)
def test_strata_that_are_no_partition_are_refused(
    of: list[Stratum], message: str
) -> None:
    for plan in (Adaptive(0.1), Preset("uniform", 9)):
        with pytest.raises(ValueError, match=message):
            course_of(plan, of, Known(100, 10, 1.0), 0)


def test_the_first_width_that_is_met_counts() -> None:
    both = Adaptive(0.01, 0.5)

    assert both.met(0.5, 0.49, 0.51) and not both.met(0.5, 0.1, 0.9)
    assert both.met(0.5, 0.3, 0.7), "± 0.2 of 0.5 is less than half of it"
    assert not both.met(0.001, 0.0, 0.03)
    assert both.goal(0.5).half_width == 0.25 and both.goal(1e-3).half_width == 0.01
    assert not Adaptive().met(0.5, 0.5, 0.5), "a time alone is never met"
    assert Adaptive(relative=0.1).goal(0.0).half_width > 0


def test_an_adaptive_plan_is_read_back_from_its_record() -> None:
    plan = plan_of(relative=0.25, most=77)

    assert read_plan(plan.as_record()) == plan


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"half_width": 0.0}, "half width must be between 0 and 1, got 0.0"),
        ({"half_width": 1.0}, "half width must be between 0 and 1, got 1.0"),
        ({"half_width": -0.1}, "half width must be between 0 and 1, got -0.1"),
        ({"half_width": math.nan}, "half width must be between 0 and 1, got nan"),
        ({"relative": 0.0}, "relative must be between 0 and 1, got 0.0"),
        ({"relative": math.nan}, "relative must be between 0 and 1, got nan"),
        ({"most": 0}, "most must be at least 1, got 0"),
        ({"pilot": 0}, "pilot must be at least 1, got 0"),
        ({"per_trial": 0}, "per_trial must be at least 1, got 0"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Adaptive(**given)


def fewest(units: int, size: int, half_width: float, pilot: int) -> int:
    """How many trials without a failure reach a width, if every bet stakes the most.

    Trial by trial: 0.95 of the capital is staked against a mean of twice the width, in
    the share of it that the trial can lose; or less than that is left.
    """
    capital, trials = 1.0, 0
    while (units - trials) / size > 2 * half_width and capital < 40 * (1 - 1e-12):
        trials += 1
        left = (units - trials) / size
        if trials > pilot and left > 2 * half_width:
            capital *= 1 + 0.95 * 2 * half_width / (left - 2 * half_width)
    return trials


@pytest.mark.parametrize("half_width", [0.2, 0.05, 0.01, 0.003])
@pytest.mark.parametrize(("units", "proved"), [(300, 0), (2_000, 7_000), (20_000, 0)])
def test_no_campaign_needs_less_than_is_said_before_it_starts(
    half_width: float, units: int, proved: int
) -> None:
    plan = Adaptive(half_width, guaranteed=True, pilot=100)
    known = Known(units + proved, proved, proved / 10)
    of = [Stratum("most", units - 50, hint=1e-3), Stratum("few", 50, hint=0.2)]

    said = plan.outlook(of, known)
    least = int(said.split(" at least ")[1].split(" trials")[0].replace(",", ""))
    course = Course(plan, of, known, 0)
    while (batch := course.batch()) is not None:
        course.learn(np.zeros(len(batch.draws)), np.zeros(len(batch.draws)))

    assert f"{100 * proved / (units + proved):.3g} % of the units are proved" in said
    # Bets are not better before a trial than after it, so this is no less.
    assert least <= fewest(units, known.size, half_width, 100) <= course.trials
    estimate = course.estimate(guaranteed=True)
    assert (estimate.high - estimate.low) / 2 <= half_width


def test_a_target_that_cannot_be_met_is_refused_before_anything_runs() -> None:
    of, known = [Stratum("all", 10_000)], Known(10_000)

    with pytest.raises(ValueError, match="trials must be at least 1960 ") as caught:
        Adaptive(0.001, guaranteed=True, most=900).outlook(of, known)
    assert "half width of 0.001" in str(caught.value) and "900" in str(caught.value)
    assert "\n" not in str(caught.value)
    # So few units can all be tried.
    few = [Stratum("all", 500)]
    Adaptive(0.001, guaranteed=True, most=500).outlook(few, Known(500))
    with pytest.raises(
        ValueError, match="at least 4.. .* got 400 at most, which reach"
    ):
        Adaptive(0.001, guaranteed=True, most=400).outlook(few, Known(500))
    # Nobody knows what an approximate interval needs.
    assert "approximately" in Adaptive(0.001, most=9).outlook(of, known)
    assert "one trial of 4 inputs at a time" in Adaptive(0.1, per_trial=4).outlook(
        of, known
    )
