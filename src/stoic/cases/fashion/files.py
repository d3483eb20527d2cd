"""The four files of Fashion-MNIST: fetched or taken on command, and checked."""

import gzip
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stoic.cases.cache import cache_folder
from stoic.cases.errors import CaseError

__all__ = ["FETCH", "FILES", "File", "adopt", "fetch", "opened", "path_of"]

FETCH = "python -m stoic.cases.fashion --fetch"
"""The command that fetches all files."""

_PACKAGE = "dataset-fashion-mnist"
# Where the files lie below a folder that is given: in it, in what torchvision has
# downloaded, or in what Debian's package unpacks to.
_PLACES = ("", "raw", "FashionMNIST/raw", "usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class File:
    """One file of the data set.

    Args:
        name: As everybody calls it; packed, it ends in ``.gz``.
        sha256: What its unpacked content must hash to.
    """

    name: str
    sha256: str


FILES = {
    "learned pictures": File(
        "train-images-idx3-ubyte",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "learned labels": File(
        "train-labels-idx1-ubyte",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    "held-out pictures": File(
        "t10k-images-idx3-ubyte",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    "held-out labels": File(
        "t10k-labels-idx1-ubyte",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}


def path_of(file: File) -> Path:
    """Return where a file lies, unpacked, once it is there."""
    return cache_folder() / "fashion-mnist" / file.name


def opened(file: File) -> bytes:
    """Return the content of a file, after checking it.

    Raises:
        CaseError: It is not there, or its content is not the pinned one.
    """
    path = path_of(file)
    if not path.is_file():
        raise CaseError(
            f"{file.name} must be in {path.parent}, got no such file; fetch it: {FETCH}"
            ", or take it from a folder: --from DIR instead of --fetch"
        )
    return _checked(path.read_bytes(), file, path)


def fetch() -> None:
    """Get what is missing out of Debian's package, into the cache folder.

    Raises:
        CaseError: This is no Debian, the package cannot be had, or it is another one.
    """
    missing = [file for file in FILES.values() if not path_of(file).is_file()]
    for file in set(FILES.values()) - set(missing):
        opened(file)
    if not missing:
        return
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise CaseError(
            "--fetch must be run where apt-get and dpkg are, got a system without; "
            "give a folder with the four files of Fashion-MNIST: --from DIR"
        )
    with tempfile.TemporaryDirectory() as scratch:
        _run(("apt-get", "--quiet", "download", _PACKAGE), scratch)
        (archive,) = Path(scratch).glob("*.deb")
        _run(("dpkg", "-x", archive.name, "."), scratch)
        adopt(Path(scratch), missing)


def adopt(folder: Path, files: Sequence[File] | None = None) -> None:
    """Take files from a folder, packed or not, into the cache folder.

    Args:
        folder: That holds them, torchvision's copy, or Debian's package unpacked.
        files: Which; all of them by default.

    Raises:
        CaseError: One is not there, or its content is not the pinned one.
    """
    for file in FILES.values() if files is None else files:
        found = _found(folder, file)
        content = found.read_bytes()
        if found.suffix == ".gz":
            content = _unpacked(content, found)
        _write(path_of(file), _checked(content, file, found))


def _run(command: Sequence[str], folder: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        reason = (done.stderr.strip() or "no message").splitlines()[-1]
        raise CaseError(
            f"{_PACKAGE} cannot be fetched: {reason}; run 'apt-get update', or give a "
            "folder with the four files of Fashion-MNIST: --from DIR"
        )


def _found(folder: Path, file: File) -> Path:
    for place in _PLACES:
        for name in (file.name, f"{file.name}.gz"):
            path = folder / place / name
            if path.is_file():
                return path
    raise CaseError(
        f"folder must hold {file.name} or {file.name}.gz, got {folder} without; "
        "give the folder of Fashion-MNIST's four files"
    )


def _unpacked(content: bytes, path: Path) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError) as error:
        raise CaseError(f"{path} must be a gzip file, got {error}") from error


def _checked(content: bytes, file: File, path: Path) -> bytes:
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise CaseError(
            f"{path} must have SHA-256 {file.sha256}, got {found}; "
            f"delete it and fetch it again: {FETCH}"
        )
    return content


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        whole = Path(scratch) / path.name
        whole.write_bytes(content)
        # Renamed whole, so that a file with the right name is never half a file.
        os.replace(whole, path)
