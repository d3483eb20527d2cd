"""Train the network of the gaze: ``python -m stoic.cases.gaze.train``.

Renders its own pictures, trains on them, writes ``weights.safetensors`` and prints the
accuracy on pictures never seen, nominal and under each known cause. On one machine
with one number of threads, the same bits come out every time.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from stoic.cases.afflicted.stage import scores_of
from stoic.cases.afflicted.table import Table, afflict
from stoic.cases.gaze.network import WEIGHTS, build_network, load_network
from stoic.cases.gaze.render import render
from stoic.cases.gaze.scenes import CAUSES, HELD_OUT, LEARNED, nominal

__all__ = ["accuracy", "main", "train"]

_BATCH = 128
_PEAK_RATE = 3e-3
_WEIGHT_DECAY = 1e-3


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, write the weights, and print the accuracy by cause."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where to write")
    parser.add_argument("--pictures", type=int, default=9_000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--evaluate", action="store_true", help="do not train: only print the accuracy"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.evaluate:
        network = load_network()
    else:
        network = train(options.pictures, epochs=options.epochs)
        save_file(network.state_dict(), options.out)
    print(f"nominal: {accuracy(network, nominal(5_400, HELD_OUT)):.4f}")
    fewer = nominal(900, HELD_OUT)
    everywhere = torch.ones(len(fewer), dtype=torch.bool)
    for cause in CAUSES:
        found = accuracy(network, afflict(fewer, cause, everywhere))
        print(f"{cause.name}: {found:.4f}")
    return 0


def train(pictures: int, *, epochs: int) -> nn.Sequential:
    """Train a network on rendered pictures, from a fixed seed."""
    torch.manual_seed(0)
    network = build_network()
    scenes = nominal(pictures, LEARNED)
    inputs, labels = render(scenes), scenes.label
    steps = epochs * (len(inputs) // _BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=_PEAK_RATE, total_steps=steps
    )
    for epoch in range(epochs):
        for batch in _batches(len(inputs)):
            loss = nn.functional.cross_entropy(network(inputs[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {epochs}: loss {loss.item():.4f}", flush=True)
    return network.eval()


def _batches(count: int) -> Iterator[Tensor]:
    """Yield random whole batches of ``range(count)``; what is left over is dropped."""
    yield from torch.randperm(count)[: count - count % _BATCH].split(_BATCH)


def accuracy(network: nn.Module, scenes: Table) -> float:
    """Return the share of the scenes in which the network sees where the eye looks."""
    right = scores_of(network, render(scenes)).argmax(1) == scenes.label
    return float(right.double().mean())


if __name__ == "__main__":
    raise SystemExit(main())
