"""The case ``digits``: a network so small that every fault of it can be tried."""

from stoic.cases.case import Case
from stoic.cases.digits.data import held_out
from stoic.cases.digits.network import load_network

__all__ = ["digits_case"]


def digits_case(inputs: int = 128) -> Case:
    """Return the network with ``inputs`` digits held out from its training."""
    digits = held_out()
    return Case(
        name="digits",
        network=load_network(),
        inputs=digits.pictures,
        labels=digits.labels,
        classes=tuple("0123456789"),
        about=(
            "A network of 3,658 parameters on scikit-learn's 8×8 digits; it reads "
            "98.0 % of the 600 held-out digits right."
        ),
    ).first(inputs)
