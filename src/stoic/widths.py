"""Bit widths: how narrow a network's words may be, as predicted and as measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from stoic.campaign.checks import (
    check_count,
    check_inputs,
    check_name,
    check_processor,
    class_labels,
)
from stoic.campaign.scores import scores_of
from stoic.faults.formats import format_of
from stoic.network.program import Program
from stoic.network.smooth import floats
from stoic.sensitivity.assignment import Assignment, Budget, assign, named_budget
from stoic.sensitivity.eight import Eight
from stoic.sensitivity.eight import by_torchao as _eight
from stoic.sensitivity.golden import Scored, score_inputs
from stoic.sensitivity.keeping import kept_chance, kept_share, least_width, likely_width
from stoic.sensitivity.noise import Noise, measure_noise
from stoic.sensitivity.provable import Proof, own_widths, proved_shares
from stoic.sensitivity.proving import proof_of
from stoic.sensitivity.quantised import Family, named_family
from stoic.sensitivity.reach import NotKnownError
from stoic.sensitivity.sweep import Kept, kept_by, narrow_scores, sweep
from stoic.study import as_inputs, ready

__all__ = [
    "PARTS",
    "Assigned",
    "BitSettings",
    "LayerRow",
    "WidthRow",
    "Widths",
    "bits",
    "by_torchao",
]

PARTS = ("weights", "values", "both")

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class BitSettings:
    """What is asked.

    Args:
        format: ``int``, ``e4`` (floating formats with 4 exponent bits), or a single
            one: ``int8``, ``e4m3``, ``bfloat16``, ``float16``.
        parts: What is made narrower: ``weights``, ``values`` that layers read, or
            ``both``.
        keep: Share of the decisions that has to stay.
        budget: Bytes of the weights, such as ``50%`` or ``120kB``.
        budget_bops: Bit-operations of one input, such as ``40%`` or ``3e9``.
        check: Whether every prediction is measured, too.
        probes: Inputs that slopes are asked of, at most.
        batch: Inputs per run.
        seed: Of the choice of probes.
        tail: What turns the network's output into scores, outside of the graph.
        proof: From the scored network to a proof; without one it is by Stoic's own
            certified bound.
        prove: Inputs, the first ones, that the proof is about; 0 for none.
    """

    format: str = "int"
    parts: str = "weights"
    keep: float = 0.99
    budget: str | None = None
    budget_bops: str | None = None
    check: bool = True
    probes: int = 32
    batch: int = 32
    seed: int = 0
    tail: Callable[[Any], Any] | None = None
    proof: Callable[[Scored], Proof] | None = None
    prove: int = 32


@dataclass(frozen=True)
class WidthRow:
    """One uniform width.

    Args:
        width: In bits.
        format: Its name.
        predicted: Share of the decisions that is kept on average.
        measured: What was kept; None if it was not tried.
        proved: Share of the decisions that is proved to be kept; None if not asked.
    """

    width: int
    format: str
    predicted: float
    measured: Kept | None
    proved: float | None


@dataclass(frozen=True)
class LayerRow:
    """One layer.

    Args:
        name: As in the network.
        words: Of its weight.
        macs: Multiplications for one input.
        noise: Its share of the noise at the predicted width, or at the narrowest.
        width: That the budget leaves it; None without a budget.
    """

    name: str
    words: int
    macs: int
    noise: float
    width: int | None


@dataclass(frozen=True)
class Assigned:
    """Widths under a budget, and what they keep.

    Args:
        plan: The widths and what is predicted of them.
        measured: What they keep.
        uniform: What the widest uniform width in the budget keeps.
    """

    plan: Assignment
    measured: Kept | None
    uniform: Kept | None


@dataclass(frozen=True)
class Widths:
    """The answers.

    Args:
        network: Name of its class.
        inputs: That it was tried on.
        words: Floating ones that the network stores; those of layers are some of them.
        settings: As asked.
        accuracy: Of the network as it is; None without labels.
        rows: By width.
        layers: In order.
        predicted: The least from which on all keep enough, more likely than not.
        measured: The least from which on all keep enough; None if none was found.
        provable: The least that provably keeps enough of the inputs that the proof is
            about; None for no statement.
        silent: Why there is no statement; empty where there is one.
        assigned: Under the budget.
    """

    network: str
    inputs: int
    words: int
    settings: BitSettings
    accuracy: float | None
    rows: tuple[WidthRow, ...]
    layers: tuple[LayerRow, ...]
    predicted: int | None
    measured: int | None
    provable: int | None
    silent: str
    assigned: Assigned | None

    def as_record(self) -> dict[str, Any]:
        """Return plain data."""
        asked = {k: v for k, v in vars(self.settings).items() if k not in _CALLED}
        record = asdict(replace(self, settings=BitSettings()))
        return record | {"settings": asked}


_CALLED = ("tail", "proof")


def bits(
    network: nn.Module,
    inputs: Any,
    labels: Tensor | None = None,
    settings: BitSettings | None = None,
    *,
    progress: Progress | None = None,
    **changes: Any,
) -> Widths:
    """Return how narrow the words of a network may be.

    Biases and everything outside of convolutions and linear layers stay as they are.

    Args:
        network: In evaluation mode; left bit for bit as it was.
        inputs: Fault-free, some hundreds; as `stoic.pvf` takes them.
        labels: The right class of each.
        settings: What is asked.
        progress: Told how many widths have been measured, of how many.
        **changes: Fields of the settings.

    Raises:
        ValueError: The input is bad, or no widths meet the budget; one line says what,
            why and what to do.
    """
    asked = replace(settings or BitSettings(), **changes)
    family, widths = _checked(asked)
    given = as_inputs(inputs)
    check_inputs(given, labels)
    check_processor(network, given)
    subject = ready(network, given)
    scored = score_inputs(subject, given, asked.tail or scores_of, asked.batch)
    budget = _budget(asked, scored)
    noise = measure_noise(scored, family, widths, asked.probes, asked.seed)
    study = _Study(scored, family, widths, asked, noise, class_labels(labels))
    return study.answers(type(network).__name__, budget, progress)


def by_torchao(
    network: nn.Module,
    inputs: Any,
    *,
    tail: Callable[[Any], Any] | None = None,
    batch: int = 32,
) -> Eight:
    """Return what is kept with int8 weights by torchao, beside fake quantisation.

    Args:
        network: In evaluation mode; not changed.
        inputs: As for `bits`.
        tail: What turns the network's output into scores.
        batch: Inputs per run.

    Raises:
        ValueError: torchao is missing, or there is no linear layer.
    """
    given, scores = as_inputs(inputs), tail or scores_of
    scored = score_inputs(ready(network, given), given, scores, batch)
    return _eight(network, scored, scores)


def _checked(asked: BitSettings) -> tuple[Family, tuple[int, ...]]:
    check_name("parts", asked.parts, PARTS)
    check_count("probes", asked.probes, 2, "32 inputs are asked by default")
    check_count("batch", asked.batch, 1, "choose one such as 32")
    check_count("prove", asked.prove, 0, "0 leaves proofs out")
    check_count("seed", asked.seed, 0, "choose one such as 0")
    if not 0 < asked.keep <= 1:
        raise ValueError(
            f"keep must be above 0 and at most 100 %, got {asked.keep:.6g}; "
            "choose a share such as 99% or 0.99"
        )
    if asked.budget and asked.budget_bops:
        raise ValueError(
            "budget must be of bytes or of bit-operations, got both; leave one out"
        )
    return named_family(asked.format)


def _budget(asked: BitSettings, scored: Scored) -> Budget | None:
    kind = "bytes" if asked.budget else "bit-operations"
    text = asked.budget or asked.budget_bops
    if not text:
        return None
    return named_budget(kind, text, scored.layers, asked.parts, _stored(scored))


def _stored(scored: Scored) -> int:
    """Return the width of the network's own words: that of most of them."""
    stored = [
        (each.words, scored.program.stored[each.weight]) for each in scored.layers
    ]
    format = format_of(max(stored, key=lambda pair: pair[0])[1].dtype)
    return format.width if format else 32


def _words(program: Program) -> int:
    """Count floating words; stored values that are one tensor of the network once."""
    own = {
        program.origins.get(name, (name,))[0]: value.numel()
        for name, value in program.stored.items()
        if floats(value)
    }
    return sum(own.values())


@dataclass(frozen=True, eq=False)
class _Study:
    """Everything that the answers come from."""

    scored: Scored
    family: Family
    widths: tuple[int, ...]
    asked: BitSettings
    noise: Noise
    labels: Tensor | None

    def answers(
        self, network: str, budget: Budget | None, progress: Progress | None
    ) -> Widths:
        shift = self.noise.uniform(self.asked.parts)
        predicted = kept_share(self.noise, shift).tolist()
        chances = kept_chance(self.noise, shift, self.asked.keep).tolist()
        likely = likely_width(self.widths, chances)
        assigned = self._assigned(budget) if budget else None
        measured = dict(self._measured(progress)) if self.asked.check else {}
        proved, silent = self._proved()
        shares = [kept.share.value for kept in measured.values()]
        return Widths(
            network=network,
            inputs=self.scored.inputs.count,
            words=_words(self.scored.program),
            settings=self.asked,
            accuracy=kept_by(self.scored, self.scored.scores, self.labels).accuracy,
            rows=tuple(
                WidthRow(w, self.family(w).name, p, measured.get(w), proved.get(w))
                for w, p in zip(self.widths, predicted, strict=True)
            ),
            layers=tuple(self._layers(likely or self.widths[0], assigned)),
            predicted=likely,
            measured=least_width(list(measured), shares, self.asked.keep),
            provable=next(
                (w for w, share in proved.items() if share >= self.asked.keep), None
            ),
            silent=silent,
            assigned=assigned,
        )

    def _measured(self, progress: Progress | None) -> Iterator[tuple[int, Kept]]:
        done = 0
        for found in sweep(
            self.scored, self.family, self.widths, self.asked.parts, self.labels
        ):
            done += 1
            if progress:
                progress(done, len(self.widths))
            yield found

    def _proved(self) -> tuple[dict[int, float], str]:
        """Return shares proved, and why nothing is."""
        if not self.asked.prove:
            return {}, "not asked"
        if self.asked.tail and not self.asked.proof:
            return {}, "scores are made of the output outside of the network"
        some = self.scored.first(self.asked.prove)
        keep, parts = self.asked.keep, self.asked.parts
        try:
            proof = (self.asked.proof or proof_of)(some)
            widths = own_widths(some, self.asked.format, self.widths)
            found = proved_shares(some, self.family, widths, proof, keep, parts)
        except NotKnownError as error:
            return {}, str(error).partition("; ")[0]
        if max(found.values(), default=0.0) >= keep:
            return found, ""
        if len(self.widths) == 1:
            return found, f"{self.family(self.widths[0]).name} does not suffice"
        return found, "no width of the network's own format suffices"

    def _assigned(self, budget: Budget) -> Assigned:
        parts = self.asked.parts
        found = assign(
            self.noise, self.scored.layers, budget, parts, _stored(self.scored)
        )
        if not self.asked.check:
            return Assigned(found, None, None)
        ours = {name: self.family(width) for name, width in found.widths.items()}
        measured = self._kept(ours)
        if found.uniform is None:
            return Assigned(found, measured, None)
        alike = dict.fromkeys(ours, self.family(found.uniform))
        return Assigned(found, measured, self._kept(alike))

    def _kept(self, formats: dict[str, Any]) -> Kept:
        scores = narrow_scores(self.scored, formats, self.asked.parts)
        return kept_by(self.scored, scores, self.labels)

    def _layers(self, width: int, assigned: Assigned | None) -> Iterator[LayerRow]:
        variance = self.noise.of(self.asked.parts)[:, self.widths.index(width)]
        # Relative to the lead: a decision without much of it is the first to change.
        near = variance[..., 0] / self.noise.leads[self.noise.probes, 0].square()
        typical = torch.nan_to_num(near, 0.0, 0.0, 0.0).median(-1).values
        shares = (typical / (typical.sum() or 1.0)).tolist()
        for layer, share in zip(self.scored.layers, shares, strict=True):
            given = assigned.plan.widths[layer.name] if assigned else None
            yield LayerRow(layer.name, layer.words, layer.macs, share, given)
