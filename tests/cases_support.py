"""What the tests of the cases share."""

import pytest
import torch
from torch import Tensor, nn

from stoic.cases import Case, CaseError


@torch.inference_mode()
def accuracy(case: Case) -> float:
    assert isinstance(case.inputs, Tensor)
    assert case.labels is not None
    right = case.network(case.inputs).argmax(1) == case.labels
    return float(right.double().mean())


def parameters(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


def assert_one_line(error: pytest.ExceptionInfo[CaseError], *parts: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
