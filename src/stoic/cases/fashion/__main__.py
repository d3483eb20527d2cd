"""``python -m stoic.cases.fashion --fetch`` gets the pictures of Fashion-MNIST."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from stoic.cases.errors import CaseError
from stoic.cases.fashion import files

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch or take the files, or say where they would lie."""
    parser = argparse.ArgumentParser(
        prog="python -m stoic.cases.fashion",
        description="Pictures of the Fashion-MNIST cases.",
    )
    way = parser.add_mutually_exclusive_group()
    way.add_argument(
        "--fetch",
        action="store_true",
        help="download what is missing with Debian's apt-get, and check it",
    )
    way.add_argument(
        "--from",
        type=Path,
        dest="folder",
        metavar="DIR",
        help="take the four files, .gz or not, from a folder; torchvision's will do",
    )
    options = parser.parse_args(arguments)
    try:
        if options.fetch:
            files.fetch()
        elif options.folder:
            files.adopt(options.folder)
    except (CaseError, OSError) as error:
        print(f"stoic: {error}", file=sys.stderr)
        return 2
    for file in files.FILES.values():
        path = files.path_of(file)
        print(f"{'have' if path.is_file() else 'lack'} {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
