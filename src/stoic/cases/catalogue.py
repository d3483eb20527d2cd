"""The built-in cases: what they are called and what they need. No torch here."""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from stoic.cases.errors import CaseError

if TYPE_CHECKING:
    import stoic.cases.case
    import stoic.causes.failures

__all__ = ["Entry", "catalogue", "entry_of", "load"]


@dataclass(frozen=True)
class Entry:
    """One built-in case.

    Args:
        name: What to call it on the command line.
        about: What it is, in one line.
        needs: The command that gets what it needs; empty if it needs nothing.
        inputs: How many inputs it gives if not told otherwise.
        make: Make it with so many inputs.
        most: How many inputs it has; 0 if as many as are asked for.
        failing: Find so many failures of known cause, from a seed. Without it, they
            are the inputs that the network gets wrong.
    """

    name: str
    about: str
    needs: str
    inputs: int
    make: Callable[[int], "stoic.cases.case.Case"]
    most: int = 0
    failing: Callable[[int, int], "stoic.causes.failures.Inquiry"] | None = None


def _signs(inputs: int) -> "stoic.cases.case.Case":
    from stoic.cases.signs import signs_case

    return signs_case(inputs)


def _signs_failing(count: int, seed: int) -> "stoic.causes.failures.Inquiry":
    from stoic.cases.signs.failing import signs_failing

    return signs_failing(count, seed).inquiry


def _scenes(inputs: int) -> "stoic.cases.case.Case":
    from stoic.cases.scenes import scenes_case

    return scenes_case(inputs)


def _digits(inputs: int) -> "stoic.cases.case.Case":
    from stoic.cases.digits import digits_case

    return digits_case(inputs)


def _lite0(inputs: int) -> "stoic.cases.case.Case":
    from stoic.cases.imagenet import lite0_case

    return lite0_case(inputs)


def _squeezenet(inputs: int) -> "stoic.cases.case.Case":
    from stoic.cases.imagenet import squeezenet_case

    return squeezenet_case(inputs)


def _cifar10(inputs: int) -> "stoic.cases.case.Case":
    from stoic.cases.cifar10 import cifar10_case

    return cifar10_case(inputs)


def _fashion(name: str) -> Callable[[int], "stoic.cases.case.Case"]:
    def make(inputs: int) -> "stoic.cases.case.Case":
        from stoic.cases.fashion import fashion_case

        return fashion_case(name, inputs)

    return make


def _fashion_failing(
    name: str,
) -> Callable[[int, int], "stoic.causes.failures.Inquiry"]:
    def find(count: int, seed: int) -> "stoic.causes.failures.Inquiry":
        from stoic.cases.fashion.failing import fashion_failing

        return fashion_failing(name, count, seed).inquiry

    return find


def _gaze(inputs: int) -> "stoic.cases.case.Case":
    from stoic.cases.gaze import gaze_case

    return gaze_case(inputs)


def _gaze_failing(count: int, seed: int) -> "stoic.causes.failures.Inquiry":
    from stoic.cases.gaze.failing import gaze_failing

    return gaze_failing(count, seed).inquiry


def _blindspots(inputs: int) -> "stoic.cases.case.Case":
    from stoic.cases.blindspots import blindspots_case

    return blindspots_case(inputs)


def _blindspots_failing(count: int, seed: int) -> "stoic.causes.failures.Inquiry":
    from stoic.cases.blindspots.failing import blindspots_failing

    return blindspots_failing(count, seed)


_FETCH = "python -m stoic.cases.imagenet --fetch"
_FETCH_CIFAR10 = "python -m stoic.cases.cifar10 --fetch"
_FETCH_FASHION = "python -m stoic.cases.fashion --fetch"
_ENTRIES = (
    Entry(
        name="signs",
        about="44 safety and road signs in rendered scenes: 285,196 parameters",
        needs="",
        inputs=64,
        make=_signs,
        failing=_signs_failing,
    ),
    Entry(
        name="scenes",
        about="a detector of several signs in each of rendered scenes: 353,345 "
        "parameters",
        needs="",
        inputs=64,
        make=_scenes,
    ),
    Entry(
        name="gaze",
        about="where a rendered eye looks, in 9 directions: 86,969 parameters",
        needs="",
        inputs=64,
        make=_gaze,
        failing=_gaze_failing,
    ),
    Entry(
        name="blindspots",
        about="4 shapes in drawn scenes, some taught wrongly: 73,092 parameters",
        needs="",
        inputs=64,
        make=_blindspots,
        failing=_blindspots_failing,
    ),
    Entry(
        name="digits",
        about="scikit-learn's 8×8 digits: 3,658 parameters, every fault can be tried",
        needs="",
        inputs=128,
        make=_digits,
        most=600,
    ),
    Entry(
        name="imagenet",
        about="EfficientNet-Lite0 on 20 labelled ImageNet photos: 4.7 M parameters",
        needs=_FETCH,
        inputs=20,
        make=_lite0,
        most=20,
    ),
    Entry(
        name="imagenet-squeezenet",
        about="SqueezeNet 1.1 on 20 labelled ImageNet photos: 1.2 M parameters",
        needs=f"{_FETCH} && pip install 'stoic[vision]'",
        inputs=20,
        make=_squeezenet,
        most=20,
    ),
    Entry(
        name="cifar10-vgg",
        about="6 convolutions and 3 linear layers on 20 CIFAR-10 images: 968,394 "
        "parameters",
        needs=f"{_FETCH_CIFAR10} && pip install 'stoic[cifar]'",
        inputs=20,
        make=_cifar10,
        most=20,
    ),
    Entry(
        name="fashion",
        about="LeNet on the 10,000 test images of Fashion-MNIST: 123,214 parameters",
        needs=_FETCH_FASHION,
        inputs=128,
        make=_fashion("fashion"),
        most=10_000,
        failing=_fashion_failing("fashion"),
    ),
    Entry(
        name="fashion-vgg",
        about="a small VGG with BatchNorm on the same: 147,162 parameters",
        needs=_FETCH_FASHION,
        inputs=128,
        make=_fashion("fashion-vgg"),
        most=10_000,
        failing=_fashion_failing("fashion-vgg"),
    ),
    Entry(
        name="fashion-alexnet",
        about="5 convolutions and 3 linear layers on the same: 294,522 parameters",
        needs=_FETCH_FASHION,
        inputs=128,
        make=_fashion("fashion-alexnet"),
        most=10_000,
        failing=_fashion_failing("fashion-alexnet"),
    ),
)


def catalogue() -> tuple[Entry, ...]:
    """Return the built-in cases."""
    return _ENTRIES


def load(name: str, inputs: int | None = None) -> "stoic.cases.case.Case":
    """Return a case, ready to be assessed.

    Args:
        name: Of a built-in case, or ``"module:function"`` of your own.
        inputs: How many inputs; without it, as many as the case likes to give.

    Raises:
        CaseError: There is no such case, it lacks something, or has fewer inputs.
    """
    if ":" in name:
        from stoic.cases.user import load_user

        case = load_user(name)
        return case if inputs is None else case.first(inputs)
    entry = entry_of(name)
    return entry.make(entry.inputs if inputs is None else inputs)


def entry_of(name: str) -> Entry:
    """Return a built-in case by name.

    Raises:
        CaseError: There is none.
    """
    names = [entry.name for entry in _ENTRIES]
    if name in names:
        return _ENTRIES[names.index(name)]
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise CaseError(
        f"case must be one of {', '.join(names)} or 'module:function', "
        f"got {name!r}; {hint}'stoic cases' lists them"
    )
