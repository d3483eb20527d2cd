"""What stored words are multiplied by: for scores where no gradient is to be had."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from stoic.network.program import Program, Ref, Step, Values

__all__ = ["multiplied"]

# Where the other factor and the weight stand among the arguments.
_PLACES = {"linear": (0, 1), "mm": (0, 1), "matmul": (0, 1), "addmm": (1, 2)}


def multiplied(program: Program, values: Values, name: str) -> Tensor | None:
    """Return the mean size of the numbers that each word of a weight is multiplied by.

    The word is followed through steps that keep the shape, such as casts and scales of
    whole numbers, to the product that it is a factor of.

    Args:
        program: Of the network.
        values: All values of a run.
        name: Of the stored value.

    Returns:
        A float64 tensor of the value's shape, or nothing where it is no factor of a
        product that is known here.
    """
    shape = values[name].shape
    # Names of what the words become, and whether their dimensions are swapped.
    seen, left = {name}, [(name, False)]
    while left:
        value, swapped = left.pop()
        for step in program.readers.get(value, ()):
            if found := _as_factor(step, value, values, swapped):
                return found[0].expand(shape)
            turned = swapped ^ _swaps(step)
            own = values[step.name]
            kept = isinstance(own, Tensor) and own.shape == (
                shape[::-1] if turned else shape
            )
            if kept and step.name not in seen:
                seen.add(step.name)
                left.append((step.name, turned))
    return None


def _swaps(step: Step) -> bool:
    return step.operator in ("t", "numpy_T") or (
        step.operator in ("transpose", "permute")
        and sorted(_numbers(step.args[1:])) in ([0, 1], [-2, -1])
    )


def _numbers(args: Any) -> list[int]:
    flat = [arg if isinstance(arg, list | tuple) else [arg] for arg in args]
    return [number for part in flat for number in part]


def _as_factor(
    step: Step, value: str, values: Values, swapped: bool
) -> tuple[Tensor] | None:
    """Return sizes of the other factor as they meet each word, if there is one."""
    operator = step.operator
    if operator.startswith("conv") and "transpose" not in operator:
        if swapped or _name(step, 1) != value or _other(step, 0, values) is None:
            return None
        return (_of_channels(step, _other(step, 0, values), values[value]),)
    first, second = _PLACES.get(operator, (0, 0))
    if first == second or _name(step, second) != value:
        return None
    other = _other(step, first, values)
    if other is None or values[value].dim() != 2:
        return None
    sizes = other.detach().double().abs().flatten(0, -2).mean(0)
    # A linear step has features last, a plain product first.
    last = (operator == "linear") ^ swapped
    return (sizes[None, :] if last else sizes[:, None],)


def _name(step: Step, place: int) -> str | None:
    arg = step.args[place] if place < len(step.args) else None
    return arg.name if isinstance(arg, Ref) else None


def _other(step: Step, place: int, values: Values) -> Any:
    name = _name(step, place)
    found = values[name] if name else None
    return found if isinstance(found, Tensor) and found.dim() > 1 else None


def _of_channels(step: Step, other: Tensor, weight: Tensor) -> Tensor:
    """Return sizes of the channels that each output channel's group reads."""
    kernel = weight.dim() - 2
    batched = other if other.dim() == weight.dim() else other[None]
    dims = (0, *range(2, batched.dim()))
    sizes = batched.detach().double().abs().mean(dims)
    groups = len(sizes) // weight.shape[1]
    grouped = sizes.reshape(groups, weight.shape[1])
    each = grouped.repeat_interleave(weight.shape[0] // groups, 0)
    return each.reshape(*each.shape, *[1] * kernel)
