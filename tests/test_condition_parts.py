"""Bounds of the zoo's networks: which have one, and that it holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from networks import CAPTURED, Builder, bert, gpt2, subject_of, tied
from stoic.network.captured import CapturedSubject
from stoic.network.program import Program
from stoic.sensitivity.beginning import beginning_at
from stoic.sensitivity.condition import condition
from stoic.sensitivity.perturbation import Perturbation
from stoic.sensitivity.reach import NotKnownError, reached, wide

# Rows that mix, control flow, and an order of elements.
WITHOUT = {"centred": "mean", "choosing": "sum", "assorted": "sort"}


def program_of(build: Builder) -> Program:
    subject = subject_of(build)
    assert isinstance(subject, CapturedSubject)
    return subject.program


@pytest.mark.parametrize("build", CAPTURED, ids=lambda build: build.__name__)
def test_networks_of_the_zoo_are_bounded_but_for_named_ones(build: Builder) -> None:
    program, leaves = program_of(build), build().inputs.leaves
    perturbation = Perturbation(stored=1e-7, values=1e-7)
    if build.__name__ in WITHOUT:
        with pytest.raises(NotKnownError, match=WITHOUT[build.__name__]):
            reached(program, leaves, perturbation)
        return
    reach = reached(program, leaves, perturbation)
    judged = [name for name in program.output_names if name in reach.passed]
    assert judged
    for name in judged:
        assert bool((reach.moved(name).norm < 0.01).all())
        assert bool((reach.moved(name).norm > 0).all())


def wrong_words(program: Program, share: float) -> Program:
    def wrong(value: Tensor) -> Tensor:
        return value * (1 + share * (torch.rand_like(value) * 2 - 1).sign())

    floats = {
        name: wrong(value)
        for name, value in program.stored.items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }
    return replace(program, stored={**program.stored, **floats})


@pytest.mark.parametrize("build", CAPTURED, ids=lambda build: build.__name__)
def test_wrong_words_of_the_zoo_stay_inside(build: Builder) -> None:
    share = 1e-2
    if build.__name__ in WITHOUT:
        return
    program, leaves = wide(program_of(build)), build().inputs.leaves
    given = [x.double() if _floats(x) else x for x in leaves]
    golden = program.run(given)
    reach = reached(program, given, Perturbation(stored=share))
    torch.manual_seed(0)
    for _ in range(3):
        values = wrong_words(program, share).run(given)
        for name, passed in reach.passed.items():
            if name in values:
                change = (values[name] - golden[name]).abs()
                most = passed.moved.most.reshape(change.shape)
                assert bool((change <= most).all()), name
        for name, error in reach.errors.items():
            if isinstance(error, Tensor) and name in values:
                change = (values[name] - golden[name]).abs()
                assert bool((change <= error).all()), name


def _floats(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


@pytest.mark.parametrize("build", [bert, gpt2], ids=lambda build: build.__name__)
def test_texts_are_bounded_from_their_embedding_on(build: Builder) -> None:
    program, leaves = program_of(build), build().inputs.leaves
    name = next(s.name for s in program.steps if s.operator == "embedding")
    cut, given = beginning_at(program, leaves, name)
    scores = cut.outputs[0].name
    # Scores of the last token alone are few enough to be followed back.
    found = condition(cut, given, scores, Perturbation(radius=1e-7))
    whole = wide(cut)
    golden = whole.run([given[0].double(), *given[1:]])[scores]

    assert torch.allclose(golden, wide(program).run(leaves)[scores], atol=1e-5)
    torch.manual_seed(0)
    for _ in range(5):
        noise = torch.randn_like(given[0].double())
        size = found.perturbed / noise.flatten(1).norm(dim=1)
        moved = given[0].double() + noise * size[:, None, None]
        change = whole.run([moved, *given[1:]])[scores] - golden
        assert bool((change.flatten(1).norm(dim=1) <= found.certified).all())
    assert bool((found.certified > 0).all())
    assert bool((found.certified < 1.01 * found.local).all())


def test_a_ball_about_ids_is_refused_with_what_to_do() -> None:
    program, leaves = program_of(tied), tied().inputs.leaves
    with pytest.raises(ValueError, match="radius must be 0.*beginning_at"):
        reached(program, leaves, Perturbation(radius=0.1))


def test_a_program_begins_at_values_of_numbers_alone() -> None:
    program, leaves = program_of(tied), tied().inputs.leaves
    told = "got 'nothing'; choose one such as embedding"
    with pytest.raises(ValueError, match=told):
        beginning_at(program, leaves, "nothing")
