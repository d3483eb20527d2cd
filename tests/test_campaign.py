"""Campaigns against full runs of changed copies: every recorded fact of every trial."""

import math
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from brute import (
    Network,
    Recorded,
    assert_true,
    capture_once,
    recorded,
    word_at,
)
from stoic.campaign.campaign import Several
from stoic.campaign.running import EngineError
from stoic.criteria import Custom, Tolerance
from stoic.faults.models import (
    BitFlip,
    Burst,
    FaultModel,
    MultiFlip,
    RandomWord,
    SetValue,
    StuckAt,
)
from stoic.network.captured import CapturedBench
from stoic.network.subject import Answer, Group
from stoic.study import Measured, pvf
from test_criteria import (
    crossed,
    lost,
    other_words,
    top1_changed,
    top1_wrong,
)

INPUTS = 5


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    capture_once(monkeypatch)


@cache
def thirty() -> nn.Module:
    """Thirty parameters: 960 bits, each of which can be tried."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(2, 3),
        nn.ReLU(),
        nn.Linear(3, 3),
        nn.ReLU(),
        nn.Linear(3, 3, bias=False),
    ).eval()


@cache
def normed() -> nn.Module:
    """With buffers that the output depends on."""
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)
    )
    network[1].get_buffer("running_mean").normal_()
    network[1].get_buffer("running_var").uniform_(0.5, 2)
    return network.eval()


def points(count: int = INPUTS) -> Tensor:
    # Large ones, so that some faults overflow.
    return 8 * torch.randn(count, 2, generator=torch.Generator().manual_seed(2))


@torch.inference_mode()
def half_right(network: nn.Module, inputs: Tensor) -> Tensor:
    """Labels, of which every second one is what the network says."""
    right: Tensor = network(inputs).argmax(1)
    return (right + torch.arange(len(inputs)) % 2) % 3


# --- Every fault of a network, in every fact ------------------------------------------


@pytest.fixture(scope="module")
def census(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    out = tmp_path_factory.mktemp("runs") / "census"
    return pvf(thirty(), points(), faults=None, batch=2, out=out)


def test_an_exhaustive_run_has_every_fault_once(census: Measured) -> None:
    faults = [trial.faults for trial in recorded(census.path)]

    assert all(len(own) == 1 for own in faults)
    tried = {(f["site"], f["element"], f["bit"]) for (f,) in faults}
    assert len(faults) == len(tried) == 960
    assert tried == {
        (name, element, bit)
        for name, tensor in thirty().named_parameters()
        for element in range(tensor.numel())
        for bit in range(32)
    }
    assert all(f["old"] ^ f["new"] == 1 << f["bit"] for (f,) in faults)


def test_every_fact_is_that_of_a_changed_copy(census: Measured) -> None:
    of = Network(thirty(), (points(),), batch=2)

    failures = assert_true(census.path, of, top1_changed, top_k=3)

    assert failures > 20
    assert census.pvf.value == pytest.approx(failures / (960 * INPUTS), abs=1e-12)
    assert census.pvf.low == census.pvf.high == census.pvf.value


def test_facts_of_all_kinds_were_seen(census: Measured) -> None:
    rows = [row for trial in recorded(census.path) for row in trial.rows.values()]

    assert len(rows) < 960 * INPUTS, "some were masked"
    assert any(row["nonfinite"] for row in rows)
    assert any(not row["failed"] for row in rows)
    assert any(row["score0"] is None for row in rows), "NULL, for not a number"
    assert any(row["score0"] == math.inf for row in rows)


def test_the_golden_run_is_the_networks_own(census: Measured) -> None:
    golden = Network(thirty(), (points(),), batch=2).golden()
    with census.run.connection() as connection:
        rows = connection.execute(
            "SELECT input, label, cluster, top0, score0 FROM golden ORDER BY input"
        ).fetchall()

    assert rows == [
        (i, -1, i, int(golden[i].argmax()), float(golden[i].max()))
        for i in range(INPUTS)
    ]


@pytest.mark.parametrize("batch", [2, 5])
def test_fast_mode_has_the_same_verdicts(batch: int, tmp_path: Path) -> None:
    measured = pvf(
        thirty(), points(), faults=None, mode="fast", batch=batch, out=tmp_path / "run"
    )

    of = Network(thirty(), (points(),), batch)
    assert assert_true(measured.path, of, top1_changed, exact=False) > 20


# --- Fault models ---------------------------------------------------------------------


def ones(word: int) -> int:
    return bin(word).count("1")


def flipped(old: int, new: int, bit: int) -> bool:
    return old ^ new == 1 << bit


def two_flipped(old: int, new: int, bit: int) -> bool:
    changed = old ^ new
    return ones(changed) == 2 and changed & -changed == 1 << bit


def three_in_a_row(old: int, new: int, bit: int) -> bool:
    return old ^ new == 0b111 << bit


def stuck_at_0(old: int, new: int, bit: int) -> bool:
    return new == old & ~(1 << bit)


def stuck_at_1(old: int, new: int, bit: int) -> bool:
    return new == old | 1 << bit


def is_minus_two(old: int, new: int, bit: int) -> bool:
    return bit == -1 and new == struct.unpack("<I", struct.pack("<f", -2.0))[0]


def is_a_word(old: int, new: int, bit: int) -> bool:
    return bit == -1 and 0 <= new < 1 << 32


def named(value: Any) -> str:
    # Without addresses: the processes that share the tests must agree on names.
    return str(getattr(value, "__name__", value))


MODELS = [
    (BitFlip(), flipped, 3 * 32),
    (MultiFlip(2), two_flipped, 3 * math.comb(32, 2)),
    (Burst(3), three_in_a_row, 3 * 30),
    (StuckAt(0), stuck_at_0, 3 * 32),
    (StuckAt(1), stuck_at_1, 3 * 32),
    (SetValue(-2.0), is_minus_two, 3),
    (RandomWord(), is_a_word, 3 << 32),
]


@pytest.mark.parametrize(("model", "by_definition", "size"), MODELS, ids=named)
def test_a_fault_model_does_what_it_says(
    model: FaultModel,
    by_definition: Callable[[int, int, int], bool],
    size: int,
    tmp_path: Path,
) -> None:
    measured = pvf(
        thirty(),
        points(),
        sites="0.bias",
        model=model,
        faults=None if size < 100 else 60,
        captured=False,
        out=tmp_path / "run",
    )

    trials = recorded(measured.path)
    assert measured.run.manifest.space.size == size
    assert len(trials) == (size if size < 100 else 60)
    for trial in trials:
        (fault,) = trial.faults
        assert by_definition(fault["old"], fault["new"], fault["bit"]), fault
    assert_true(measured.path, Network(thirty(), (points(),), 5), top1_changed, top_k=3)


@pytest.mark.parametrize("level", [0, 1])
def test_a_stuck_bit_says_how_often_it_changes_the_word(
    level: int, tmp_path: Path
) -> None:
    measured = pvf(
        thirty(),
        points(),
        sites="0.bias",
        model=StuckAt(level),
        faults=None,
        captured=False,
        out=tmp_path / "run",
    )

    bias = thirty().get_parameter("0.bias")
    held = [word_at(bias, i) >> bit & 1 for i in range(3) for bit in range(32)]
    (row,) = measured.changed()
    assert row.estimate.value == pytest.approx(sum(h != level for h in held) / 96)
    assert row.estimate.kind == "census"
    assert measured.as_record()["changed"][0]["value"] == row.estimate.value


@pytest.mark.parametrize("kinds", [("parameter",), ("activation",)])
@pytest.mark.parametrize("several", [Several(count=3), Several(rate=0.01)], ids=str)
def test_several_faults_strike_together(
    several: Several, kinds: tuple[Any, ...], tmp_path: Path
) -> None:
    measured = pvf(
        normed(),
        points(),
        several=several,
        kinds=kinds,
        faults=40,
        batch=2,
        out=tmp_path / "run",
    )

    trials = recorded(measured.path)
    counts = {len(trial.faults) for trial in trials}
    if several.count:
        assert counts == {3}
    else:
        size = measured.run.manifest.space.size
        mean = sum(len(trial.faults) for trial in trials) / len(trials)
        # Five standard errors of the mean of 40 binomial numbers.
        assert abs(mean - size * 0.01) < 5 * math.sqrt(size * 0.01 / len(trials))
    of = Network(normed(), (points(),), batch=2)
    assert_true(measured.path, of, top1_changed, top_k=3)
    for trial in trials:
        drawn = [(f["site"], f["element"], f["input"], f["bit"]) for f in trial.faults]
        assert len(set(drawn)) == len(drawn), "faults of a trial are different ones"


# --- Where, on whom, judged how -------------------------------------------------------

Judged = Callable[[Sequence[float], Sequence[float], int], bool]


@pytest.mark.parametrize("captured", [True, False], ids=["captured", "slow path"])
@pytest.mark.parametrize(
    ("kinds", "scope"),
    [
        (("buffer",), "input"),
        (("activation",), "input"),
        (("activation",), "batch"),
        (("input",), "input"),
        (("input",), "batch"),
        (("parameter", "buffer", "activation", "input"), "input"),
    ],
    ids=str,
)
def test_faults_at_every_kind_of_site(
    kinds: tuple[Any, ...], scope: Any, captured: bool, tmp_path: Path
) -> None:
    measured = pvf(
        normed(),
        points(),
        kinds=kinds,
        scope=scope,
        faults=60 if "activation" in kinds else None,
        # Exponents and signs: other faults seldom do anything.
        bits="exponent,sign",
        batch=2,
        captured=captured,
        out=tmp_path / "run",
    )

    trials = recorded(measured.path)
    sites = {site.name: site for site in measured.run.manifest.space.sites}
    assert {sites[t.faults[0]["site"]].kind for t in trials} == set(kinds)
    for trial in trials:
        (fault,) = trial.faults
        one = sites[fault["site"]].kind in ("activation", "input") and scope == "input"
        assert (fault["input"] >= 0) == one
        assert trial.exposed == (1 if one else INPUTS)
    of = Network(normed(), (points(),), batch=2)
    assert_true(measured.path, of, top1_changed, top_k=3)


@pytest.mark.parametrize(
    ("criterion", "verdict"),
    [
        ("top1-wrong", top1_wrong),
        ("top-k:2", lost(2)),
        ("threshold:0.25", crossed(0.25)),
        ("any-change", other_words),
    ],
)
@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_every_criterion_judges_the_trials(
    criterion: str, verdict: Judged, mode: Any, tmp_path: Path
) -> None:
    network, inputs = thirty(), points()
    labels = half_right(network, inputs)

    measured = pvf(
        network,
        inputs,
        labels,
        criterion=criterion,
        faults=150,
        bits="exponent,sign",
        mode=mode,
        batch=2,
        out=tmp_path / "run",
    )

    of, exact = Network(network, (inputs,), 2), mode == "exact"
    given = labels.tolist()
    assert assert_true(
        measured.path, of, verdict, given, exact=exact, top_k=3 if exact else 0
    )


def test_terms_that_cancel_at_the_threshold_are_not_trusted(tmp_path: Path) -> None:
    """A score is close to nothing, and its rounding is that of large terms."""
    torch.manual_seed(8)
    network = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1)).eval()
    with torch.inference_mode():
        score = network(points())[2, 0]
    with torch.no_grad():
        network[2].get_parameter("bias").sub_(score)

    out = tmp_path / "run"
    pvf(network, points(), criterion="threshold:0", faults=None, mode="fast", out=out)

    assert assert_true(out, Network(network, (points(),), 5), crossed(0), exact=False)


def test_a_function_of_the_users_judges_after_the_tail(tmp_path: Path) -> None:
    """The tail turns scores into texts; the function compares texts."""
    words = ("left", "right", "stop")

    def tail(output: Tensor) -> list[str]:
        return [words[int(i)] for i in output.argmax(1)]

    def other_text(golden: list[str], faulty: list[str], _: object) -> list[bool]:
        return [a != b for a, b in zip(golden, faulty, strict=True)]

    measured = pvf(
        thirty(),
        points(),
        criterion=Custom(other_text, name="other text"),
        tail=tail,
        faults=100,
        bits="exponent",
        mode="fast",
        out=tmp_path / "run",
    )

    def verdict(golden: Sequence[float], faulty: Sequence[float], _: int) -> bool:
        pair = (torch.tensor([row]).argmax(1).item() for row in (golden, faulty))
        return len(set(pair)) == 2

    of = Network(thirty(), (points(),), 5)
    assert assert_true(measured.path, of, verdict, exact=False)
    assert measured.run.manifest.criterion == {
        "name": "custom",
        "function": "other text",
    }


# --- Inputs, formats, ways ------------------------------------------------------------


class Two(nn.Module):
    """Two inputs by name, and an output like that of a language network."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.left = nn.Linear(2, 3)
        self.right = nn.Linear(2, 3)

    def forward(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        left = self.left(a)
        return {"hidden": left, "logits": left * self.right(b)}


@pytest.mark.parametrize("captured", [True, False])
def test_inputs_by_name_and_a_dictionary_of_outputs(
    captured: bool, tmp_path: Path
) -> None:
    given = {"a": points(), "b": points() + 1}

    measured = pvf(
        Two().eval(), given, faults=60, batch=2, captured=captured, out=tmp_path / "run"
    )

    of = Network(Two().eval(), given, 2, scores=lambda output: output["logits"])
    for trial in recorded(measured.path):
        # A fault may change the other output alone: it is no mask then.
        faulty, golden = of.run(trial.faults), of.golden()
        for row, facts in trial.rows.items():
            assert facts["failed"] == top1_changed(
                golden[row].tolist(), faulty[row].tolist(), -1
            )
            assert facts["top0"] == int(faulty[row].argmax())


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_in_other_formats(
    dtype: torch.dtype, mode: Any, tmp_path: Path
) -> None:
    network, inputs = deepcopy(thirty()).to(dtype), points().to(dtype)

    measured = pvf(network, inputs, faults=100, mode=mode, out=tmp_path / "run")

    exact = mode == "exact"
    of = Network(network, (inputs,), INPUTS)
    assert_true(measured.path, of, top1_changed, exact=exact, top_k=3 if exact else 0)


def test_one_input_alone(tmp_path: Path) -> None:
    measured = pvf(thirty(), points(1), faults=100, out=tmp_path / "run")

    assert_true(
        measured.path, Network(thirty(), (points(1),), 1), top1_changed, top_k=3
    )
    assert measured.pvf.kind == "exact", "one input fails or not: a coin"


class Deciding(nn.Module):
    """Control flow that depends on the data; no graph has it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.first = nn.Linear(2, 4)
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        if float(y.sum()) > 100:
            y = -y
        out: Tensor = self.last(y)
        return out


def test_a_network_that_decides_takes_the_slow_path_and_says_so(tmp_path: Path) -> None:
    said: list[str] = []

    measured = pvf(
        Deciding().eval(),
        points(),
        faults=150,
        bits="exponent",
        kinds=("parameter", "activation"),
        scope="batch",
        out=tmp_path / "run",
        notice=said.append,
    )

    assert len(said) == 1 and said[0].startswith("slow path, the network cannot be")
    assert not measured.run.manifest.engine["captured"]
    of = Network(Deciding().eval(), (points(),), 5)
    assert assert_true(measured.path, of, top1_changed, top_k=3)


def test_fast_trials_are_exact_where_rounding_is_not_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("stoic.study.is_plain", lambda device: False)
    said: list[str] = []
    found = pvf(
        nn.Linear(3, 2).eval(),
        torch.randn(4, 3),
        faults=8,
        mode="fast",
        out=tmp_path,
        notice=said.append,
    )
    assert "fast mode is exact here: how this device rounds is not known" in said
    assert found.run.manifest.mode == "exact"


def test_the_slow_path_gives_the_same_trials(tmp_path: Path) -> None:
    def run(captured: bool) -> list[Recorded]:
        measured = pvf(
            normed(),
            points(),
            faults=120,
            batch=2,
            kinds=("parameter", "buffer", "activation", "input"),
            captured=captured,
            out=tmp_path / f"run-{captured}",
        )
        return recorded(measured.path)

    assert repr(run(False)) == repr(run(True))


def test_a_memory_limit_changes_no_trial(tmp_path: Path) -> None:
    def run(memory: int | None) -> list[Recorded]:
        out = tmp_path / f"run-{memory}"
        kinds: tuple[Any, ...] = ("parameter", "activation")
        pvf(normed(), points(), faults=120, kinds=kinds, memory=memory, out=out)
        return recorded(out)

    # Room for a few small values, and for all of them.
    assert repr(run(400)) == repr(run(None))


def test_a_long_network_is_run_with_little_memory(tmp_path: Path) -> None:
    """Hundreds of values are made again from the first."""

    class Long(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(7)
            self.head = nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(1200):
                x = x.sin()
            out: Tensor = self.head(x)
            return out

    out = tmp_path / "run"
    pvf(Long().eval(), points(), faults=20, memory=300, out=out)

    assert_true(out, Network(Long().eval(), (points(),), 5), top1_changed, top_k=3)


# --- Strata ---------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["site", "bit", "role", "site-bit"])
def test_strata_get_equally_many_trials(by: Any, tmp_path: Path) -> None:
    measured = pvf(
        thirty(),
        points(),
        strata=by,
        faults=96,
        sites="*bias",
        captured=False,
        out=tmp_path / "run",
    )

    with measured.run.connection() as connection:
        counts = dict(
            connection.execute(
                "SELECT stratum, count(*) FROM trials GROUP BY stratum"
            ).fetchall()
        )
    strata = measured.run.manifest.strata
    assert sum(stratum.size for stratum in strata) == 6 * 32
    assert sum(counts.values()) == 96
    whole = [n for n, stratum in enumerate(strata) if counts[n] == stratum.size]
    drawn = [count for n, count in counts.items() if n not in whole]
    assert set(counts) == set(range(len(strata)))
    assert max(drawn) - min(drawn) <= 1
    assert all(counts[number] <= max(drawn) for number in whole)
    assert_true(measured.path, Network(thirty(), (points(),), 5), top1_changed, top_k=3)


# --- What raises, what takes too long -------------------------------------------------


class Positioned(nn.Module):
    """A buffer of row numbers: most of its faults make the look-up raise."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.register_buffer("rows", torch.arange(4))
        self.table = nn.Embedding(4, 3)
        self.head = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.rows
        assert isinstance(rows, Tensor)
        out: Tensor = self.head(self.table(rows).sum(0) + x)
        return out


@pytest.mark.parametrize("captured", [True, False])
def test_a_fault_that_makes_the_network_raise_is_a_crash(
    captured: bool, tmp_path: Path
) -> None:
    network, inputs = Positioned().eval(), torch.randn(5, 3)

    measured = pvf(
        network,
        inputs,
        kinds=("buffer",),
        faults=None,
        batch=2,
        captured=captured,
        out=tmp_path / "run",
    )

    trials = recorded(measured.path)
    assert len(trials) == 4 * 64
    crashed = [trial for trial in trials if trial.status == "crash"]
    for trial in trials:
        (fault,) = trial.faults
        outside = not 0 <= fault["new"] < 4
        assert (trial.status == "crash") == outside, trial
        assert not (outside and trial.rows), "a crash has no outcomes"
    assert len(crashed) == 4 * 62
    assert all("\n" not in t.message and "out of range" in t.message for t in crashed)
    done = [trial for trial in trials if trial.status == "done"]
    assert_true(
        measured.path,
        Network(network, (inputs,), 2),
        top1_changed,
        top_k=3,
        trials=done,
    )
    shares = {row.label: row.estimate.value for row in measured.outcomes()}
    assert shares["crash"] == pytest.approx(4 * 62 / (4 * 64))
    assert measured.pvf.value >= shares["crash"]


class Clock:
    """A clock that only moves when it is told to, or a step each time it is asked."""

    def __init__(self) -> None:
        self.now, self.step = 0.0, 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


class Slow(nn.Module):
    """Takes a minute where a fault makes a parameter huge."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.clock = [clock]
        self.head = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        if float(self.head.weight.abs().max()) > 1e9:
            self.clock[0].now += 60
            SLEPT.append(60)
        out: Tensor = self.head(x)
        return out


SLEPT: list[int] = []


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_a_trial_over_its_time_is_run_again_and_then_unknown(
    mode: Any, tmp_path: Path, clock: Clock
) -> None:
    SLEPT.clear()

    measured = pvf(
        Slow(clock).eval(),
        points(),
        sites="head.weight",
        bits="30",
        faults=None,
        limit_s=59,
        mode=mode,
        out=tmp_path / "run",
    )

    trials = recorded(measured.path)
    slow = [t for t in trials if t.status == "unknown"]
    assert len(slow) == len(trials) == 6, "every one has its top exponent bit flipped"
    assert all("time limit" in trial.message for trial in slow)
    assert not any(trial.rows for trial in slow)
    assert len(SLEPT) == 2 * 6, "each is run once more"
    assert (measured.pvf.low, measured.pvf.high) == (0.0, 1.0)
    shares = {row.label: row.estimate.value for row in measured.outcomes()}
    assert shares["unknown"] == 1.0


def test_a_trial_within_its_time_is_done(tmp_path: Path, clock: Clock) -> None:
    measured = pvf(
        Slow(clock).eval(),
        points(),
        sites="head.weight",
        bits="30",
        faults=None,
        limit_s=61,
        out=tmp_path / "run",
    )

    assert {trial.status for trial in recorded(measured.path)} == {"done"}


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_a_replay_is_given_up_between_its_steps(
    mode: Any, tmp_path: Path, clock: Clock
) -> None:
    """A step takes a second: faults far from the output are over their time."""
    clock.step = 1.0

    measured = pvf(
        thirty(),
        points(),
        sites="*weight",
        bits="30",
        faults=None,
        limit_s=3.5,
        mode=mode,
        out=tmp_path / "run",
    )

    assert measured.run.manifest.engine["captured"]
    by_site: dict[str, set[str]] = {}
    for trial in recorded(measured.path):
        by_site.setdefault(trial.faults[0]["site"], set()).add(trial.status)
    assert "unknown" in by_site["0.weight"]
    assert by_site["4.weight"] == {"done"}


def test_unknown_trials_enter_both_bounds(tmp_path: Path, clock: Clock) -> None:
    """An unknown trial could fail all inputs, or none."""
    measured = pvf(
        Slow(clock).eval(),
        points(),
        sites="head.weight",
        bits="28-31",
        criterion=Tolerance(10.0),
        faults=None,
        limit_s=59,
        out=tmp_path / "run",
    )

    trials = recorded(measured.path)
    unknown = sum(trial.status == "unknown" for trial in trials)
    failed = sum(
        row["failed"] for t in trials if t.status == "done" for row in t.rows.values()
    )
    low = failed / (len(trials) * INPUTS)
    assert 0 < unknown < len(trials)
    assert failed
    assert measured.pvf.low == pytest.approx(low)
    assert measured.pvf.high == pytest.approx(low + unknown / len(trials))


def test_a_tail_that_raises_on_a_faulty_output_is_a_crash(tmp_path: Path) -> None:
    def tail(output: Tensor) -> Tensor:
        if not bool(output.isfinite().all()):
            raise KeyError("no such class")
        return output

    measured = pvf(
        thirty(),
        points(),
        sites="4.weight",
        bits="30",
        faults=None,
        tail=tail,
        out=tmp_path / "run",
    )

    of = Network(thirty(), (points(),), 5)
    for trial in recorded(measured.path):
        finite = bool(of.run(trial.faults).isfinite().all())
        assert trial.status == ("done" if finite else "crash"), trial
        assert finite or "KeyError" in trial.message


def test_a_criterion_that_raises_is_no_outcome(tmp_path: Path) -> None:
    """It is a mistake in the question, not a property of the network."""

    def picky(golden: Tensor, faulty: Tensor, _: object) -> Tensor:
        if float(faulty.abs().max()) > 1e6:
            raise KeyError("no such class")
        return golden.argmax(1) != faulty.argmax(1)

    with pytest.raises(ValueError, match="criterion picky must judge every output"):
        pvf(
            thirty(),
            points(),
            sites="4.weight",
            bits="30",
            faults=None,
            criterion=Custom(picky, name="picky"),
            out=tmp_path / "run",
        )


def test_a_group_that_does_not_fit_is_halved_until_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups, sizes = CapturedBench.groups, []

    def short(self: CapturedBench, *args: Any, **kwargs: Any) -> Iterator[Group]:
        for group in groups(self, *args, **kwargs):

            def run(deadline: float | None, group: Group = group) -> Answer:
                sizes.append(len(group.places))
                if len(group.places) > 2:
                    raise torch.OutOfMemoryError("no room")
                return group.run(deadline)

            yield Group(group.places, run)

    def run(folder: str) -> list[Recorded]:
        kinds: tuple[Any, ...] = ("activation",)
        pvf(thirty(), points(), faults=64, kinds=kinds, out=tmp_path / folder)
        return recorded(tmp_path / folder)

    right = run("all")
    monkeypatch.setattr(CapturedBench, "groups", short)

    assert repr(run("few")) == repr(right)
    assert max(sizes) > 2


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("no room"),
        torch.AcceleratorError("CUDA error: out of memory"),
    ],
)
def test_a_trial_that_does_not_fit_by_itself_stops_the_campaign(
    error: RuntimeError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*args: Any, **kwargs: Any) -> Answer:
        raise error

    monkeypatch.setattr(CapturedBench, "run", run)

    with pytest.raises(EngineError, match="a trial must fit this machine"):
        pvf(thirty(), points(), faults=5, out=tmp_path / "run")


def test_a_fault_that_ends_the_device_stops_the_campaign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*args: Any, **kwargs: Any) -> Answer:
        raise torch.AcceleratorError("device-side assert triggered")

    monkeypatch.setattr(CapturedBench, "run", run)

    with pytest.raises(EngineError, match="must leave the device usable, got Acc"):
        pvf(thirty(), points(), faults=5, out=tmp_path / "run")
