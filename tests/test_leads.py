"""Leads against plain restatements, their gradients against differences of these."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from stoic.campaign.leads import lead_of
from stoic.criteria import (
    AnyChange,
    Criterion,
    Custom,
    Threshold,
    Tolerance,
    Top1Changed,
    Top1Wrong,
    TopKLost,
)
from stoic.network.slopes import NoSlopesError

Row = Sequence[float]
STEP = 1e-6


def over_others(k: int) -> Callable[[Row, Row], float]:
    def lead(golden: Row, row: Row) -> float:
        best = golden.index(max(golden))
        others = sorted((x for i, x in enumerate(row) if i != best), reverse=True)
        return row[best] - others[k - 1]

    return lead


def above(level: float) -> Callable[[Row, Row], float]:
    def lead(golden: Row, row: Row) -> float:
        place = min(range(len(golden)), key=lambda i: abs(golden[i] - level))
        return row[place] - level

    return lead


def signs(count: int) -> list[int]:
    """Read off the swing itself: which ones they are is nobody's concern."""
    scores = torch.ones(1, count, requires_grad=True)
    lead_of(AnyChange())(scores).sum().backward()
    assert scores.grad is not None
    return [int(sign) for sign in scores.grad[0].tolist()]


def usual_size(golden: Row, row: Row) -> float:
    size = math.sqrt(sum(x * x for x in golden) / len(golden))
    moves = (s * (x - g) for s, x, g in zip(signs(len(row)), row, golden, strict=True))
    return size + sum(moves)


def within(absolute: float, relative: float) -> Callable[[Row, Row], float]:
    def lead(golden: Row, row: Row) -> float:
        allowed = [absolute + relative * abs(g) for g in golden]
        each = zip(signs(len(row)), row, golden, allowed, strict=True)
        return 1 - sum(s * (x - g) / a for s, x, g, a in each)

    return lead


def named(part: object) -> str:
    """A name without an address: processes must agree on what the tests are called."""
    record: dict[str, object] = getattr(part, "as_record", dict)()
    return " ".join(map(str, record.values())) or type(part).__name__


LEADS: list[tuple[Criterion, Callable[[Row, Row], float]]] = [
    (Top1Changed(), over_others(1)),
    (Top1Wrong(), over_others(1)),
    (TopKLost(1), over_others(1)),
    (TopKLost(3), over_others(3)),
    (Threshold(0.25), above(0.25)),
    (Tolerance(0.25), within(0.25, 0)),
    (Tolerance(0.125, 0.5), within(0.125, 0.5)),
    (AnyChange(), usual_size),
    (Custom(lambda golden, faulty, labels: golden[:, 0] > 0), usual_size),
]


@pytest.mark.parametrize(("criterion", "wanted"), LEADS, ids=named)
def test_leads_and_their_gradients_are_those_of_the_definition(
    criterion: Criterion, wanted: Callable[[Row, Row], float]
) -> None:
    scores = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)

    leads = lead_of(criterion)(scores)

    (gradient,) = torch.autograd.grad(leads.sum(), scores)
    assert leads.dtype == torch.float64
    for row, (golden, lead) in enumerate(zip(scores.tolist(), leads, strict=True)):
        assert lead.item() == pytest.approx(wanted(golden, golden), rel=1e-12)
        for place in range(6):
            up, down = list(golden), list(golden)
            up[place], down[place] = golden[place] + STEP, golden[place] - STEP
            slope = (wanted(golden, up) - wanted(golden, down)) / (2 * STEP)
            assert gradient[row, place].item() == pytest.approx(slope, abs=1e-6)


CRITERIA = [criterion for criterion, _ in LEADS]


@pytest.mark.parametrize("criterion", CRITERIA, ids=named)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_leads_of_one_input_do_not_hang_on_the_others(
    criterion: Criterion, dtype: torch.dtype
) -> None:
    scores, lead = torch.randn(5, 7).to(dtype), lead_of(criterion)

    together = lead(scores)

    assert together.dtype == torch.float64
    alone = [lead(scores[row : row + 1]) for row in range(5)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    "criterion", [Top1Changed(), Top1Wrong(), TopKLost(1), Threshold(3.0)], ids=named
)
def test_a_tie_is_as_close_as_a_rounding(
    criterion: Criterion, dtype: torch.dtype
) -> None:
    scores = torch.tensor([[3.0, 1, 3], [-4, 3, 3]], dtype=dtype, requires_grad=True)

    leads = lead_of(criterion)(scores)

    eps = torch.finfo(dtype).eps
    assert leads.tolist() == [3 * eps, 4 * eps]
    (gradient,) = torch.autograd.grad(leads.sum(), scores)
    assert gradient.abs().sum(1).tolist() == (
        [1, 1] if isinstance(criterion, Threshold) else [2, 2]
    )


def test_a_score_below_the_level_has_a_negative_lead() -> None:
    scores = torch.tensor([[-1.0, 0.5], [4.0, 1.25]])

    assert lead_of(Threshold(1.0))(scores).tolist() == [-0.5, 0.25]


@pytest.mark.parametrize("criterion", [Tolerance(0.0, 0.5), Tolerance(0.0)], ids=named)
def test_a_score_that_may_not_be_off_at_all_counts_for_a_rounding(
    criterion: Tolerance,
) -> None:
    scores = torch.tensor([[0.0, 2.0]], requires_grad=True)

    leads = lead_of(criterion)(scores)

    (gradient,) = torch.autograd.grad(leads.sum(), scores)
    eps = torch.finfo(torch.float32).eps
    assert leads.tolist() == [1]
    assert gradient[0, 0].abs() == 1 / (2 * eps)


def test_signs_are_random_and_fixed() -> None:
    assert signs(1000) == signs(1000)
    assert set(signs(1000)) == {-1, 1}
    assert abs(sum(signs(1000))) < 150
    state = torch.random.get_rng_state()
    signs(10)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("criterion", CRITERIA, ids=named)
@pytest.mark.parametrize(
    "wrapped",
    [
        lambda x: {"loss": x[:, 0], "logits": x},
        lambda x: (x, [x.sum(1)]),
        lambda x: [x, None, 3],
    ],
)
def test_scores_are_found_in_any_output(
    criterion: Criterion, wrapped: Callable[[Tensor], object]
) -> None:
    scores, lead = torch.randn(3, 5), lead_of(criterion)

    assert torch.equal(lead(wrapped(scores)), lead(scores))


@pytest.mark.parametrize("criterion", CRITERIA, ids=named)
def test_whole_scores_leave_it_to_the_first_floating_tensor(
    criterion: Criterion,
) -> None:
    boxes = torch.randn(3, 4, 2)

    leads = lead_of(criterion)((torch.ones(3, 5, dtype=torch.int64), boxes))

    usual = boxes.double().flatten(1).square().mean(1).sqrt()
    torch.testing.assert_close(leads, usual)


@pytest.mark.parametrize("criterion", [Top1Changed(), TopKLost(3)], ids=named)
@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 4, 5)])
def test_scores_that_are_of_no_classes_are_taken_together(
    criterion: Criterion, shape: tuple[int, ...]
) -> None:
    scores = torch.randn(shape)

    leads = lead_of(criterion)(scores)

    usual = scores.double().reshape(3, -1).square().mean(1).sqrt()
    torch.testing.assert_close(leads, usual)


def test_the_kth_other_must_exist() -> None:
    scores = torch.tensor([[4.0, 2.0, 1.0]])

    assert lead_of(TopKLost(2))(scores).tolist() == [3]
    assert lead_of(TopKLost(3))(scores).item() == pytest.approx(math.sqrt(7))


@pytest.mark.parametrize("criterion", CRITERIA, ids=named)
@pytest.mark.parametrize(
    "output", [torch.ones(3, 2, dtype=torch.int64), torch.tensor(1.0), None, {"a": 3}]
)
def test_an_output_without_floating_rows_has_no_lead(
    criterion: Criterion, output: object
) -> None:
    with pytest.raises(NoSlopesError, match="output must hold floating scores"):
        lead_of(criterion)(output)
