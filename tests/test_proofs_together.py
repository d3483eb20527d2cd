"""Inputs that are looked at together have the proofs of each by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from networks import Builder, encoder, lstm, mobilenet, resnet, subject_of, vgg
from stoic.campaign.scores import scores_of
from stoic.criteria import Top1Changed
from stoic.network.captured import CapturedSubject
from stoic.population import fields, proofs
from stoic.population.proofs import Proofs, proofs_of


def proved(build: Builder, batch: int) -> Proofs:
    subject, inputs = subject_of(build), build().inputs
    assert isinstance(subject, CapturedSubject)

    def clearance(output: Any, start: int) -> tuple[Any, Tensor]:
        scores = scores_of(output)
        return scores, Top1Changed().clearance(scores, scores, None)

    whole = inputs.rows(0, inputs.count // batch * batch)
    sites = [site for site in subject.sites if site.kind == "parameter"]
    found = proofs_of(subject.program, whole, sites, batch, clearance, closed=True)
    assert found is not None
    return found


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("build", [resnet, mobilenet, vgg, encoder, lstm])
def test_thresholds_of_several_blocks_are_those_of_each(
    build: Builder, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if build().inputs.count < 2 * batch:
        batch = 1
    together = proved(build, batch)
    monkeypatch.setattr(proofs, "_PART_BYTES", 0)
    alone = proved(build, batch)

    assert together.limits.keys() == alone.limits.keys()
    for name, limit in alone.limits.items():
        np.testing.assert_allclose(together.limits[name], limit, rtol=1e-12)
    assert (together.layer is None) == (alone.layer is None)
    if together.layer is not None and alone.layer is not None:
        assert torch.equal(together.layer.x, alone.layer.x)


@pytest.mark.parametrize("size", [0, 1, 2, 255, 1024, 1025])
def test_codes_are_counted_in_pairs_as_one_by_one(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fields, "_MANY", 0)
    codes = np.random.default_rng(size).integers(0, 256, size).astype(np.uint8)

    counts = fields._counted(codes)

    assert counts.tolist() == np.bincount(codes, minlength=256).tolist()
