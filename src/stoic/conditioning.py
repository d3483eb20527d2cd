"""How far perturbations can move a network's scores, by bounds and by trial."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from stoic.campaign.checks import check_count, check_inputs, check_processor
from stoic.campaign.untouched import untouched
from stoic.network.captured import CapturedSubject
from stoic.network.memory import kept_memory, settled_objects
from stoic.network.prepare import prepare
from stoic.network.program import Program
from stoic.network.smooth import floats
from stoic.network.subject import Inputs
from stoic.sensitivity.answers import Answer, finite, plain
from stoic.sensitivity.beginning import beginning_at, beginnings
from stoic.sensitivity.claims import claims_of, is_local_known
from stoic.sensitivity.condition import Condition, conditions, inputs_at_once
from stoic.sensitivity.gains import gain_by_norms
from stoic.sensitivity.growth import ATTACKS, measured_growth
from stoic.sensitivity.jacobian import function_of
from stoic.sensitivity.judged import (
    NotFiniteError,
    check_finite,
    judged_value,
    score_sizes,
)
from stoic.sensitivity.local import average, frobenius, largest
from stoic.sensitivity.norms import Store
from stoic.sensitivity.perturbation import Perturbation
from stoic.sensitivity.profile import LayerGain, profile, worst
from stoic.sensitivity.reach import reached
from stoic.sensitivity.rounding import rounded
from stoic.sensitivity.tightness import Claim, Tightness, tightness
from stoic.sensitivity.word_errors import word_errors
from stoic.study import as_inputs

if TYPE_CHECKING:
    from stoic.report.sensitivity import SensitivityRecord, TightnessRecord

__all__ = ["Answer", "ConditionSettings", "Conditioned", "condition"]

_FORMATS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
Progress = Callable[[int, int], None]
# Timed runs of the network.
_RUNS = 5


@dataclass(frozen=True)
class ConditionSettings:
    """What is asked.

    Args:
        radii: Of the inputs' deviation, relative to the 2-norm of each input.
        norm: Of the deviation: 2, or infinity for the same in every element.
        words: Relative error of every stored word; 0 not to ask.
        formats: Whose rounding is asked about.
        attacks: Whether growth is measured, too.
        local_only: Whether bounds are left out, for networks with operators that have
            none.
        batch: Inputs per run.
        seed: Of attacks and probes.
        beginning_at: A computed value that is perturbed in place of the inputs, such as
            what an embedding makes of ids; empty for the inputs themselves.
    """

    radii: tuple[float, ...] = (2.0**-24, 2.0**-16, 2.0**-8)
    norm: float = 2
    words: float = 2.0**-24
    formats: tuple[str, ...] = ("float32", "bfloat16", "float16")
    attacks: bool = True
    local_only: bool = False
    batch: int = 32
    seed: int = 0
    beginning_at: str = ""


@dataclass(frozen=True)
class Conditioned:
    """The answers.

    Args:
        network: Name of its class.
        inputs: How many.
        settings: As asked.
        answers: By perturbation.
        layers: Which amplify, in order; empty without bounds.
        tightness: Measured growth beside the claims, by radius.
        undefined: Inputs without a relative change: their scores are all 0, or
            denormal.
        seconds: Of the processor, that bounds of all inputs took.
        forwards: The same in runs of the network at the same batch.
    """

    network: str
    inputs: int
    settings: ConditionSettings
    answers: tuple[Answer, ...]
    layers: tuple[LayerGain, ...]
    tightness: tuple[Tightness, ...]
    undefined: tuple[int, ...]
    seconds: float
    forwards: float

    def as_record(self) -> dict[str, Any]:
        """Return plain data; what is infinite or not defined as nothing."""
        norm = "2" if self.settings.norm == 2 else "inf"
        return {
            "network": self.network,
            "inputs": self.inputs,
            "settings": asdict(self.settings) | {"norm": norm},
            "answers": [each.as_record() for each in self.answers],
            "layers": [_plain_layer(layer) for layer in self.layers],
            "tightness": [each.as_record() for each in self.tightness],
            "undefined": list(self.undefined),
            "seconds": self.seconds,
            "forwards": self.forwards,
        }

    def as_page(self, case: str) -> SensitivityRecord:
        """Return the data of a page about a case."""
        about = [("network", self.network), ("inputs", f"{self.inputs:,}")]
        if self.undefined:
            about.append(("without a relative change", f"{len(self.undefined):,}"))
        return {
            "network": case,
            "unit": "relative change of the scores for a relative perturbation",
            "about": about,
            "estimates": [
                {
                    "name": f"{answer.name}, {answer.size:.2g}: {name}",
                    "label": label,
                    "values": plain(values),
                }
                for answer in self.answers
                for name, label, values in answer.numbers()
            ],
            "profile": [
                {
                    "name": layer.name,
                    "kind": f"{layer.operator}, {_norms(layer)}",
                    "amplification": finite(layer.amplifies),
                }
                for layer in self.layers
            ],
            "tightness": [
                cast("TightnessRecord", each.as_record()) for each in self.tightness
            ],
        }


def _norms(layer: LayerGain) -> str:
    own = layer.norm
    return (
        f"norms: 1: {layer.one:.3g}, 2: {own.lower:.4g} to {own.upper:.4g}, "
        f"∞: {layer.infinity:.3g}"
    )


def _plain_layer(layer: LayerGain) -> dict[str, Any]:
    norm = {"lower": finite(layer.norm.lower), "upper": finite(layer.norm.upper)}
    others = {n: finite(getattr(layer, n)) for n in ("one", "infinity", "amplifies")}
    return asdict(layer) | {"norm": norm} | others


def condition(
    network: nn.Module,
    inputs: Any,
    settings: ConditionSettings | None = None,
    *,
    progress: Progress | None = None,
    **changes: Any,
) -> Conditioned:
    """Say how far perturbations can move the scores of a network.

    Args:
        network: In evaluation mode; left bit for bit as it was.
        inputs: As `stoic.pvf` takes them.
        settings: What is asked.
        progress: Told for how many inputs bounds are known, of how many.
        **changes: Fields of the settings.

    Raises:
        NotKnownError: An operator has no bound; ask for local numbers only.
        ValueError: The network cannot be captured, a golden value is not finite, or a
            setting is none; one line says what to do.
    """
    chosen = replace(settings or ConditionSettings(), **changes)
    _check(chosen)
    given = as_inputs(inputs)
    check_inputs(given, None)
    check_processor(network, given)
    # Bounds make many large tensors, whose memory would be fresh each time.
    with untouched(network), kept_memory(), settled_objects(collected=False):
        subject = prepare(network, given)
        if not isinstance(subject, CapturedSubject):
            raise ValueError(
                f"network must be captured, got {subject.reason}; "
                "see 'torch.export' for what it asks of a network"
            )
        asked = _Asked(*_beginning(subject.program, given, chosen), chosen)
        found = asked.answered(progress or (lambda done, total: None))
    return replace(found, network=type(network).__name__)


def _check(chosen: ConditionSettings) -> None:
    check_count("batch", chosen.batch, 1, "choose one such as 32")
    check_count("seed", chosen.seed, 0, "choose one such as 0")
    if unknown := sorted({*chosen.formats} - _FORMATS.keys()):
        raise ValueError(
            f"formats must be among {', '.join(_FORMATS)}, got {', '.join(unknown)}; "
            "leave out what is none"
        )
    if not chosen.radii or not all(0 < each < math.inf for each in chosen.radii):
        given = ", ".join(f"{radius:g}" for radius in chosen.radii) or "none"
        raise ValueError(
            f"radius must be positive and finite, got {given}; choose one such as 1e-6"
        )
    if not (math.isfinite(chosen.words) and chosen.words >= 0):
        raise ValueError(
            f"words must be finite and >= 0, got {chosen.words}; 0 leaves them out"
        )
    for radius in chosen.radii:
        Perturbation(radius=radius, norm=chosen.norm)


@torch.no_grad()
def _beginning(
    program: Program, given: Inputs, chosen: ConditionSettings
) -> tuple[Program, Inputs]:
    """Return what is perturbed: the program on its inputs, or from a value on."""
    if not chosen.beginning_at:
        if any(map(floats, given.leaves)):
            return program, given
        some = beginnings(program, given.rows(0, 2).leaves)
        raise ValueError(
            "inputs must be floating-point numbers to be perturbed, got whole ones; "
            f"choose a value for beginning_at, such as {', '.join(some)}"
        )
    cuts = [
        beginning_at(program, part.leaves, chosen.beginning_at)
        for part in given.batches(chosen.batch)
    ]
    columns = zip(*(leaves for _, leaves in cuts), strict=True)
    joined = (torch.cat(c) if isinstance(c[0], Tensor) else c[0] for c in columns)
    return cuts[0][0], Inputs(tuple(joined), {})


class _Asked:
    """A program on inputs, and what is asked about them."""

    def __init__(
        self, program: Program, given: Inputs, chosen: ConditionSettings
    ) -> None:
        self.program, self.given, self.chosen = program, given, chosen
        self.scores = judged_value(program, given)
        check_finite(program, given, chosen.batch)
        self.sizes = score_sizes(program, given, self.scores, chosen.batch)
        self.store: Store = {}
        self.seconds = 0.0

    def answered(self, told: Progress) -> Conditioned:
        """Ask for all bounds at once, and measure growth radius by radius."""
        chosen, tight = self.chosen, list[Tightness]()
        kinds = self._kinds()
        bounds = [] if chosen.local_only else self._bounds(kinds, told)
        local = () if bounds and is_local_known(bounds[0]) else self._local()
        claims = [
            claims_of(found, size)
            for (_, size, _), found in zip(kinds, bounds, strict=bool(bounds))
        ] or [()] * len(kinds)
        answers = []
        for at, ((name, size, _), own) in enumerate(zip(kinds, claims, strict=True)):
            answer = Answer(name, size, own + local * (at < len(chosen.radii)))
            if chosen.attacks and at < len(chosen.radii):
                tight.append(self._tight(size, answer))
                answer = replace(answer, measured=tight[-1].strongest)
            elif chosen.attacks:
                answer = self._tried(answer)
            answers.append(answer)
        layers = () if chosen.local_only else self._layers()
        return Conditioned(
            *("", self.given.count, chosen, tuple(answers), layers, tuple(tight)),
            undefined=tuple(self.sizes.isnan().nonzero().flatten().tolist()),
            seconds=self.seconds,
            forwards=self.seconds / self._run_seconds(),
        )

    def _kinds(self) -> list[tuple[str, float, Perturbation]]:
        """Return what is asked about: names, sizes and sets."""
        chosen = self.chosen
        inputs = [
            ("inputs", radius, Perturbation(radius=radius, norm=chosen.norm))
            for radius in chosen.radii
        ]
        words = [("words", chosen.words, Perturbation(stored=chosen.words))]
        formats = [(name, _FORMATS[name]) for name in chosen.formats]
        return [
            *inputs,
            *(words if chosen.words else []),
            *(
                (name, torch.finfo(dtype).eps / 2, Perturbation.of_format(dtype))
                for name, dtype in formats
            ),
        ]

    def _bounds(
        self, kinds: Sequence[tuple[str, float, Perturbation]], told: Progress
    ) -> list[list[Condition]]:
        """Return bounds of each kind, for some inputs at a time."""
        begun = time.process_time()
        perturbations = [each for _, _, each in kinds]
        found: list[list[Condition]] = []
        few = inputs_at_once(self.program, self.given.rows(0, 1).leaves)
        for part in self.given.batches(min(few, self.chosen.batch)):
            own = (self.program, part.leaves, self.scores, perturbations)
            try:
                found.append(conditions(*own, store=self.store))
            except NotFiniteError as error:
                begun_at = sum(len(each[0].scores) for each in found)
                raise error.behind(begun_at) from None
            told(sum(len(each[0].scores) for each in found), self.given.count)
        self.seconds += time.process_time() - begun
        return [list(each) for each in zip(*found, strict=True)]

    def _local(self) -> tuple[Claim, ...]:
        """Ask for the derivative by products, where bounds do not give it."""
        f, seed = function_of(self.program), self.chosen.seed
        found: dict[str, list[Tensor]] = {"local": [], "average": []}
        for part in self.given.batches(self.chosen.batch):
            x = part.leaves[0].double()
            scale = x.flatten(1).norm(dim=1)
            found["local"].append(largest(f, x, seed=seed).value * scale)
            mean = average(frobenius(f, x, seed=seed).value, x)
            found["average"].append(mean * scale)
        means = torch.cat(found["average"]) / self.sizes
        return (
            Claim("local", "local", torch.cat(found["local"]) / self.sizes),
            Claim("average", "average", means),
        )

    def _tried(self, answer: Answer) -> Answer:
        """Say what wrong words and rounding really do."""
        if answer.name == "words":
            own = (self.program, self.given, self.scores, answer.size)
            return answer.beside(
                self.sizes, **vars(word_errors(*own, seed=self.chosen.seed))
            )
        dtype = _FORMATS[answer.name]
        parts = [
            rounded(self.program, part, self.scores, dtype)
            for part in self.given.batches(self.chosen.batch)
        ]
        moved = {n: torch.cat([p[n] for p in parts]) / answer.size for n in parts[0]}
        return answer.beside(self.sizes, **moved)

    def _tight(self, radius: float, answer: Answer) -> Tightness:
        x = torch.cat(
            [part.leaves[0] for part in self.given.batches(self.chosen.batch)]
        ).double()
        growth = measured_growth(
            *(function_of(self.program), x, [radius], self.chosen.norm, ATTACKS),
            seed=self.chosen.seed,
            batch=self.chosen.batch,
        )
        return tightness(growth, answer.claims)

    def _layers(self) -> tuple[LayerGain, ...]:
        part = next(self.given.batches(self.chosen.batch))
        gain = gain_by_norms(self.store)
        reach = reached(self.program, part.leaves, Perturbation(), gain)
        return worst(profile(reach, self.store))

    @torch.inference_mode()
    def _run_seconds(self) -> float:
        """Return what the program itself takes on all inputs, the best of some."""
        times = []
        for _ in range(_RUNS):
            begun = time.process_time()
            for part in self.given.batches(self.chosen.batch):
                self.program.run(part.leaves)
            times.append(time.process_time() - begun)
        return min(times)
