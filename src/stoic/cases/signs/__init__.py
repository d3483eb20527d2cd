"""The case ``signs``: a network that reads safety and road signs in rendered scenes.

``scenes`` says what is in the pictures and ``render`` takes them, ``network`` reads
them. The seven ``CAUSES`` are known reasons for failing: a cause can be given to any
scene and taken away again, with everything else in the picture as it was.
"""

from stoic.cases.case import Case
from stoic.cases.errors import CaseError
from stoic.cases.signs.art import SIGNS
from stoic.cases.signs.network import load_network
from stoic.cases.signs.render import render
from stoic.cases.signs.scenes import HELD_OUT, nominal

__all__ = ["signs_case"]


def signs_case(inputs: int = 64) -> Case:
    """Return the network with the first ``inputs`` scenes held out from its training.

    Pictures of one sign share its artwork, so they are one cluster.

    Raises:
        CaseError: ``inputs`` is not positive.
    """
    if inputs < 1:
        raise CaseError(f"inputs must be at least 1 for the case signs, got {inputs}")
    scenes = nominal(inputs, seed=HELD_OUT)
    return Case(
        name="signs",
        network=load_network(),
        inputs=render(scenes),
        labels=scenes.sign,
        classes=tuple(sign.name for sign in SIGNS),
        clusters=scenes.sign,
        about=(
            "A network of 285,196 parameters that reads 44 safety and road signs in "
            "rendered scenes; it reads all of 10,000 held-out scenes right."
        ),
    )
