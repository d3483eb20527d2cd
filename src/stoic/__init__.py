"""Stoic tells an engineer how a neural network takes a hit."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stoic.cases import Case, failing, load
    from stoic.conditioning import condition
    from stoic.explaining import explain
    from stoic.predicting import predict
    from stoic.study import Measured, open_measured, pvf
    from stoic.widths import bits

__version__ = "0.1.0"
__all__ = [
    "Case",
    "Measured",
    "__version__",
    "bits",
    "condition",
    "explain",
    "failing",
    "load",
    "open_measured",
    "predict",
    "pvf",
]

# Imported when asked for: `import stoic` costs little more than `import torch`.
_HOMES = {
    "Case": "stoic.cases",
    "Measured": "stoic.study",
    "bits": "stoic.widths",
    "condition": "stoic.conditioning",
    "explain": "stoic.explaining",
    "failing": "stoic.cases",
    "load": "stoic.cases",
    "open_measured": "stoic.study",
    "predict": "stoic.predicting",
    "pvf": "stoic.study",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
