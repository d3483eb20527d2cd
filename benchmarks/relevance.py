"""Relevance beside zennit's, and how much of the score is conserved.

Run it as ``python -m benchmarks.relevance``. It needs zennit 0.5.1 (LGPL, never
imported by Stoic itself), which is among the peers: ``pip install 'stoic[bench]'``, or
alone with ``pip install --no-deps zennit==0.5.1``; it imports torchvision. Zennit 1.0
wants Python 3.11.11 or later.

The difference is that of the two relevances of all pixels, in the 2-norm of each image,
relative to ours; the worst image counts. Networks with residual sums are changed for
zennit, which sees modules only: torchvision's by its own canonizers, Lite0 by one made
here. Zennit 0.5.1 leaves a folded norm its epsilon, so that it still divides by
``sqrt(1 + epsilon)`` and explains a slightly other network: ``as it is`` says how far
that leads, ``apart`` is the difference once it is mended. What nobody gets, biases and
stabilisers have: ``left`` is what is missing of the score then. The command exits 1 if
a difference in float64 is above 1e-4 or more than 1e-6 is left.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from benchmarks import printing
from benchmarks.networks import calibrate, centred, pictures
from torch import Tensor, nn

import stoic
from stoic.cases import CaseError
from stoic.causes.relevance.composite import Composite
from stoic.causes.relevance.propagation import Propagation
from stoic.causes.relevance.rules import AlphaBeta, Epsilon, Gamma, WSquare, ZPlus

__all__ = ["COMPOSITES", "Found", "compared", "main", "theirs"]

_FURTHEST = 1e-4
_LEFT = 1e-6

# Zennit folds a norm into what is before it and lets relevance pass all others.
COMPOSITES: dict[str, Composite] = {
    "epsilon plus": Composite(ZPlus(), Epsilon(), onwards=False),
    "HUDD": Composite(Epsilon(), ZPlus(bias=False), onwards=False),
    "gamma": Composite(Gamma(0.25), Epsilon(), onwards=False),
    "alpha 2, beta 1, w²": Composite(
        AlphaBeta(), Epsilon(), first=WSquare(), onwards=False
    ),
}


@dataclass(frozen=True)
class Found:
    """How two relevances compare.

    Args:
        network: Which one.
        about: What was done for zennit.
        composite: Which rules.
        dtype: The format.
        apart: Relative difference of the worst image; nothing without zennit.
        shipped: Likewise, with the epsilon of folded norms left in.
        left: Share of the score that is in no account.
        bias: Median share that biases take.
        ours_s: Seconds.
        theirs_s: Of zennit.
    """

    network: str
    about: str
    composite: str
    dtype: str
    apart: float | None
    shipped: float | None
    left: float
    bias: float
    ours_s: float
    theirs_s: float | None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.relevance", description=__doc__
    )
    printing.common_options(parser, threads=1)
    parser.add_argument("--images", type=int, default=8)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    found = []
    for name, make in _NETWORKS.items():
        try:
            network, images, about = make(2 if options.quick else options.images)
        except (CaseError, ModuleNotFoundError) as error:
            printing.say(f"{name}: left out, {error}")
            continue
        printing.say(name)
        for named in COMPOSITES:
            for dtype in (torch.float64, torch.float32):
                found.append(compared(name, network, images, named, dtype, about))
        if options.quick:
            break
    record = {"benchmark": "relevance", "found": [vars(each) for each in found]}
    printing.show(record, _text(found), as_json=options.json)
    return int(any(map(_falls_short, found)))


def _falls_short(found: Found) -> bool:
    apart = found.apart or 0.0
    exact = found.dtype == "float64"
    return exact and not (apart <= _FURTHEST and found.left <= _LEFT)


def compared(
    name: str,
    network: nn.Module,
    images: Tensor,
    composite: str,
    dtype: torch.dtype,
    about: str = "",
) -> Found:
    """Explain the predicted class of each image, ours and zennit's way."""
    made = Propagation.of(network, images, COMPOSITES[composite], dtype=dtype)
    began = time.perf_counter()
    ours = made(images)
    ours_s = time.perf_counter() - began
    relevance = ours.at[made.image]
    sums = relevance.flatten(1).sum(1) + ours.bias + ours.absorbed
    sizes = ours.scores.abs().clamp(min=1e-9)
    apart = shipped = theirs_s = None
    if not about.startswith("not by zennit"):
        began = time.perf_counter()
        mended = theirs(network, images, composite, dtype)
        theirs_s = time.perf_counter() - began
        apart = _apart(relevance, mended)
        raw = theirs(network, images, composite, dtype, mended=False)
        shipped = _apart(relevance, raw)
    return Found(
        network=name,
        about=about,
        composite=composite,
        dtype=str(dtype).removeprefix("torch."),
        apart=apart,
        shipped=shipped,
        left=float(((ours.scores - sums) / sizes).abs().max()),
        bias=float((ours.bias / sizes).median()),
        ours_s=ours_s,
        theirs_s=theirs_s,
    )


def _apart(ours: Tensor, other: Tensor) -> float:
    lengths = ours.flatten(1).norm(dim=1)
    return float(((other - ours).flatten(1).norm(dim=1) / lengths).max())


def theirs(
    network: nn.Module,
    images: Tensor,
    composite: str,
    dtype: torch.dtype,
    *,
    mended: bool = True,
) -> Tensor:
    """Return zennit's relevance of every pixel for the predicted class."""
    from zennit.attribution import Gradient

    given = {key: value.clone() for key, value in network.state_dict().items()}
    network.to(dtype)
    try:
        rules = _composite(composite, mended)
        with Gradient(model=network, composite=rules) as attributor:
            _, relevance = attributor(images.to(dtype), _predicted)
    finally:
        network.to(torch.float32)
        network.load_state_dict(given)
    found: Tensor = relevance.detach()
    return found


def _predicted(output: Tensor) -> Tensor:
    best = output.argmax(1, keepdim=True)
    return torch.zeros_like(output).scatter_(1, best, output.gather(1, best))


def _composite(name: str, mended: bool) -> Any:
    """Return zennit's composite of the same rules."""
    from zennit import rules
    from zennit.composites import SpecialFirstLayerMapComposite, layer_map_base
    from zennit.types import Convolution, Linear

    convolution, linear, first = {
        "epsilon plus": (rules.ZPlus(), rules.Epsilon(), None),
        "HUDD": (rules.Epsilon(), rules.ZPlus(zero_params="bias"), None),
        "gamma": (rules.Gamma(0.25), rules.Epsilon(), None),
        "alpha 2, beta 1, w²": (
            rules.AlphaBeta(2, 1),
            rules.Epsilon(),
            rules.WSquare(zero_params="bias"),
        ),
    }[name]
    kinds = [(Convolution, convolution), (nn.Linear, linear)]
    firsts = [] if first is None else [(Linear, first)]
    return SpecialFirstLayerMapComposite(
        layer_map=layer_map_base() + kinds,
        first_map=firsts,
        canonizers=_canonizers(mended),
    )


def _canonizers(mended: bool) -> list[Any]:
    """Fold norms into what is before them, and make modules of residual sums."""
    from zennit.canonizers import AttributeCanonizer, SequentialMergeBatchNorm
    from zennit.layer import Sum
    from zennit.torchvision import ResNetBasicBlockCanonizer

    from stoic.cases.imagenet import lite0

    def forward(block: Any, inputs: Tensor) -> Tensor:
        outputs: Tensor = block.project(block.depthwise(block.expand(inputs)))
        if not block.residual:
            return outputs
        summed: Tensor = block.residual_sum(torch.stack([inputs, outputs], -1))
        return summed

    def changed(name: str, module: nn.Module) -> dict[str, Any] | None:
        if not isinstance(module, lite0._Block):
            return None
        return {"forward": forward.__get__(module), "residual_sum": Sum()}

    class Mended(SequentialMergeBatchNorm):  # type: ignore[misc]
        """Fold a norm, and leave it nothing to do at all."""

        def register(self, linears: Any, batch_norm: Any) -> None:
            super().register(linears, batch_norm)
            self.eps, batch_norm.eps = batch_norm.eps, 0.0

        def remove(self) -> None:
            super().remove()
            self.batch_norm.eps = self.eps

    folding = Mended() if mended else SequentialMergeBatchNorm()
    return [folding, ResNetBasicBlockCanonizer(), AttributeCanonizer(changed)]


_Made = tuple[nn.Module, Tensor, str]


def _case(name: str, about: str) -> Callable[[int], _Made]:
    def make(images: int) -> _Made:
        case = stoic.load(name, images)
        assert isinstance(case.inputs, Tensor)
        return case.network, case.inputs, about

    return make


def _torchvision(name: str, about: str) -> Callable[[int], _Made]:
    """Return a network of torchvision, with random weights and sensible norms."""

    def make(images: int) -> _Made:
        import torchvision

        network = getattr(torchvision.models, name)(num_classes=10).eval()
        calibrate(network, 64, 0)
        given = pictures(images, 64, 0)
        centred(network, given)
        return network, given, about

    return make


_NETWORKS: dict[str, Callable[[int], _Made]] = {
    "signs": _case("signs", "norms folded"),
    "fashion-vgg": _case("fashion-vgg", "norms folded"),
    "cifar10-vgg": _case("cifar10-vgg", "norms follow ReLU: passed"),
    "resnet18": _torchvision("resnet18", "its canonizer"),
    "Lite0": _case("imagenet", "a canonizer of ours"),
    "SqueezeNet": _case("imagenet-squeezenet", "as it is"),
    "MobileNet-V3": _torchvision(
        "mobilenet_v3_small", "not by zennit: gates and sums are no modules"
    ),
}


def _text(found: Sequence[Found]) -> str:
    return "\n\n".join(_tables(found))


def _tables(found: Sequence[Found]) -> Iterator[str]:
    heads = ["network", "rules", "format", "apart", "as it is", "left", "bias"]
    heads += ["s", "zennit s"]
    yield printing.table(
        heads,
        [
            [
                each.network,
                each.composite,
                each.dtype,
                "" if each.apart is None else f"{each.apart:.1e}",
                "" if each.shipped is None else f"{each.shipped:.1e}",
                f"{each.left:.1e}",
                f"{each.bias:.0%}",
                f"{each.ours_s:.2f}",
                "" if each.theirs_s is None else f"{each.theirs_s:.2f}",
            ]
            for each in found
        ],
    )
    about = dict.fromkeys((each.network, each.about) for each in found)
    yield "\n".join(f"{network}: {text}" for network, text in about)


if __name__ == "__main__":
    raise SystemExit(main())
