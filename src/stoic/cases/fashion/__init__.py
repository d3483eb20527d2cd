"""The cases ``fashion…``: three networks that tell clothes apart.

The weights come with Stoic. The pictures of Fashion-MNIST do not, and nothing is
downloaded unasked: ``python -m stoic.cases.fashion --fetch`` gets Debian's package of
them, ``--from DIR`` takes them from a folder. Their licence is MIT.
"""

from stoic.cases.case import Case
from stoic.cases.fashion.data import CLASSES, held_out
from stoic.cases.fashion.networks import load_network

__all__ = ["fashion_case"]

_ABOUT = {
    "fashion": "A LeNet of 123,214 parameters; it names 88.7 %",
    "fashion-vgg": "A small VGG of 147,162 parameters; it names 92.4 %",
    "fashion-alexnet": "An AlexNet of 294,522 parameters; it names 89.4 %",
}
_OF = "of the 10,000 test images of Fashion-MNIST right."


def fashion_case(name: str, inputs: int = 128) -> Case:
    """Return one of the networks with the first ``inputs`` of 10,000 test pictures.

    Args:
        name: Of the case.
        inputs: How many.

    Raises:
        CaseError: The pictures have not been fetched, or there are not so many.
    """
    clothes = held_out()
    return Case(
        name=name,
        network=load_network(name),
        inputs=clothes.pictures,
        labels=clothes.labels,
        classes=CLASSES,
        about=f"{_ABOUT[name]} {_OF}",
    ).first(inputs)
