"""Populations: every fault on every block of inputs, once, in the right cell."""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brute import FORMATS, Network, put, word_at
from networks import lstm, quantised, subject_of, tied, twice, vit
from stoic.campaign.facts import Judge
from stoic.campaign.leads import lead_of
from stoic.campaign.looking import cell_columns, cells_fingerprint, looked_at
from stoic.campaign.trials import Bay
from stoic.criteria import Top1Changed
from stoic.faults.models import (
    BitFlip,
    Burst,
    FaultModel,
    MultiFlip,
    RandomWord,
    SetValue,
    StuckAt,
)
from stoic.faults.space import Fault, FaultSpace, Scope, fault_space
from stoic.network.prepare import prepare
from stoic.network.sites import Kind, Site
from stoic.network.subject import Inputs, Subject
from stoic.population.bins import bin_name
from stoic.population.cells import ANY, Population, Unit, population_of
from stoic.population.distances import mean_distances
from stoic.population.fields import OPEN, Field
from stoic.population.making import Look, fields_of
from test_criteria import top1_changed


class Bytes(nn.Module):
    """Whole numbers of two kinds as parameters: they have no gradient."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        small = torch.randint(-128, 128, (3, 2), dtype=torch.int8)
        large = torch.randint(0, 256, (3,), dtype=torch.uint8)
        self.weight = nn.Parameter(small, requires_grad=False)
        self.shift = nn.Parameter(large, requires_grad=False)
        self.head = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.weight.to(x.dtype).T / 64 + self.shift.to(x.dtype) / 128
        out: Tensor = self.head(y)
        return out


class Deciding(nn.Module):
    """Looks at its values: nothing that can be captured."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.head = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x) if float(x.sum()) < 1e9 else x[:, :1].repeat(1, 3)
        return out


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3)).eval()


def normed() -> nn.Module:
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 3)
    )
    network[1].get_buffer("running_mean").normal_()
    network[1].get_buffer("running_var").uniform_(0.5, 2)
    return network.eval()


class Again(nn.Module):
    """Reads one layer twice, and its weight once more."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.layer = nn.Linear(2, 2)
        self.head = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.layer(torch.relu(self.layer(x)))) @ self.layer.weight
        out: Tensor = self.head(y)
        return out


BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "small": small,
    "normed": normed,
    "again": lambda: Again().eval(),
    "bytes": lambda: Bytes().eval(),
    "deciding": lambda: Deciding().eval(),
}


def points(count: int = 4) -> Tensor:
    # Large ones, so that some faults overflow.
    return 8 * torch.randn(count, 2, generator=torch.Generator().manual_seed(2))


@cache
def network_of(name: str) -> nn.Module:
    return BUILDERS[name]()


@cache
def ready(name: str, captured: bool = True) -> Subject:
    return prepare(network_of(name), Inputs((points(),), {}), captured=captured)


@dataclass(frozen=True)
class Space:
    """A fault space of a network, and the blocks of inputs that trials run on.

    Args:
        proofs: Whether what is proved is asked for.
    """

    name: str = "small"
    kinds: tuple[Kind, ...] = ("parameter",)
    per_trial: int = 1
    model: FaultModel = BitFlip()
    bits: str = "all"
    scope: Scope = "input"
    captured: bool = True
    proofs: bool = False

    @property
    def subject(self) -> Subject:
        return ready(self.name, self.captured)

    @property
    def bay(self) -> Bay:
        inputs = Inputs((points(),), {})
        return Bay(
            self.subject, inputs, None, self.per_trial, Judge(Top1Changed(), None)
        )

    @property
    def faults(self) -> FaultSpace:
        sites = [site for site in self.subject.sites if site.kind in self.kinds]
        return fault_space(
            sites, bits=self.bits, model=self.model, inputs=4, scope=self.scope
        )

    def population(self) -> Population:
        if self.proofs:
            return looked_at(self.bay, self.faults)
        lead, inputs = lead_of(Top1Changed()), Inputs((points(),), {})
        look = Look(self.subject, inputs, lead, self.per_trial, {})
        try:
            blocks = self.faults.by_bit().blocks
        except ValueError:
            blocks = self.faults.blocks
        return population_of(blocks, fields_of(look, self.faults), look.rows)


Place = tuple[str, int, int, int, int]
"""Site, element, corruption as keep and flip, and the block or input that is hit."""


def place(unit: Unit) -> Place:
    fault = unit.fault
    corruption = fault.corruption
    at = unit.row if fault.input is None else fault.input
    return fault.site.name, fault.element, corruption.keep, corruption.flip, at


def every(space: Space) -> set[Place]:
    """Every pair of a fault and a block of inputs that it can hit, by definition."""
    found = set()
    for fault in space.faults:
        alone = fault.input is not None
        blocks = [fault.input or 0] if alone else range(4 // space.per_trial)
        for row in blocks:
            found.add(place(Unit(fault, row)))
    return found


@cache
def made(space: Space) -> tuple[Population, dict[Place, tuple[int, int]]]:
    """A population, and every unit that can be drawn from it: cell and position."""
    population = space.population()
    return population, drawn(population)


def drawn(population: Population) -> dict[Place, tuple[int, int]]:
    wanted = [
        (index, position)
        for index, cell in enumerate(population.open)
        for position in range(cell.units)
    ]
    # In an order that says nothing.
    wanted = [wanted[i] for i in np.random.default_rng(0).permutation(len(wanted))]
    units = population.units(wanted)
    found = {place(unit): where for unit, where in zip(units, wanted, strict=True)}
    assert len(found) == len(wanted), "a unit is in two places"
    return found


SOME = "22-31"
SPACES = [
    Space(),
    *(Space(bits=SOME, per_trial=n) for n in (2, 4)),
    *(Space("normed", ("parameter", "buffer"), n, bits=SOME) for n in (1, 2, 4)),
    *(Space(kinds=("activation", "input"), per_trial=n, bits=SOME) for n in (1, 2, 4)),
    Space(kinds=("activation", "input"), per_trial=2, bits=SOME, scope="batch"),
    Space("again", bits=SOME),
    Space("bytes", per_trial=2),
    Space("bytes", per_trial=4, model=StuckAt(1)),
    Space("deciding", per_trial=2, bits=SOME),
    Space(captured=False, bits=SOME),
    Space(captured=False, kinds=("activation",), per_trial=2, bits=SOME),
    *(Space(model=StuckAt(level)) for level in (0, 1)),
    Space(model=StuckAt(1), kinds=("activation",), per_trial=2, bits=SOME),
    Space(model=SetValue(0.0), per_trial=2),
    Space(model=Burst(30), per_trial=2),
    Space(model=MultiFlip(2), bits="28-31"),
    Space(bits="30"),
    Space(proofs=True),
    Space("normed", ("parameter", "buffer"), per_trial=2, bits=SOME, proofs=True),
    Space(model=StuckAt(0), bits=SOME, proofs=True),
]


def named(value: Any) -> str:
    changed = {
        name: own
        for name, own in vars(value).items()
        if own != getattr(Space(), name) or name == "per_trial"
    }
    return " ".join(f"{own}" for own in changed.values()) or "plain"


@pytest.mark.parametrize("space", SPACES, ids=named)
def test_cells_hold_every_fault_on_every_block_of_inputs_once(space: Space) -> None:
    population, found = made(space)
    everything = every(space)

    assert population.known.size == len(everything)
    assert sum(cell.units + cell.known for cell in population.cells) == len(everything)
    assert found.keys() <= everything
    assert len(everything) - len(found) == population.known.known
    for unit, (index, _) in found.items():
        cell = population.open[index]
        assert cell.block.site.name == unit[0]
        if cell.bit >= 0:
            assert 1 << cell.bit in (unit[3], unit[2] ^ ones(cell.block.site))
    sizes = [leaf.size for s in population.strata() for leaf in s.leaves()]
    assert sizes == [cell.units for cell in population.open]


def ones(site: Site) -> int:
    return (1 << 8 * site.dtype.itemsize) - 1


def words_of(space: Space) -> Callable[[Unit], tuple[int, int]]:
    """The word that a unit hits, before and after, as the engine will find it."""
    benches = [space.bay.bench(start) for start in space.bay.starts]

    def words(unit: Unit) -> tuple[int, int]:
        fault, row = unit.fault, unit.row
        if fault.input is not None:
            row, at = divmod(fault.input, space.per_trial)
            fault = Fault(fault.site, fault.element, at, fault.corruption)
        return benches[row].words(fault)

    return words


@pytest.mark.parametrize("space", SPACES, ids=named)
def test_what_is_known_without_a_trial_is_what_a_trial_would_say(space: Space) -> None:
    """Words that a fault leaves as they are, and what is proved."""
    (population, found), everything = made(space), every(space)
    words = words_of(space)
    sites = {site.name: site for site in space.subject.sites}
    known: Counter[tuple[str, int]] = Counter()
    failing: Counter[tuple[str, int]] = Counter()

    for unit in everything:
        name, element, keep, flip, at = unit
        number, fault = corruptions(space, sites[name])[keep, flip]
        apart = sites[name].per_input and space.scope == "input"
        old, new = words(
            Unit(Fault(sites[name], element, at if apart else None, fault), at)
        )
        if unit in found:
            is_told = name in population.fields and number >= 0
            assert old != new or not is_told, "a word that stays needs no trial"
            continue
        known[name, number] += 1
        if old != new:
            assert space.proofs
            failing[name, number] += fails(space, unit, old, new)

    for name, number in known:
        cells = [
            c
            for c in population.cells
            if c.block.site.name == name and c.bit == number and c.known
        ]
        assert sum(c.known for c in cells) == known[name, number]
        assert sum(c.failed for c in cells) == failing[name, number]
    assert population.known.failed == sum(failing.values())
    if space.proofs:
        # It would be no test if nothing were proved.
        assert sum(known.values()) > len(everything) / 4


def corruptions(space: Space, site: Site) -> dict[tuple[int, int], tuple[int, Any]]:
    """The corruptions of a site's words by their masks, with the bit of their cell."""
    blocks = [b for b in space.faults.blocks if b.site.name == site.name]
    alone = isinstance(space.model, BitFlip | StuckAt)
    found = {}
    for block in blocks:
        for number in range(block.variants):
            own = block.model.corruption(number, block.format, block.bits)
            one = alone or len(block.bits) == 1
            found[own.keep, own.flip] = (own.bit if one else -1, own)
    return found


def fails(space: Space, unit: Place, old: int, new: int) -> bool:
    """Whether a unit fails, by a changed copy of the network on its inputs."""
    name, element, _, _, at = unit
    start, end = at * space.per_trial, (at + 1) * space.per_trial
    failed = verdicts(space.name, space.per_trial, name, element, old, new)[start:end]
    assert len(set(failed)) == 1, "a proof is about all inputs of a block"
    return failed[0]


@cache
def verdicts(network: str, per_trial: int, *fault: Any) -> list[bool]:
    """The verdicts on all inputs, run block by block."""
    names = ("site", "element", "old", "new")
    of = Network(network_of(network), (points(),), per_trial)
    faulty = of.run([{**dict(zip(names, fault, strict=True)), "input": -1}])
    return [
        top1_changed(before.tolist(), after.tolist(), -1)
        for before, after in zip(of.golden(), faulty, strict=True)
    ]


# --- bins ------------------------------------------------------------------


def number_of(word: int, dtype: torch.dtype) -> float:
    """The number that a word stands for, read by struct."""
    if dtype == torch.int8:
        return float(struct.unpack("<b", struct.pack("<B", word))[0])
    if dtype == torch.uint8:
        return float(word)
    assert dtype == torch.float32
    return float(struct.unpack("<f", struct.pack(f"<{FORMATS[dtype]}", word))[0])


def places_of(change: float, slope: float, typical: float) -> set[str]:
    """What the bin of a change may be called, but for its side.

    The score is rounded to float32 and may fall on either side of a power of two.
    """
    if not math.isfinite(change):
        return {"not finite"}
    score = abs(change) * slope
    if math.isnan(score) or score > 2.0**20 * 1.001:
        return {"score from 2^20"}
    # The least normal number of float32.
    if score < 2.0**-126:
        flat = abs(change) * typical
        return {f"flat {int(flat >= 2.0**-4) + int(flat >= 2.0**10)}"}
    near = {math.floor(math.log2(score * (1 + e))) for e in (-1e-6, 0, 1e-6)}
    return {
        "score from 2^20" if power >= 20 else f"score 2^{min(max(power, -12), 4)}"
        for power in near
    }


@pytest.mark.parametrize(
    "space", [s for s in SPACES if s.captured and s.name != "deciding"], ids=named
)
def test_every_unit_is_in_the_bin_of_its_score(space: Space) -> None:
    population, found = made(space)
    words, sites = words_of(space), {s.name: s for s in space.subject.sites}
    seen: set[str] = set()

    for unit, (index, _) in found.items():
        cell = population.open[index]
        name, element, keep, flip, at = unit
        own = population.fields.get(name)
        if own is None or cell.block.variants > 1:
            assert cell.code == ANY and cell.bin.split(",")[0] == "any"
            assert cell.bit == -1 or cell.block.variants == 1
            continue
        apart = sites[name].per_input
        fault = Fault(
            sites[name],
            element,
            at if apart else None,
            corruptions(space, sites[name])[keep, flip][1],
        )
        old, new = words(Unit(fault, at))
        before, after = (number_of(word, sites[name].dtype) for word in (old, new))
        row = min(at, len(own.slopes) - 1)
        some = own.slopes[np.isfinite(own.slopes) & (own.slopes > 0)]
        typical = float(np.median(some)) if some.size else 1.0
        allowed = places_of(after - before, float(own.slopes[row, element]), typical)
        # In front of a role of bits and, in some, of a side.
        full = cell.bin.split(",")[0]
        place = full.removesuffix(" up").removesuffix(" down")
        assert place in allowed, (unit, cell.bin, allowed)
        if full != place:
            assert full.endswith(" up" if after > before else " down")
        seen.add(place)
        assert 0 < cell.hint < 1
    if space == Space():
        assert len(seen) > 10


def test_bins_have_a_name_each() -> None:
    population = Space("normed", ("parameter", "buffer")).population()
    codes = {cell.code: cell.bin.split(",")[0] for cell in population.cells}

    assert len(set(codes.values())) == len(codes)
    assert all(bin_name(code) == name for code, name in codes.items())
    assert "not finite up" in codes.values(), "words that turn infinite, or no number"
    assert len({cell.name for cell in population.cells}) == len(population.cells)


# --- words -----------------------------------------------------------------


@pytest.mark.parametrize("build", [vit, lstm], ids=lambda b: b.__name__)
@torch.inference_mode()
def test_the_words_of_values_are_those_that_a_fault_will_find(build: Any) -> None:
    """Wherever the inputs lie in a value: a stuck bit must be told from a change."""
    specimen, subject = build(), subject_of(build)
    count = specimen.inputs.count
    sites = [s for s in subject.sites if s.per_input and s.dtype.is_floating_point]
    space = fault_space(sites, inputs=count)
    look = Look(subject, specimen.inputs, lead_of(Top1Changed()), count, {})
    fields = fields_of(look, space)
    bench = subject.bench(specimen.inputs)
    rng = np.random.default_rng(0)

    assert fields, "slopes are to be had"
    odd = [s for s in sites if s.rows]
    chosen = [*odd[:4], *(sites[i] for i in rng.choice(len(sites), 6))]
    for site in chosen:
        words = fields[site.name].words
        assert words.shape == (count, site.elements)
        block = next(b for b in space.blocks if b.site is site)
        for position in rng.choice(block.size, 12):
            fault = block.fault(int(position))
            assert words[fault.input, fault.element] == bench.words(fault)[0], fault


@pytest.mark.parametrize("build", [quantised, tied, twice], ids=lambda b: b.__name__)
def test_the_words_of_stored_tensors_are_the_networks_own(build: Any) -> None:
    specimen, subject = build(), subject_of(build)
    kinds = ("parameter", "buffer")
    sites = [site for site in subject.sites if site.kind in kinds]
    space = fault_space(sites, inputs=specimen.inputs.count)
    look = Look(subject, specimen.inputs, lead_of(Top1Changed()), 1, {})

    fields = fields_of(look, space)

    network = specimen.network
    own = dict(network.named_parameters()) | dict(network.named_buffers())
    assert fields.keys() == {site.name for site in sites}
    for name, field in fields.items():
        words = (
            [word_at(own[name], i) for i in range(own[name].numel())]
            if (own[name].dtype in FORMATS)
            else [int(word) % 256 for word in own[name].reshape(-1)]
        )
        assert field.words.tolist() == [words]


# --- what cannot be --------------------------------------------------------


def test_faults_in_one_input_and_in_all_are_no_population_together() -> None:
    """A fault in a weight would be as many units as there are inputs."""
    with pytest.raises(ValueError, match=r"in every input or all in one.*apart"):
        Space(kinds=("parameter", "activation")).population()
    # Run on all inputs, a fault is a unit wherever it hits.
    mixed = Space(kinds=("parameter", "activation"), per_trial=4)
    assert mixed.population().known.size == mixed.faults.size


def test_units_must_be_countable() -> None:
    site = Site("x", "parameter", "", torch.float64, (2,), None, 0, "x")
    blocks = fault_space([site], model=RandomWord(), inputs=4).blocks

    with pytest.raises(ValueError, match=r"must be fewer than 2\^63, got 1475739525"):
        population_of(blocks, {}, 4)


def test_inputs_must_be_whole_blocks() -> None:
    with pytest.raises(ValueError, match="must divide the 4 inputs.*got 3"):
        looked_at(Space(per_trial=3).bay, Space().faults)


# --- the table of cells ----------------------------------------------------


def test_the_table_of_cells_says_what_they_are() -> None:
    population = Space(model=StuckAt(1), proofs=True).population()
    columns = cell_columns(population)

    assert columns["cell"].tolist() == list(range(len(population.cells)))
    for name in ("bin", "bit", "units", "known", "failed", "hint"):
        assert columns[name].tolist() == [getattr(c, name) for c in population.cells]
    keys = list(zip(columns["bin"], columns["bit"], columns["site"], strict=True))
    assert len(set(keys)) == len(keys)


def test_the_fingerprint_of_cells_is_that_of_their_table() -> None:
    first, again = Space().population(), Space().population()
    others = [
        Space(model=StuckAt(1)),
        Space(bits="0-30"),
        Space(per_trial=2),
        Space("normed"),
    ]

    prints = [cells_fingerprint(space.population()) for space in others]
    assert cells_fingerprint(first) == cells_fingerprint(again) not in prints
    assert len(set(prints)) == len(prints)


def test_a_field_tells_rows_apart_only_where_they_differ() -> None:
    site = Site("x", "parameter", "", torch.float32, (2,), None, 0, "x")
    words = np.array([[1, 2]], np.uint32)
    flat, steep = np.ones((1, 2), np.float32), np.ones((3, 2), np.float32)

    class Nothing:
        def holding(self, old: Any, new: Any) -> Any:
            return np.zeros(2, bool)

        def __call__(self, old: Any, new: Any, columns: Any, rows: Any) -> Any:
            return np.full((3, 2), OPEN, np.int8)

    nothing = Nothing()

    assert not Field(site, words, flat, 3).apart
    assert Field(site, words, steep, 3).apart
    assert Field(site, words, flat, 3, nothing).apart
    assert not Field(site, words, flat, 1, nothing).apart


def test_units_to_verify_are_proved_ones() -> None:
    space = Space(proofs=True)
    population, found = made(space)
    words = words_of(space)

    units = population.proved(200, 0)

    assert len(units) == 200 and {fails for _, fails in units} == {True, False}
    assert len({place(unit) for unit, _ in units}) > 100
    for unit, said in units[:40]:
        assert place(unit) not in found
        assert fails(space, place(unit), *words(unit)) == said


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.uint8], ids=str)
def test_distances_are_means_over_words_changed_one_by_one(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    tensors = [
        torch.randn(7).abs().mul(40).to(dtype),
        torch.tensor([0, 1, 3]).to(dtype),
    ]
    sites = [
        Site(str(i), "parameter", "", dtype, tuple(t.shape), None, i, str(i))
        for i, t in enumerate(tensors)
    ]
    blocks = fault_space(sites, model=BitFlip(), inputs=1).by_bit().blocks

    found = mean_distances(blocks, lambda site: tensors[int(site.name)])

    everything = torch.cat(tensors)
    for (_, bit), mean in found.items():
        moved = []
        for element, old in enumerate(everything.tolist()):
            changed = everything.clone()
            put(changed, element, word_at(changed, element) ^ 1 << bit)
            moved.append(abs(changed.tolist()[element] - old))
        if all(map(math.isfinite, moved)):
            assert mean == pytest.approx(sum(moved) / len(moved))
        else:
            assert mean > 1e200
    assert len(found) == dtype.itemsize * 8
