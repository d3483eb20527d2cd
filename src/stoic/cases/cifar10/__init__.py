"""The case ``cifar10-vgg``: a VGG-like network trained on CIFAR-10, and test images.

Nothing is downloaded unasked: ``python -m stoic.cases.cifar10 --fetch`` gets the
packages that hold weights and images. Their licences: ``cifar-10-model`` calls itself
BSD-3 and MIT, ``foolbox`` is MIT; the images are CIFAR-10's, and stay in the package
they came in.
"""

import io
import re
import zipfile

import numpy as np
import torch
from PIL import Image

from stoic.cases.case import Case
from stoic.cases.cifar10.network import load_network
from stoic.cases.imagenet.files import FOOLBOX, opened

__all__ = ["CLASSES", "cifar10_case"]

CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)

_NAME = re.compile(r"foolbox/data/cifar10_\d+_(?P<label>\d+)\.\w+")


def cifar10_case(inputs: int = 20) -> Case:
    """Return the network with the first ``inputs`` of 20 labelled test images.

    Raises:
        CaseError: A package is missing, or is not the pinned one.
    """
    network = load_network()
    pictures, labels = [], []
    with zipfile.ZipFile(opened(FOOLBOX)) as wheel:
        for name in sorted(wheel.namelist()):
            if match := _NAME.fullmatch(name):
                with Image.open(io.BytesIO(wheel.read(name))) as image:
                    pictures.append(np.array(image.convert("RGB")))
                labels.append(int(match["label"]))
    return Case(
        name="cifar10-vgg",
        network=network,
        inputs=torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float(),
        labels=torch.tensor(labels),
        classes=CLASSES,
        clusters=torch.arange(len(labels)),
        about="A VGG-like network (968,394 parameters) on 20 labelled CIFAR-10 images: "
        "20 right.",
    ).first(inputs)
