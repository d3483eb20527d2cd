"""Sound zeros: no proof may be contradicted by putting the word into a copy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import stoic
from stoic.criteria import Top1Changed
from stoic.network.capture import capture
from stoic.network.certified import last_linear, thresholds
from stoic.network.certified.accounts import Passage
from stoic.network.certified.contract import Call
from stoic.network.certified.rules import bound_of
from stoic.network.certified.thresholds import is_alone
from stoic.network.program import Program
from stoic.network.subject import Inputs

_WORDS = {torch.float32: torch.int32, torch.float64: torch.int64}


@dataclass(frozen=True)
class Subject:
    """A network with a batch, captured.

    Args:
        network: A copy of its own, whose words may be changed and put back.
    """

    network: nn.Module
    batch: Tensor
    program: Program

    @classmethod
    def of(cls, network: nn.Module, batch: Tensor) -> Subject:
        own = copy.deepcopy(network).eval()
        return cls(own, batch, capture(own, (batch[:2],), {}))

    @property
    def names(self) -> list[str]:
        return [name for name in self.program.stored if name.startswith("p_")]

    @property
    def inputs(self) -> Inputs:
        return Inputs((self.batch,), {})

    @property
    def scores(self) -> str:
        return str(self.program.outputs[0].name)

    @torch.inference_mode()
    def golden(self) -> Tensor:
        found: Tensor = self.network(self.batch)
        return found

    def clearance(self) -> Tensor:
        return Top1Changed().clearance(self.golden(), self.golden(), None)

    def thresholds(self, clearance: Tensor | None = None) -> dict[str, Tensor]:
        clearance = self.clearance() if clearance is None else clearance
        names, scores = self.names, self.scores
        return thresholds(self.program, self.inputs, clearance, names, scores)

    def stored(self, name: str) -> Tensor:
        found: Tensor = self.program.stored[name].detach()
        return found

    @torch.inference_mode()
    def run(self, name: str, element: int, word: Tensor) -> Tensor:
        """The scores with one word changed in place; it is put back."""
        words = self.stored(name).view(-1)
        before = words[element].clone()
        words[element] = word
        scores = self.golden()
        words[element] = before
        return scores


def flips(tensor: Tensor, _: Tensor | None = None) -> Tensor:
    """Every word with each of its bits flipped: [elements, bits]."""
    words = tensor.detach().reshape(-1).view(_WORDS[tensor.dtype])
    width = 8 * tensor.element_size()
    masks = (1 << torch.arange(width)).to(words.dtype)
    return (words[:, None] ^ masks).view(tensor.dtype)


def high_flips(tensor: Tensor, _: Tensor) -> Tensor:
    """The flips that move a word furthest: [elements, 12]."""
    return flips(tensor)[:, -12:]


def edges(tensor: Tensor, limits: Tensor) -> Tensor:
    """The words furthest away that are still proved, to both sides: [elements, words].

    Args:
        tensor: Golden words.
        limits: Their thresholds, [inputs, elements].
    """
    golden = tensor.reshape(-1)
    largest = torch.finfo(tensor.dtype).max
    words = [
        (golden.double() + side * limit).clamp(-largest, largest).to(tensor.dtype)
        for limit in limits
        for side in (-1, 1)
    ]
    return torch.stack([word.nextafter(golden) for word in words], 1)


def proved(subject: Subject, name: str, limits: Tensor, words: Tensor) -> Tensor:
    """Tell which faults are proved for which inputs: [inputs, elements, words]."""
    old = subject.stored(name).reshape(-1, 1).double()
    gap = (words.double() - old).abs()
    return (gap < limits[:, :, None]) & words.isfinite()


@dataclass
class Tally:
    """Pairs of a fault and an input that were proved, and all of them, by site."""

    proved: dict[str, int] = field(default_factory=dict)
    pairs: dict[str, int] = field(default_factory=dict)

    @property
    def share(self) -> float:
        return sum(self.proved.values()) / sum(self.pairs.values())


def check(
    subject: Subject,
    clearance: Tensor | None = None,
    words_of: Callable[[Tensor, Tensor], Tensor] = flips,
) -> Tally:
    """Put in every word that is proved for any input; no proof may be untrue."""
    golden, tally = subject.golden(), Tally()
    least = subject.clearance() if clearance is None else clearance
    for name, limits in subject.thresholds(least).items():
        words = words_of(subject.stored(name), limits)
        claims = proved(subject, name, limits, words)
        tally.proved[name], tally.pairs[name] = int(claims.sum()), claims.numel()
        places = claims.any(0).nonzero()
        if len(places):
            claimed = torch.stack([claims[:, e, n] for e, n in places])
            runs = [subject.run(name, int(e), words[e, n]) for e, n in places]
            faulty = torch.stack(runs)
            moved = (faulty.double() - golden.double()).abs().amax(2)
            failed = Top1Changed().failed(golden, faulty, None)
            untrue = ~faulty.isfinite().all(2) | ~(moved < least)
            untrue |= failed & (clearance is None)
            assert not (untrue & claimed).any(), (name, places[untrue.any(1)])
    return tally


class Residual(nn.Module):
    """Both branches deviate, one of them through a strided shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.second = nn.Conv2d(3, 3, 3, padding=1, groups=3)
        self.head = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.norm(self.first(x)))
        y = F.avg_pool2d(y + self.second(F.gelu(y)), 2, padding=1)
        scores: Tensor = self.head((0.5 * y - 0.25).mean((2, 3)))
        return scores


class Sequence(nn.Module):
    """Tokens: products of three dimensions, moves, a class token, constants."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv1d(2, 4, 3, stride=2, padding=2, dilation=2)
        self.token = nn.Parameter(torch.randn(1, 1, 4))
        self.mix = nn.Linear(4, 3)
        self.register_buffer("scale", torch.tensor([0.5, -2.0, 1.5]))
        self.head = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.embed(x)).transpose(1, 2)
        y = torch.cat([self.token.expand(x.shape[0], -1, -1), y], 1)
        y = F.hardswish(self.mix(y)) * self.scale / 3 + self.scale
        y = torch.cat([y[:, 1:], y[:, :1].neg()], 1).sum(1).unsqueeze(1)
        scores: Tensor = self.head(F.leaky_relu(y, -0.2)).squeeze(1)
        return scores


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 3),
    )


def pooled() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 2, stride=2, padding="valid"),
        nn.BatchNorm2d(4),
        nn.ReLU6(),
        nn.MaxPool2d(2, stride=1, padding=1, dilation=2, ceil_mode=True),
        nn.Conv2d(4, 4, 1, groups=2),
        nn.Sigmoid(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 5, bias=False),
    )


def deep() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, bias=False),
        nn.BatchNorm2d(3),
        nn.Hardtanh(),
        nn.Conv2d(3, 3, 3, padding="same"),
        nn.Hardsigmoid(),
        nn.MaxPool2d(3, 2, 1),
        nn.Dropout(),
        nn.Flatten(),
        nn.Linear(12, 4),
        nn.GELU("tanh"),
        nn.Linear(4, 3),
    )


def images(size: int = 6, rows: int = 4) -> Tensor:
    return torch.randn(rows, 2, size, size)


def trained(network: nn.Module, batch: Tensor) -> nn.Module:
    """Learn to tell the inputs apart: clear margins, sparse activations."""
    classes = network(batch).shape[1]
    labels = torch.arange(len(batch)) % classes
    steps = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(60):
        steps.zero_grad()
        F.cross_entropy(network(batch), labels).backward()
        steps.step()
    return network.eval()


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "plain": (plain, (4, 2, 6, 6)),
    "pooled": (pooled, (4, 2, 8, 8)),
    "deep": (deep, (3, 2, 6, 6)),
    "residual": (Residual, (4, 2, 5, 5)),
    "sequence": (Sequence, (3, 2, 9)),
}


@cache
def subject_of(name: str) -> Subject:
    build, shape = NETWORKS[name]
    torch.manual_seed(0)
    batch = torch.randn(shape)
    return Subject.of(trained(build(), batch), batch)


@pytest.fixture(params=NETWORKS)
def subject(request: pytest.FixtureRequest) -> Subject:
    return subject_of(request.param)


def test_no_flip_of_any_word_contradicts_a_proof(subject: Subject) -> None:
    assert check(subject).share > 0.3


def test_no_word_at_the_edge_of_a_proof_contradicts_it(subject: Subject) -> None:
    assert check(subject, words_of=edges).share > 0.2


@pytest.mark.parametrize("share", [1e-2, 1e-4, 1e-5, 1e-6, 1e-7])
def test_nor_where_rounding_takes_much_of_the_clearance(
    share: float, subject: Subject
) -> None:
    check(subject, subject.clearance() * share, edges)


def test_every_word_that_is_read_directly_has_a_threshold(subject: Subject) -> None:
    for name, limits in subject.thresholds().items():
        assert (limits > 0).all() == (name != "p_network_token"), name


@pytest.mark.parametrize("clearance", [0.0, -1.0, torch.nan, 1e-9])
def test_nothing_is_proved_without_a_clearance(clearance: float) -> None:
    subject = Subject.of(plain(), images())
    limits = subject.thresholds(torch.full((4,), clearance, dtype=torch.float64))
    assert not any(each.any() for each in limits.values())


def test_scores_stay_finite_where_no_change_of_them_counts() -> None:
    subject = Subject.of(plain(), images())
    endless = torch.full((4,), torch.inf, dtype=torch.float64)
    assert 0.8 < check(subject, endless, high_flips).share < 1


def test_each_input_has_thresholds_of_its_own() -> None:
    subject = Subject.of(plain(), images())
    alone = Subject.of(subject.network, subject.batch[[2, 0]])
    both, some = subject.thresholds(), alone.thresholds()
    for name, limits in some.items():
        assert torch.allclose(both[name][[2, 0]], limits, rtol=1e-4)


def test_double_precision_is_proved_like_single() -> None:
    subject = Subject.of(plain().double(), images().double())
    assert check(subject, words_of=high_flips).share > 0.3
    check(subject, subject.clearance() * 1e-13, edges)


def test_proofs_hold_inside_inference_mode() -> None:
    subject = Subject.of(plain(), images())
    outside = subject.thresholds()
    with torch.inference_mode():
        inside = subject.thresholds()
    assert all(torch.equal(outside[name], inside[name]) for name in outside)


# Networks that come near the ends of the format.


@pytest.mark.parametrize("scale", [1.0, 1e15, 1e18, 1e30, 1e37])
def test_no_proof_trusts_numbers_near_an_overflow(scale: float) -> None:
    network = plain()
    with torch.no_grad():
        for weight in network.get_submodule("0").parameters():
            weight.mul_(scale)
        network.get_parameter("6.weight").mul_(1 / scale)
    subject = Subject.of(network, images())
    first = subject.thresholds()["p_network_0_weight"]
    assert first.any() == (scale < 1e17)
    check(subject, words_of=high_flips)
    check(subject, subject.clearance().fill_(torch.inf), edges)


@pytest.mark.parametrize("word", [torch.inf, -torch.inf, torch.nan, 3e38, 1e-40, -0.0])
def test_no_proof_trusts_odd_words(word: float) -> None:
    network = plain()
    with torch.no_grad():
        network.get_parameter("3.weight")[0, 0] = word
    subject = Subject.of(network, images())
    check(subject, words_of=high_flips)
    check(subject, words_of=edges)


def test_words_that_act_on_zeros_alone_may_become_any_number() -> None:
    batch = images()
    batch[:, 1] = 0
    subject = Subject.of(plain(), batch)
    limits = subject.thresholds()["p_network_0_weight"].reshape(4, 3, 2, 9)
    assert (limits[:, :, 1] > 1e39).all()
    assert (limits[:, :, 0] < 1e3).all()
    assert check(subject, words_of=high_flips).share > 0.5


def test_inputs_that_are_no_numbers_have_no_proofs() -> None:
    batch = images()
    batch[1, 0, 2, 2] = torch.nan
    batch[2, 0, 2, 2] = torch.inf
    subject = Subject.of(plain(), batch)
    limits = subject.thresholds(torch.ones(4, dtype=torch.float64))
    for name, each in limits.items():
        assert not each[[1, 2]].any(), name
        assert each[[0, 3]].all(), name


# What no rule knows, or no proof may rest on.


class Through(nn.Module):
    """Something between two layers."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first = nn.Linear(5, 4)
        self.second = nn.Linear(4, 3)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.second(self.between(self.first(x)))
        return scores


BETWEEN: dict[str, Callable[[Tensor], Tensor]] = {
    "unknown": torch.erfinv,
    "product": lambda x: x * torch.sigmoid(x.flip(1)),
    "square": lambda x: x * x,
    "inputs mixed": lambda x: x - x.mean(0),
    "inputs moved": lambda x: x.roll(1, 0),
    "inputs turned": lambda x: x.t().relu().t(),
    "inputs turned twice": lambda x: x.transpose(0, 1).relu().transpose(0, 1),
    "inputs shared": lambda x: x + x[:1],
    "cast": lambda x: x.double().float(),
    "index": lambda x: x.gather(1, x.argmax(1, keepdim=True)).expand(-1, 4),
}


@pytest.mark.parametrize("between", BETWEEN)
def test_what_is_not_known_has_proofs_behind_it_only(between: str) -> None:
    subject = Subject.of(Through(BETWEEN[between]), torch.rand(4, 5))
    limits = subject.thresholds(torch.full((4,), 0.1, dtype=torch.float64))
    for name, each in limits.items():
        assert each.any() == ("second" in name), name


class Twice(nn.Module):
    """Weights that are read in several places, or through another step."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4, bias=False)
        self.again = nn.Linear(4, 4, bias=False)
        self.again.weight = self.tied.weight
        self.scaled = nn.Parameter(torch.randn(4, 4))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.shared(self.shared(x).relu()).relu()
        y = F.linear(self.again(self.tied(y)), self.scaled * 2)
        scores: Tensor = self.head(y)
        return scores


def test_words_that_are_read_in_two_places_have_no_proofs() -> None:
    subject = Subject.of(Twice(), torch.randn(3, 4))
    for name, limits in subject.thresholds().items():
        assert limits.any() == ("head" in name), name


def test_words_that_two_names_share_have_no_proofs() -> None:
    program = Subject.of(plain(), images()).program
    name = "p_network_0_weight"
    assert is_alone(program, name)
    alias = {"other": program.stored[name].detach()[1:]}
    shared = replace(program, stored={**program.stored, **alias})
    assert not is_alone(shared, name)
    repeated = {name: torch.zeros(1).expand(3, 2, 3, 3)}
    assert not is_alone(replace(program, stored=repeated), name)


class Heads(nn.Module):
    """A second output: known to be harmless, or not known."""

    def __init__(self, harmless: bool) -> None:
        super().__init__()
        self.trunk = nn.Linear(5, 4)
        self.head = nn.Linear(4, 3)
        self.harmless = harmless

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.trunk(x).relu()
        return self.head(y), y.neg() if self.harmless else y.cumsum(1)


@pytest.mark.parametrize("harmless", [True, False])
def test_other_outputs_are_followed_too(harmless: bool) -> None:
    subject = Subject.of(Heads(harmless), torch.randn(3, 5))
    limits = subject.thresholds(torch.ones(3, dtype=torch.float64))
    assert limits["p_network_head_weight"].all()
    assert limits["p_network_trunk_weight"].any() == harmless


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_formats_have_no_proofs(dtype: torch.dtype) -> None:
    subject = Subject.of(plain().to(dtype), images().to(dtype))
    limits = subject.thresholds(torch.ones(4, dtype=torch.float64))
    assert not any(each.any() for each in limits.values())


def _not_plain(name: str, patch: pytest.MonkeyPatch) -> Iterator[None]:
    match name:
        case "another library":
            patch.setattr(torch.backends.mkldnn, "enabled", False)
            yield
        case "short products":
            torch.set_float32_matmul_precision("medium")
            yield
            torch.set_float32_matmul_precision("highest")
        case "short everywhere":
            patch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
            yield
        case "denormals flushed":
            if not torch.set_flush_denormal(True):
                pytest.skip("this processor cannot")
            yield
            torch.set_flush_denormal(False)


@pytest.mark.parametrize(
    "name",
    ["another library", "short products", "short everywhere", "denormals flushed"],
)
def test_sums_that_are_not_plain_have_no_proofs(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = Subject.of(plain(), images())
    assert last_linear(subject.program, subject.inputs, subject.scores)
    with contextmanager(_not_plain)(name, monkeypatch):
        found = subject.thresholds()
        layer = last_linear(subject.program, subject.inputs, subject.scores)
    assert not any(each.any() for each in found.values())
    assert layer is None


# The rules themselves.


SLOPES: list[tuple[Callable[[Tensor], Tensor], float]] = [
    (F.silu, 1.1),
    (F.gelu, 1.13),
    (lambda x: F.gelu(x, approximate="tanh"), 1.13),
    (F.hardswish, 1.5),
    (F.hardsigmoid, 1 / 6),
    (torch.sigmoid, 0.25),
    (torch.tanh, 1.0),
]


@pytest.mark.parametrize(("function", "slope"), SLOPES)
def test_no_function_is_steeper_than_its_rule_says(
    function: Callable[[Tensor], Tensor], slope: float
) -> None:
    x = torch.linspace(-12, 12, 4_000_001, dtype=torch.float64)
    steps = function(x).diff().abs() / x.diff()
    assert slope * 0.97 < steps.max() < slope * (1 + 1e-6)


def assert_errors_are_bounded(subject: Subject) -> None:
    """Compare every step with itself in double precision, on the same numbers."""
    program = subject.program
    with torch.inference_mode():
        values = program.run([subject.batch])
    exact = {n: v.double() if isinstance(v, Tensor) else v for n, v in values.items()}
    sizes = {name for name, value in values.items() if isinstance(value, int)}
    for step in program.steps:
        call = Call(step, values.__getitem__, {*program.stored, *sizes})
        bound = bound_of(call, len(subject.batch))
        if bound is not None:
            off = (step(exact.__getitem__) - values[step.name].double()).abs()
            assert (off <= Passage.of(call, bound).error / 2).all(), step.name


@pytest.mark.parametrize("name", NETWORKS)
def test_no_step_is_off_by_more_than_its_rounding_bound(name: str) -> None:
    build, shape = NETWORKS[name]
    assert_errors_are_bounded(Subject.of(build(), 10 * torch.randn(shape)))


@pytest.mark.parametrize("function", [function for function, _ in SLOPES])
def test_no_function_is_off_by_more_than_its_rounding_bound(
    function: Callable[[Tensor], Tensor],
) -> None:
    class Alone(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    near = 10 * torch.randn(4, 100_001)
    wide = near * 10 ** torch.empty(4, 100_001).uniform_(-45, 17)
    assert_errors_are_bounded(Subject.of(Alone(), torch.cat([near, wide], 1)))


# A real network.


def digits(inputs: int) -> Subject:
    case = stoic.load("digits", inputs)
    assert isinstance(case.inputs, Tensor)
    return Subject.of(case.network, case.inputs)


def test_flips_in_the_digits_do_not_contradict_their_proofs() -> None:
    subject, chance = digits(16), torch.Generator().manual_seed(0)

    def some_flips(tensor: Tensor, _: Tensor) -> Tensor:
        all_flips = flips(tensor)
        bits = torch.randint(32, (len(all_flips), 1), generator=chance)
        return all_flips.gather(1, bits)

    assert check(subject, words_of=some_flips).share > 0.85


@pytest.mark.slow
def test_no_flip_in_the_digits_contradicts_their_proofs() -> None:
    tally = check(digits(16))
    for name, pairs in tally.pairs.items():
        print(f"{name}: {tally.proved[name] / pairs:.4f} of {pairs} pairs proved")
    assert tally.share > 0.9
