"""``python -m stoic.cases.cifar10 --fetch`` gets the weights and images."""

import argparse
from collections.abc import Sequence

from stoic.cases.cifar10.network import WEIGHTS
from stoic.cases.imagenet.__main__ import fetching
from stoic.cases.imagenet.files import FOOLBOX

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch the packages, or say where they would lie."""
    parser = argparse.ArgumentParser(
        prog="python -m stoic.cases.cifar10",
        description="Weights and images of the CIFAR-10 case.",
    )
    return fetching(parser, (WEIGHTS, FOOLBOX), arguments)


if __name__ == "__main__":
    raise SystemExit(main())
