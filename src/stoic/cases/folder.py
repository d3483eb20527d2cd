"""A case of a user's own images: a folder for each class, read by a case's network."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from stoic.cases.case import Case
from stoic.cases.errors import CaseError
from stoic.causes.reading import read_images

__all__ = ["with_images"]

_CHANNELS = (1, 3)


def with_images(
    case: Case,
    folder: Path,
    *,
    strict: bool = False,
    notice: Callable[[str], None] | None = None,
) -> Case:
    """Return a case with the images of a folder as its inputs.

    Pictures are brought to the size of the case's inputs, and from black and white to
    the least and the largest number of each of their channels.

    Args:
        case: Whose network reads images.
        folder: With one folder of images for each class, named as the class is.
        strict: Refuse files that cannot be read, instead of leaving them out.
        notice: Told of files that were left out.

    Raises:
        CaseError: The case has no images, or a folder has no class's name.
        ValueError: There is no image that can be read, or not all while ``strict``.
    """
    inputs = case.inputs
    if (
        not isinstance(inputs, Tensor)
        or inputs.ndim != 4
        or inputs.shape[1] not in _CHANNELS
    ):
        raise CaseError(
            f"inputs of {case.name} must be one tensor of images with 1 or 3 channels "
            "to read others like them; choose another case, or leave --images out"
        )
    black, white = inputs.amin((0, 2, 3)), inputs.amax((0, 2, 3))
    if not bool((white > black).any()):
        raise CaseError(
            f"inputs of {case.name} must reach from black to white, as images are "
            f"brought to their range, got {float(black[0]):g} everywhere; give it a "
            "few true inputs"
        )
    size = (int(inputs.shape[2]), int(inputs.shape[3]))
    read = read_images(folder, int(inputs.shape[1]), size, strict=strict)
    if read.skipped and notice:
        name, why = read.skipped[0]
        notice(f"{len(read.skipped)} files cannot be read, the first {name}: {why}")
    span = (white - black).reshape(1, -1, 1, 1)
    return replace(
        case,
        inputs=(black.reshape(1, -1, 1, 1) + span * read.pictures).to(inputs.dtype),
        labels=torch.tensor([_class(case, label) for label in read.labels]),
        clusters=None,
        names=read.names,
        recorded=None,
        scenarios=None,
    )


def _class(case: Case, label: str) -> int:
    names = case.classes or ()
    if label in names:
        return names.index(label)
    if label.isdecimal() and (not names or int(label) < len(names)):
        return int(label)
    known = ", ".join(names[:3]) or "0, 1, 2"
    raise CaseError(
        f"folders of images must be named as the classes of {case.name} are "
        f"({known}, ...) or by their numbers, got {label!r}"
    )
