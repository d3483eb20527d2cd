"""Train the network of the digits: ``python -m stoic.cases.digits.train``.

Writes ``weights.safetensors`` and prints the accuracy on the digits held out. On one
machine with one number of threads, the same bits come out every time.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from stoic.cases.digits.data import Digits, held_out, learned
from stoic.cases.digits.network import WEIGHTS, build_network

__all__ = ["accuracy", "main", "train"]

_BATCH = 32
_EPOCHS = 40
_PEAK_RATE = 1e-2
_WEIGHT_DECAY = 1e-3


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, write the weights, and print the accuracy."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where to write")
    out: Path = parser.parse_args(arguments).out
    torch.set_num_threads(1)
    network = train(learned())
    save_file(network.state_dict(), out)
    print(f"accuracy: {accuracy(network, held_out()):.4f}")
    return 0


def train(digits: Digits) -> nn.Sequential:
    """Train a network on ``digits``, from a fixed seed."""
    torch.manual_seed(0)
    network = build_network()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=_WEIGHT_DECAY)
    batches = -(-len(digits.labels) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=_PEAK_RATE, total_steps=_EPOCHS * batches
    )
    for _ in range(_EPOCHS):
        for batch in torch.randperm(len(digits.labels)).split(_BATCH):
            scores = network(digits.pictures[batch])
            loss = nn.functional.cross_entropy(scores, digits.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


@torch.inference_mode()
def accuracy(network: nn.Module, digits: Digits) -> float:
    """Return the share of the digits that the network reads right."""
    right = network(digits.pictures).argmax(1) == digits.labels
    return float(right.double().mean())


if __name__ == "__main__":
    raise SystemExit(main())
