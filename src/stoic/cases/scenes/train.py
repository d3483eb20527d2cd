"""Train the network of the scenes: ``python -m stoic.cases.scenes.train``.

Renders its own pictures, trains on them, writes ``weights.safetensors`` and prints the
mean average precision on pictures never seen; with ``--evaluate`` only that. On one
machine with one number of threads, the same bits come out every time.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, UInt8
from safetensors.torch import save_file
from torch import Tensor, nn

from stoic.cases.scenes.detect import detect, middles
from stoic.cases.scenes.layout import HELD_OUT, LEARNED, TUNED, draw, truth
from stoic.cases.scenes.network import CELL, WEIGHTS, build_network, load_network
from stoic.cases.scenes.precision import mean_average_precision
from stoic.cases.scenes.render import render
from stoic.cases.signs.art import SIGNS

__all__ = ["loss_of", "main", "precision", "train"]

_BATCH = 64
_PEAK_RATE = 3e-3
_WEIGHT_DECAY = 1e-4
_NEAR = 1.5

Raw = Float32[Tensor, "scene channel row column"]
Truth = Float32[Tensor, "scene most 5"]
Pictures = UInt8[Tensor, "scene 3 size size"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and write the weights, or take those there are; print the precision."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where to write")
    parser.add_argument("--pictures", type=int, default=12_000)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--evaluate", action="store_true", help="train nothing")
    parser.add_argument("--tune", action="store_true", help="leave held-out ones alone")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.evaluate:
        network = load_network()
    else:
        network = train(options.pictures, epochs=options.epochs)
        save_file(network.state_dict(), options.out)
    series = TUNED if options.tune else HELD_OUT
    print(f"mAP50 of 1,000 scenes: {precision(network, 1000, seed=series):.4f}")
    return 0


def train(pictures: int, *, epochs: int) -> nn.Sequential:
    """Train a network on rendered pictures, from a fixed seed."""
    torch.manual_seed(0)
    network = build_network().to(memory_format=torch.channels_last)
    inputs, labels = _rendered(pictures)
    steps = epochs * (len(inputs) // _BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=_PEAK_RATE, total_steps=steps
    )
    for epoch in range(epochs):
        for batch in _batches(len(inputs)):
            raw = network(inputs[batch].float() / 255)
            loss = loss_of(raw, labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {epochs}: loss {loss.item():.4f}", flush=True)
    return network.to(memory_format=torch.contiguous_format).eval()


def _rendered(count: int) -> tuple[Pictures, Truth]:
    """Return pictures in whole numbers, which take a quarter of the memory."""
    scenes = draw(count, seed=LEARNED)
    pictures = [(render(part) * 255).round().byte() for part in scenes.split(256)]
    return torch.cat(pictures), truth(scenes)


def _batches(count: int) -> Iterator[Tensor]:
    """Yield random whole batches of ``range(count)``; what is left over is dropped."""
    yield from torch.randperm(count)[: count - count % _BATCH].split(_BATCH)


def loss_of(raw: Raw, labels: Truth) -> Float32[Tensor, ""]:
    """Add up what is wrong about where signs are, their boxes and their classes.

    A cell whose middle is near that of a sign is to find it, and to be as sure as its
    box is good; all others are to find none.
    """
    middle = middles(raw.shape[2], raw.shape[3])
    near = _near(middle, labels)
    scene, sign, cell = near.nonzero(as_tuple=True)
    cells = raw.flatten(2).transpose(1, 2)
    found, wanted = cells[scene, cell], labels[scene, sign]
    good = _goodness(found[:, 1:5], middle[cell], wanted[:, :4])
    sure = torch.zeros(cells.shape[:2])
    sure[scene, cell] = good.detach().clamp(0, 1)
    there = F.binary_cross_entropy_with_logits(cells[..., 0], sure, reduction="sum")
    which = F.cross_entropy(found[:, 5:], wanted[:, 4].long(), reduction="sum")
    return (there + which + 2 * (1 - good).sum()) / max(len(found), 1)


def _near(
    middles: Float32[Tensor, "cell 2"], labels: Truth
) -> Bool[Tensor, "scene most cell"]:
    """Say which cells are to find which sign."""
    left_top, right_bottom = labels[:, :, None, :2], labels[:, :, None, 2:4]
    inside = (middles > left_top) & (middles < right_bottom)
    close = (middles - (left_top + right_bottom) / 2).abs() < _NEAR * CELL
    real: Tensor = labels[..., 4:] >= 0
    return (inside & close).all(-1) & real


def _goodness(
    sides: Float32[Tensor, "sign 4"],
    middles: Float32[Tensor, "sign 2"],
    wanted: Float32[Tensor, "sign 4"],
) -> Float32[Tensor, " sign"]:
    """Return the overlap of boxes around one middle, less what is empty around both."""
    away = sides.exp() * CELL
    true = torch.cat([middles - wanted[:, :2], wanted[:, 2:] - middles], dim=1)
    common = _area(torch.minimum(away, true))
    union = _area(away) + _area(true) - common
    around = _area(torch.maximum(away, true))
    return common / union - (around - union) / around


def _area(sides: Float32[Tensor, "sign 4"]) -> Float32[Tensor, " sign"]:
    return (sides[:, 0] + sides[:, 2]) * (sides[:, 1] + sides[:, 3])


@torch.inference_mode()
def precision(network: nn.Module, count: int, *, seed: int) -> float:
    """Return the mean average precision at an overlap of 0.5, over all signs."""
    scenes = draw(count, seed=seed)
    found = torch.cat([detect(network(render(part))) for part in scenes.split(100)])
    return mean_average_precision(found, truth(scenes), classes=len(SIGNS))


if __name__ == "__main__":
    raise SystemExit(main())
