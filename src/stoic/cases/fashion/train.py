"""Train the networks of the clothes: ``python -m stoic.cases.fashion.train``.

Writes the weights and prints the accuracy on the pictures for validation, then on
those held out. On one machine with one number of threads, the same bits come out every
time. All choices were made by the pictures for validation.
"""

import argparse
from collections.abc import Sequence

import torch
from safetensors.torch import save_file
from torch import nn

from stoic.cases.fashion.data import VALIDATION, Clothes, held_out, learned
from stoic.cases.fashion.networks import NETWORKS, Design

__all__ = ["accuracy", "main", "train"]

_BATCH = 256
_PEAK_RATE = 3e-3


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, write the weights, and print the accuracy."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--case", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    clothes, others = learned(), held_out()
    for case in options.case:
        design = NETWORKS[case]
        network = train(design, clothes.part(None, -VALIDATION))
        save_file(network.state_dict(), design.weights)
        validation = accuracy(network, clothes.part(-VALIDATION, None))
        found = accuracy(network, others)
        print(f"{case}: validation {validation:.4f}, held out {found:.4f}", flush=True)
    return 0


def train(design: Design, clothes: Clothes) -> nn.Sequential:
    """Train a network on ``clothes``, from a fixed seed."""
    torch.manual_seed(0)
    network = design.build()
    count = len(clothes.labels)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=_PEAK_RATE, total_steps=design.epochs * -(-count // _BATCH)
    )
    for _ in range(design.epochs):
        for batch in torch.randperm(count).split(_BATCH):
            scores = network(clothes.pictures[batch])
            loss = nn.functional.cross_entropy(scores, clothes.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


@torch.inference_mode()
def accuracy(network: nn.Module, clothes: Clothes) -> float:
    """Return the share of the clothes that the network names."""
    right = [
        network(pictures).argmax(1) == labels
        for pictures, labels in zip(
            clothes.pictures.split(500), clothes.labels.split(500), strict=True
        )
    ]
    return float(torch.cat(right).double().mean())


if __name__ == "__main__":
    raise SystemExit(main())
