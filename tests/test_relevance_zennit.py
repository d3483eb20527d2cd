"""Relevance is that of zennit, where zennit can explain a network."""

import pytest
import torch
from torch import Tensor, nn

from stoic.causes.relevance.composite import Composite
from stoic.causes.relevance.propagation import Propagation


class VGG(nn.Sequential):
    """Two stages of convolutions with norms, and two matrices."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for before, after in ((3, 6), (6, 8)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after)]
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Flatten(), nn.Linear(8 * 16, 12), nn.ReLU(), nn.Linear(12, 5)]
        super().__init__(*layers)


def residual() -> nn.Module:
    resnet = pytest.importorskip("torchvision.models.resnet")
    network = resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1], num_classes=5)
    assert isinstance(network, nn.Module)
    return network


def trained(network: nn.Module) -> nn.Module:
    """Give all norms numbers that they could have learned."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_var):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.5, 1.5)
    return network.eval()


@pytest.mark.peers
@pytest.mark.parametrize("rules", ["epsilon plus", "HUDD", "gamma"])
@pytest.mark.parametrize("make", [VGG, residual])
def test_relevance_of_every_pixel_is_that_of_zennit(make: type, rules: str) -> None:
    pytest.importorskip("zennit")
    from benchmarks.relevance import compared

    network, images = trained(make()), torch.rand(3, 3, 16, 16)

    found = compared("network", network, images, rules, torch.float64)

    assert found.apart is not None and found.apart <= 1e-4
    assert found.left <= 1e-9


@pytest.mark.peers
def test_inner_relevance_is_that_of_zennit() -> None:
    zennit = pytest.importorskip("zennit")
    from benchmarks.relevance import COMPOSITES, theirs

    assert zennit is not None
    network, images = trained(VGG()), torch.rand(2, 3, 16, 16)
    seen: list[Tensor] = []

    class Watch(nn.Module):
        """Pass a value on, and keep the relevance that comes back."""

        def forward(self, value: Tensor) -> Tensor:
            passed = value.clone()
            if passed.requires_grad:
                passed.register_hook(lambda relevance: seen.append(relevance))
            return passed

    parts = [*network.children()]
    watched = nn.Sequential(*parts[:4], Watch(), *parts[4:])
    composite: Composite = COMPOSITES["epsilon plus"]
    made = Propagation.of(network, images, composite, dtype=torch.float64)
    layer = made.layers[1]

    ours = made(images, keep=[layer.value]).at[layer.value]
    theirs(watched, images, "epsilon plus", torch.float64)

    torch.testing.assert_close(ours, seen[-1], rtol=1e-6, atol=1e-9)
