"""The case ``gaze``: a network that sees where an eye looks, in rendered pictures.

``scenes`` says what is in the pictures and ``render`` paints them, ``network`` reads
them. The eight ``CAUSES`` are known reasons for failing: closed lids, a turned head,
spectacles, light, lens and sensor.
"""

from stoic.cases.case import Case
from stoic.cases.errors import CaseError
from stoic.cases.gaze.network import load_network
from stoic.cases.gaze.render import render
from stoic.cases.gaze.scenes import DIRECTIONS, HELD_OUT, nominal

__all__ = ["gaze_case"]


def gaze_case(inputs: int = 64) -> Case:
    """Return the network with the first ``inputs`` scenes held out from its training.

    Raises:
        CaseError: ``inputs`` is not positive.
    """
    if inputs < 1:
        raise CaseError(f"inputs must be at least 1 for the case gaze, got {inputs}")
    scenes = nominal(inputs, HELD_OUT)
    return Case(
        name="gaze",
        network=load_network(),
        inputs=render(scenes),
        labels=scenes.label,
        classes=DIRECTIONS,
        recorded=dict(scenes.columns),
        about=(
            "A network of 86,969 parameters that sees in which of 9 directions a "
            "rendered eye looks; it is right in 99.9 % of 5,400 held-out pictures."
        ),
    )
