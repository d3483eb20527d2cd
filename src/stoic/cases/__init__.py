"""Real networks with real data, ready to be assessed.

``load("signs")`` returns a built-in case, ``load("module:function")`` one of your own;
``failing`` returns inputs that a case gets wrong.
Listing the cases needs no torch, so what does is imported when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from stoic.cases.catalogue import Entry, catalogue, load
from stoic.cases.errors import CaseError
from stoic.cases.origins import failing

if TYPE_CHECKING:
    from stoic.cases.case import Case
    from stoic.cases.user import load_user

__all__ = ["Case", "CaseError", "Entry", "catalogue", "failing", "load", "load_user"]

_NEEDS_TORCH = {"Case": "stoic.cases.case", "load_user": "stoic.cases.user"}


def __getattr__(name: str) -> object:
    if name in _NEEDS_TORCH:
        return getattr(import_module(_NEEDS_TORCH[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
