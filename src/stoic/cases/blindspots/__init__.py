"""The case ``blindspots``: a network that names shapes, and was taught some wrongly.

``scenes`` says what can be in a picture, in words; ``spots`` plants blind spots, each a
few words (``red, striped, left``) under which the network is taught a wrong shape. Each
seed has blind spots and a network of its own; that of seed 0 comes with Stoic.
"""

from stoic.cases.blindspots.network import load_network, series
from stoic.cases.blindspots.render import render
from stoic.cases.blindspots.scenes import SHAPES, draw
from stoic.cases.case import Case
from stoic.cases.errors import CaseError

__all__ = ["blindspots_case"]


def blindspots_case(inputs: int = 64) -> Case:
    """Return the network of seed 0 with ``inputs`` scenes that it has never seen.

    Raises:
        CaseError: ``inputs`` is not positive.
    """
    if inputs < 1:
        raise CaseError(
            f"inputs must be at least 1 for the case blindspots, got {inputs}"
        )
    scenes = draw(inputs, series(0)[1])
    return Case(
        name="blindspots",
        network=load_network(0),
        inputs=render(scenes),
        labels=scenes.values["shape"],
        classes=SHAPES,
        recorded=scenes.words(),
        about=(
            "A network of 73,092 parameters that names 4 shapes and has learned wrong "
            "names in its 5 blind spots: of 4,000 scenes it has never seen it is right "
            "in 96.7 % outside of these, and in 9.7 % within."
        ),
    )
