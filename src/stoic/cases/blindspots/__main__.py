"""``python -m stoic.cases.blindspots``: how well networks with blind spots see.

With ``--train``, the network of seed 0 is trained and written beside this file. On one
machine with one number of threads, the same bits come out every time.
"""

import argparse
from collections.abc import Sequence

import torch
from safetensors.torch import save_file

from stoic.cases.afflicted.stage import scores_of
from stoic.cases.blindspots.network import WEIGHTS, load_network, series, train
from stoic.cases.blindspots.render import render
from stoic.cases.blindspots.scenes import draw
from stoic.cases.blindspots.spots import plant

__all__ = ["main"]

_SCENES = 4_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Print, for each seed, how often its network is right in and out of its spots."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--train", action="store_true", help="train that of seed 0")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.train:
        save_file(train(0).state_dict(), WEIGHTS)
    for seed in options.seeds:
        _report(seed)
    return 0


def _report(seed: int) -> None:
    scenes = draw(_SCENES, series(seed)[1])
    scores = scores_of(load_network(seed), render(scenes))
    right = scores.argmax(1) == scenes.values["shape"]
    outside = torch.ones(_SCENES, dtype=torch.bool)
    for spot in plant(seed):
        inside = spot.covers(scenes)
        outside &= ~inside
        print(f"{seed}: {float(right[inside].double().mean()):.3f} right: {spot.name}")
    print(f"{seed}: {float(right[outside].double().mean()):.4f} right: all others")


if __name__ == "__main__":
    raise SystemExit(main())
