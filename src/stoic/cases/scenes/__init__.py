"""The case ``scenes``: a network that finds several signs in each of rendered scenes.

``layout`` says what is in the pictures and where, ``render`` takes them, ``network``
looks at them, and ``detect``, outside of the network's graph, makes detections of what
it returns. Artwork, backdrops and camera are those of the case ``signs``.
"""

from stoic.cases.case import Case
from stoic.cases.errors import CaseError
from stoic.cases.scenes.detect import detect
from stoic.cases.scenes.layout import HELD_OUT, draw, truth
from stoic.cases.scenes.network import load_network
from stoic.cases.scenes.render import render
from stoic.cases.signs.art import SIGNS

__all__ = ["scenes_case"]


def scenes_case(inputs: int = 64) -> Case:
    """Return the network with the first ``inputs`` scenes held out from its training.

    Labels are boxes and classes; a fault counts where it changes what is detected.

    Raises:
        CaseError: ``inputs`` is not positive.
    """
    if inputs < 1:
        raise CaseError(f"inputs must be at least 1 for the case scenes, got {inputs}")
    scenes = draw(inputs, seed=HELD_OUT)
    return Case(
        name="scenes",
        network=load_network(),
        inputs=render(scenes),
        labels=truth(scenes),
        classes=tuple(sign.name for sign in SIGNS),
        tail=detect,
        criterion="detections-changed",
        about=(
            "A one-stage detector of 353,345 parameters that finds 44 safety and road "
            "signs in rendered scenes, 1 to 5 in each."
        ),
    )
