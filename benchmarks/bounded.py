"""Which of torchvision's networks have a bound, and what the others lack.

Run it as ``python -m benchmarks.bounded``. Weights are random, there are ten classes
and small pictures: whether each operator has a bound does not hang on these. It tells
what `stoic.condition` says of inputs moved by 2^-24 of their norm: *certified* where
every operator has a bound, *local* where only the derivative can be had, with the
operator that is in the way, and why where neither can; *infinite* is a bound that says
nothing, as values are multiplied that can move too far. The distance of the certified
bound from the local one is in powers of ten; of networks that nobody trained it only
tells how bounds grow with depth. It exits 1 where a network has lost its bound.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from benchmarks import printing
from benchmarks.networks import calibrate, pictures, revive
from torch import Tensor, nn

import stoic
from stoic.conditioning import Conditioned
from stoic.sensitivity.reach import NotKnownError

__all__ = ["NETWORKS", "main"]

_RADIUS = 2.0**-24
_CLASSES = 10


@dataclass(frozen=True)
class Built:
    """How a network of torchvision is made for this.

    Args:
        image: Pixels of a side.
        options: Of its maker, beside the classes.
        frames: Of a film; 0 for a picture.
        bounded: Whether every operator had a bound when this was written.
    """

    image: int = 64
    options: Mapping[str, Any] = field(default_factory=dict)
    frames: int = 0
    bounded: bool = True


_PLAIN = Built()
_AUXILIARY = {"aux_logits": False, "init_weights": False}
NETWORKS: Mapping[str, Built] = {
    "alexnet": _PLAIN,
    "vgg11": _PLAIN,
    "vgg11_bn": _PLAIN,
    "vgg19": _PLAIN,
    "resnet18": _PLAIN,
    "resnet50": _PLAIN,
    "resnext50_32x4d": _PLAIN,
    "wide_resnet50_2": _PLAIN,
    "densenet121": _PLAIN,
    "googlenet": Built(options=_AUXILIARY),
    "inception_v3": Built(96, _AUXILIARY),
    "squeezenet1_0": _PLAIN,
    "squeezenet1_1": _PLAIN,
    "mobilenet_v2": _PLAIN,
    "mobilenet_v3_small": _PLAIN,
    "mobilenet_v3_large": _PLAIN,
    "mnasnet0_5": _PLAIN,
    "shufflenet_v2_x0_5": _PLAIN,
    "efficientnet_b0": _PLAIN,
    "efficientnet_v2_s": _PLAIN,
    "regnet_x_400mf": _PLAIN,
    "regnet_y_400mf": _PLAIN,
    "convnext_tiny": _PLAIN,
    "vit_b_32": Built(options={"image_size": 64}),
    "swin_t": Built(bounded=False),
    "swin_v2_t": Built(bounded=False),
    "maxvit_t": Built(224, {"input_size": (224, 224)}),
    "r3d_18": Built(32, frames=4),
    "mc3_18": Built(32, frames=4),
    "r2plus1d_18": Built(32, frames=4),
    "s3d": Built(64, frames=16),
}
"""One or two of each family of classifiers, the smaller ones."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    rows = []
    for name in options.networks:
        rows.append(_row(name, options.seed))
        if not options.json:
            print(_line(rows[-1]), flush=True)
    counts = {kind: sum(row["kind"] == kind for row in rows) for kind in _KINDS}
    told = ", ".join(f"{kind} {count}" for kind, count in counts.items())
    record = {"benchmark": "bounded", "rows": rows}
    printing.show(record, f"\nof {len(rows)}: {told}", as_json=options.json)
    return int(any(row["lost"] for row in rows))


_KINDS = ("certified", "infinite", "local", "none")


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.bounded", description=__doc__
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=[*NETWORKS])
    printing.common_options(parser, threads=1)
    options = parser.parse_args(argv)
    if options.quick:
        options.networks = ["squeezenet1_1"]
    return options


def _row(name: str, seed: int) -> dict[str, Any]:
    """Return what is said of a network: bounds, the derivative alone, or nothing."""
    built = NETWORKS[name]
    network, x = _built(name, built, seed)
    row: dict[str, Any] = {"network": name, "image": built.image, "why": ""}
    begun = time.process_time()
    row |= {"kind": "none", "certified": None, "local": None, "gap": None}
    try:
        row |= _said(stoic.condition(network, x, **_ASKED))
    except NotKnownError as error:
        row["why"] = str(error)
        row |= _said(stoic.condition(network, x, **_ASKED, local_only=True))
    except ValueError as error:
        row["why"] = str(error)
    lost = built.bounded and row["kind"] in ("local", "none")
    return row | {"seconds": time.process_time() - begun, "lost": lost}


_ASKED: dict[str, Any] = {
    "radii": (_RADIUS,),
    "words": 0,
    "formats": (),
    "attacks": False,
}


def _said(found: Conditioned) -> dict[str, Any]:
    (answer,) = found.answers
    certified, local = answer.median("certified"), answer.median("local")
    gap = math.log10(certified / local) if certified and local else None
    if certified is None:
        kind = "local"
    else:
        kind = "certified" if math.isfinite(certified) else "infinite"
    return {"kind": kind, "certified": certified, "local": local, "gap": gap}


def _built(name: str, built: Built, seed: int) -> tuple[nn.Module, Tensor]:
    """Return a network with random weights that carry signals, and two inputs."""
    from torchvision import models

    torch.manual_seed(seed)
    maker = getattr(models.video if built.frames else models, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = maker(weights=None, num_classes=_CLASSES, **built.options).eval()
    revive(network)
    x = pictures(2, built.image, seed)
    if built.frames:
        return network, x[:, :, None].repeat(1, 1, built.frames, 1, 1)
    calibrate(network, built.image, seed)
    return network, x


def _line(row: Mapping[str, Any]) -> str:
    numbers = [
        "" if row[name] is None else f"{row[name]:{form}}"
        for name, form in (("certified", ".3g"), ("local", ".3g"), ("gap", "+.1f"))
    ]
    return (
        f"{row['network']:<20} {row['image']:>4}  {row['kind']:<10}"
        + "".join(f"{number:>10}" for number in numbers)
        + f"{row['seconds']:>8.0f} s  {row['why']}"
    ).rstrip()


if __name__ == "__main__":
    raise SystemExit(main())
