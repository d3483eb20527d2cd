"""Failures of any case: the inputs that its network gets wrong."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stoic.cases.afflicted.search import EXAMPLES
from stoic.cases.afflicted.stage import BATCH, scores_of
from stoic.cases.case import Case
from stoic.cases.errors import CaseError
from stoic.causes.failures import Examples, Failures, Inquiry
from stoic.causes.pipeline import LEAST
from stoic.criteria import Top1Changed, Top1Wrong, TopKLost
from stoic.records.raised import reason

__all__ = ["classes_of", "images_of", "range_of", "wrong_inputs"]

_CLASSES = (Top1Changed, Top1Wrong, TopKLost)


def wrong_inputs(case: Case, count: int, seed: int) -> Inquiry:
    """Return what the network of a case gets wrong, and examples of what it does not.

    Inputs that are not a class away from their label but have scores that are not
    finite are wrong, too. Where there are more than enough, those taken are drawn by
    the seed; they stay in their order.

    Args:
        case: Of images, with a class for each.
        count: How many failures; fewer if there are not so many.
        seed: Chooses among more.

    Raises:
        CaseError: The case has no images or classes, or too few failures.
    """
    inputs, labels = images_of(case), _labels(case)
    scores = _scores(case, inputs)
    # The best of scores that are not numbers is not a class.
    finite = scores.isfinite().all(1)
    wrong = (scores.argmax(1) != labels) | ~finite
    chance = np.random.default_rng(seed)
    failed = _drawn(chance, wrong, count)
    right = _drawn(chance, ~wrong, EXAMPLES)
    if not bool(finite.any()):
        raise CaseError(
            f"scores of {case.name} must be finite, got NaN or infinity for each of "
            f"{len(case)} inputs; see that the network is trained, and inputs are such "
            "as it takes"
        )
    _check_counts(case, count, int(wrong.sum()), len(right))
    black, white = range_of(inputs)
    return Inquiry(
        network=case.network,
        failures=_failures(case, inputs, labels, scores, failed),
        examples=Examples(inputs[right], labels[right].numpy()),
        black=black,
        white=white,
        classes=case.classes or (),
    )


def images_of(case: Case) -> Tensor:
    """Return the inputs of a case of images.

    Raises:
        CaseError: They are none, or some are not finite.
    """
    inputs = case.inputs
    if isinstance(inputs, Tensor) and inputs.ndim == 4 and inputs.is_floating_point():
        broken = ~inputs.isfinite().flatten(1).all(1)
        if bool(broken.any()):
            raise CaseError(
                f"images of {case.name} must be finite, got NaN or infinity in "
                f"{int(broken.sum())} of {len(inputs)}, the first in row "
                f"{int(broken.nonzero()[0])}; leave them out"
            )
        return inputs
    got = (
        f"shape {tuple(inputs.shape)} of {inputs.dtype}"
        if isinstance(inputs, Tensor)
        else f"a {type(inputs).__name__}"
    )
    raise CaseError(
        f"inputs of {case.name} must be one tensor of images of shape (inputs, "
        f"channels, height, width) to tell its failures apart, got {got}"
    )


def classes_of(case: Case) -> Tensor | None:
    """Return the right class of each input, if that is what its labels are."""
    labels = case.labels
    if labels is None or labels.ndim != 1 or labels.is_floating_point():
        return None
    return labels.long()


def _labels(case: Case) -> Tensor:
    if not isinstance(case.judged_by, _CLASSES):
        raise CaseError(
            f"the criterion of {case.name} must be about classes to say which inputs "
            f"are wrong, got {case.judged_by.as_record()['name']}; give a case with "
            "scores of classes and criterion 'top1-wrong'"
        )
    labels, found = case.labels, classes_of(case)
    if found is None:
        got = "none" if labels is None else f"{labels.dtype} of {tuple(labels.shape)}"
        raise CaseError(
            f"labels of {case.name} must be the right class of each input to say which "
            f"are wrong, got {got}; return (network, inputs, labels)"
        )
    return found


def _scores(case: Case, inputs: Tensor) -> Tensor:
    try:
        scores = scores_of(case.network, inputs, case.tail)
    except Exception as error:
        shape = tuple(inputs[:BATCH].shape)
        raise CaseError(
            f"network of {case.name} must read images of shape {shape} at once, got "
            f"{reason(error)}; mend the network, its tail or the images"
        ) from error
    if scores.ndim != 2:
        raise CaseError(
            f"scores of {case.name} must have one row for each input and one column "
            f"for each class, got shape {tuple(scores.shape)}; give a tail that does so"
        )
    return scores.float()


def _drawn(chance: np.random.Generator, mask: Tensor, count: int) -> NDArray[np.int64]:
    places = np.flatnonzero(mask.numpy())
    return np.sort(chance.permutation(places)[:count])


def _check_counts(case: Case, count: int, wrong: int, right: int) -> None:
    if min(count, wrong) < 2 * LEAST:
        raise CaseError(
            f"failures of {case.name} must be at least {2 * LEAST} to be clustered, "
            f"got {min(count, wrong)} of {len(case)} inputs; give more inputs that "
            "its network gets wrong"
        )
    if right == 0:
        raise CaseError(
            f"{case.name} must have inputs that its network gets right, to learn "
            f"features from, got none of {len(case)}; see that labels are classes"
        )


def range_of(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least and the largest number of each channel, never the same."""
    black, white = inputs.amin((0, 2, 3)), inputs.amax((0, 2, 3))
    return black, torch.where(white > black, white, black + 1)


def _failures(
    case: Case,
    inputs: Tensor,
    labels: Tensor,
    scores: Tensor,
    failed: NDArray[np.int64],
) -> Failures:
    def fact(column: Any) -> NDArray[Any]:
        own = column.numpy(force=True) if isinstance(column, Tensor) else column
        return np.asarray(own)[failed]

    names = case.names or [f"{case.name} {row}" for row in range(len(case))]
    known = case.scenarios
    return Failures(
        images=inputs[failed],
        labels=labels[failed].numpy(),
        scores=scores[failed].numpy(),
        names=tuple(names[row] for row in failed),
        recorded={name: fact(each) for name, each in (case.recorded or {}).items()},
        scenarios=None if known is None else fact(known).astype(np.str_),
    )
