"""A zoo of tiny networks: each shows one thing that capture or replay can get wrong.

Every specimen is in evaluation mode, seeded, and has random normalisation statistics
and biases, so that no word of its golden run is a lucky one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from stoic.network.prepare import prepare
from stoic.network.subject import Inputs, Subject

__all__ = [
    "CAPTURED",
    "FALLING_BACK",
    "ZOO",
    "Builder",
    "Specimen",
    "another",
    "subject_of",
]


@dataclass(frozen=True)
class Specimen:
    """A network and what it is called with.

    Args:
        born: What must stay as it is, as it was before anyone touched the specimen.
    """

    network: nn.Module
    inputs: Inputs
    born: dict[str, Any]

    @classmethod
    def of(cls, network: nn.Module, inputs: Inputs) -> Specimen:
        return cls(network, inputs, fingerprint(network, inputs))

    def fingerprint(self) -> dict[str, Any]:
        return fingerprint(self.network, self.inputs)


def fingerprint(network: nn.Module, inputs: Inputs) -> dict[str, Any]:
    """Return everything of a network and its inputs that must stay as it is."""
    tensors = {
        **dict(network.named_parameters(remove_duplicate=False)),
        **dict(network.named_buffers(remove_duplicate=False)),
        **{f"input {i}": x for i, x in enumerate(inputs.leaves)},
    }
    tensors = {name: x for name, x in tensors.items() if isinstance(x, Tensor)}
    return {
        # By their bytes: a NaN is unlike itself, and 0.0 is like -0.0.
        "words": {n: bytes(x.untyped_storage().tolist()) for n, x in tensors.items()},
        "tensors": {
            n: (id(x), x.data_ptr(), x.stride(), x.requires_grad, x.is_inference())
            for n, x in tensors.items()
        },
        "gradients": {n: x.grad for n, x in tensors.items() if x.is_leaf},
        "modules": {
            path: (module.training, sorted(vars(module)), _hooks(module))
            for path, module in network.named_modules()
        },
    }


def _hooks(module: nn.Module) -> int:
    kinds = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
    return sum(map(len, kinds))


Builder = Callable[[], Specimen]


def _once(make: Builder) -> Builder:
    """Make a specimen when it is first asked for: the same on every call."""

    @cache
    @wraps(make)
    def build() -> Specimen:
        # Tensors born in inference mode could not be used outside of it.
        with torch.inference_mode(False):
            torch.manual_seed(0)
            return make()

    return build


def another(build: Builder) -> Specimen:
    """Return a specimen like the one that a builder makes, but of its own."""
    made: Specimen = build.__wrapped__()  # type: ignore[attr-defined]
    return made


def subject_of(build: Builder) -> Subject:
    """Return a specimen ready for trials; prepared once for all tests."""
    return _prepared(build)


@cache
def _prepared(build: Builder) -> Subject:
    specimen = build()
    return prepare(specimen.network, specimen.inputs)


def _specimen(
    network: nn.Module,
    *args: Any,
    kwargs: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Specimen:
    network = network.eval()
    chance = torch.Generator().manual_seed(1)
    for module in network.modules():
        _randomise(module, chance)
    return Specimen.of(network.to(dtype), Inputs(args, kwargs or {}))


@torch.no_grad()
def _randomise(module: nn.Module, chance: torch.Generator) -> None:
    """Replace the ones and zeros that a network is born with."""
    for name, tensor in module.named_parameters(recurse=False):
        if "bias" in name or (tensor.dim() < 2 and "original" not in name):
            tensor.add_(torch.randn(tensor.shape, generator=chance), alpha=0.3)
    mean, var = (getattr(module, f"running_{n}", None) for n in ("mean", "var"))
    if isinstance(mean, Tensor) and isinstance(var, Tensor):
        mean.normal_(0, 0.5, generator=chance)
        var.uniform_(0.5, 2, generator=chance)


def _images(rows: int = 3, channels: int = 3, size: int = 9) -> Tensor:
    chance = torch.Generator().manual_seed(2)
    return torch.randn(rows, channels, size, size, generator=chance)


def _series(rows: int = 3, length: int = 5, features: int = 6) -> Tensor:
    chance = torch.Generator().manual_seed(3)
    return torch.randn(rows, length, features, generator=chance)


def _ids(rows: int = 3, length: int = 6, words: int = 20) -> Tensor:
    chance = torch.Generator().manual_seed(4)
    return torch.randint(1, words, (rows, length), generator=chance)


class _Residual(nn.Module):
    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or out != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += self.downsample(x)
        out: Tensor = self.relu(y)
        return out


@_once
def resnet() -> Specimen:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
        _Residual(8, 20, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(20, 7),
    )
    return _specimen(network, _images())


@_once
def resnet_channels_last() -> Specimen:
    specimen = another(resnet)
    network: nn.Module = specimen.network.to(memory_format=torch.channels_last)
    images = _images().contiguous(memory_format=torch.channels_last)
    return Specimen.of(network, Inputs((images,), {}))


class _Squeezed(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, 4, 1)
        self.fc2 = nn.Conv2d(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.fc2(F.relu(self.fc1(self.pool(x))))
        return x * F.hardsigmoid(gate)


class _Inverted(nn.Module):
    def __init__(self, channels: int, wide: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, wide, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.depth = nn.Conv2d(wide, wide, 3, 1, 1, groups=wide, bias=False)
        self.bn2 = nn.BatchNorm2d(wide)
        self.gate = _Squeezed(wide)
        self.project = nn.Conv2d(wide, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.act = nn.Hardswish(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.bn1(self.expand(x)))
        y = self.gate(self.act(self.bn2(self.depth(y))))
        y = self.bn3(self.project(y))
        out: Tensor = x + y
        return out


@_once
def mobilenet() -> Specimen:
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1),
        nn.Hardswish(),
        _Inverted(6, 18),
        nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(6, 5),
    )
    return _specimen(network, _images())


@_once
def convolutions() -> Specimen:
    """Groups, strides, dilation, uneven kernels, padding by name and by reflection."""
    network = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=2, dilation=2, groups=2),
        nn.SiLU(),
        nn.Conv2d(8, 12, (1, 3), stride=(2, 1), groups=4, bias=False),
        nn.LeakyReLU(0.1),
        nn.Conv2d(12, 6, 3, padding="same", groups=3),
        nn.ReflectionPad2d(1),
        nn.Conv2d(6, 18, 3, groups=6),
        nn.ELU(),
        nn.Conv2d(18, 5, 2, padding_mode="circular", padding=1),
        nn.Flatten(2),
        nn.Conv1d(5, 6, 3, padding=1),
        nn.AvgPool1d(2),
        nn.Flatten(),
        nn.LazyLinear(4),
    )
    network(_images(channels=4))
    return _specimen(network, _images(channels=4))


class _Rows(nn.Module):
    """Convolutions of one and of three dimensions, each with a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(2, 6, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm1d(6)
        self.conv2 = nn.Conv1d(6, 4, 3, groups=2)
        self.bn2 = nn.BatchNorm1d(4)
        self.conv3 = nn.Conv3d(1, 3, 2)
        self.bn3 = nn.BatchNorm3d(3)
        self.head = nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        y = y[:, None, :, :, None].expand(-1, -1, -1, -1, 2)
        out: Tensor = self.head(self.bn3(self.conv3(y)).flatten(2).amax(2).repeat(1, 3))
        return out


@_once
def rows() -> Specimen:
    return _specimen(_Rows(), torch.randn(3, 2, 8))


class _Fire(nn.Module):
    def __init__(self, channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], 1)


@_once
def squeezenet() -> Specimen:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 1, ceil_mode=True),
        _Fire(8, 4, 6),
        _Fire(12, 4, 8),
        nn.Dropout(),
        nn.Conv2d(16, 6, 1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
    )
    return _specimen(network, _images(size=11))


class _Dense(nn.Module):
    def __init__(self, channels: int, growth: int, layers: int) -> None:
        super().__init__()
        widths = [channels + growth * layer for layer in range(layers)]
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.convs = nn.ModuleList(
            nn.Conv2d(width, growth, 3, padding=1, bias=False) for width in widths
        )

    def forward(self, x: Tensor) -> Tensor:
        parts = [x]
        for norm, conv in zip(self.norms, self.convs, strict=True):
            parts.append(conv(F.relu(norm(torch.cat(parts, 1)))))
        return torch.cat(parts, 1)


@_once
def densenet() -> Specimen:
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        _Dense(6, 4, 2),
        nn.BatchNorm2d(14),
        nn.ReLU(),
        nn.Conv2d(14, 8, 1),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 9, 5),
    )
    return _specimen(network, _images(size=6))


@_once
def vgg() -> Specimen:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 40, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(40 * 4, 70),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(70, 6),
    )
    return _specimen(network, _images(size=8))


class _NextBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depth = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(torch.full((channels,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depth(x).permute(0, 2, 3, 1))
        y = self.gamma * self.fc2(F.gelu(self.fc1(y)))
        out: Tensor = x + y.permute(0, 3, 1, 2)
        return out


@_once
def convnext() -> Specimen:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 2, 2),
        _NextBlock(8),
        nn.GroupNorm(2, 8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LayerNorm(8),
        nn.Linear(8, 5),
    )
    return _specimen(network, _images(size=8))


class _VisionTransformer(nn.Module):
    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, 5, width))
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 3, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 20), nn.GELU(), nn.Dropout(0.1), nn.Linear(20, width)
        )
        self.head = nn.Linear(width, 6)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        y = self.norm1(x)
        y, _ = self.attention(y, y, y, need_weights=False)
        x = x + y
        x = x + self.mlp(self.norm2(x))
        out: Tensor = self.head(x[:, 0])
        return out


@_once
def vit() -> Specimen:
    return _specimen(_VisionTransformer(), _images(size=8))


class _Encoder(nn.Module):
    """The encoder's own fast path gives other last bits than its parts do."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.encoder(x).mean(1))
        return out


@_once
def encoder() -> Specimen:
    return _specimen(_Encoder(), _series(features=8))


@_once
def bert() -> Specimen:
    import transformers

    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=12,
        pad_token_id=0,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=18,
        max_position_embeddings=8,
    )
    mask = torch.ones(3, 6, dtype=torch.int64)
    mask[1, 4:] = 0
    return _specimen(
        transformers.BertForSequenceClassification(config),
        kwargs={"input_ids": _ids(), "attention_mask": mask},
    )


@_once
def gpt2() -> Specimen:
    import transformers

    config = transformers.GPT2Config(
        vocab_size=20,
        n_positions=8,
        n_embd=8,
        n_layer=1,
        n_head=2,
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    return _specimen(transformers.GPT2LMHeadModel(config), _ids())


class _Recurrent(nn.Module):
    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], batch_first: bool) -> None:
        super().__init__()
        self.rnn = kind(6, 5, 2, batch_first=batch_first, bidirectional=batch_first)
        self.head = nn.Linear(10 if batch_first else 5, 4)
        self.batch_first = batch_first

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        outputs, last = self.rnn(x if self.batch_first else x.transpose(0, 1))
        hidden = last[0] if isinstance(last, tuple) else last
        end = outputs[:, -1] if self.batch_first else outputs[-1]
        scores: Tensor = self.head(end)
        return scores, hidden


@_once
def lstm() -> Specimen:
    return _specimen(_Recurrent(nn.LSTM, True), _series())


@_once
def gru() -> Specimen:
    """Sequence first inside: the inputs lie along dimension 1 of its values."""
    return _specimen(_Recurrent(nn.GRU, False), _series())


class _Recommender(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(n, 4) for n in (5, 7))
        self.bags = nn.EmbeddingBag(9, 4, mode="sum")
        self.bottom = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
        self.top = nn.Sequential(nn.Linear(4 + 6, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        dense = self.bottom(batch["dense"])
        looked_up = [t(batch["ids"][:, i]) for i, t in enumerate(self.tables)]
        parts = torch.stack([dense, *looked_up, self.bags(batch["many"])], 1)
        products = torch.bmm(parts, parts.transpose(1, 2))
        i, j = torch.tril_indices(4, 4, -1)
        out: Tensor = torch.sigmoid(
            self.top(torch.cat([dense, products[:, i, j]], 1))
        ).squeeze(1)
        return out


@_once
def dlrm() -> Specimen:
    batch = {
        "dense": _series()[:, 0].clone(),
        "ids": _ids(length=2, words=5),
        "many": _ids(length=3, words=9),
    }
    return _specimen(_Recommender(), batch)


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 6)
        self.mix = nn.Linear(6, 6)
        self.head = nn.Linear(6, 20, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        out: Tensor = self.head(torch.tanh(self.mix(self.embed(ids))).mean(1))
        return out


@_once
def tied() -> Specimen:
    return _specimen(_Tied(), _ids())


class _Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.act = nn.ReLU()
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2):
            x = self.act(self.layer(x))
        out: Tensor = self.head(x)
        return out


@_once
def twice() -> Specimen:
    return _specimen(_Twice(), _series()[:, 0].clone())


class _Answers(nn.Module):
    """Keyword inputs, nested outputs, a plain number among both."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(6, 4)
        self.right = nn.Linear(6, 4)
        self.box = nn.Linear(4, 2)

    def forward(
        self, x: Tensor, *, other: Tensor, mask: Tensor, scale: float = 1.0
    ) -> Any:
        both = self.left(x) * scale + self.right(other).masked_fill(mask, 0.25)
        return {
            "scores": both,
            "boxes": (self.box(both), both.argmax(1)),
            "scale": scale,
        }


@_once
def answers() -> Specimen:
    x = _series()
    given = {"other": x[:, 1].clone(), "mask": x[:, 2, :4] > 0, "scale": 0.5}
    return _specimen(_Answers(), x[:, 0].clone(), kwargs=given)


@_once
def weight_norm() -> Specimen:
    network = nn.Sequential(
        parametrizations.weight_norm(nn.Conv2d(3, 6, 3)),
        nn.ReLU(),
        nn.Flatten(),
        parametrizations.weight_norm(nn.Linear(6 * 9, 5)),
    )
    return _specimen(network, _images(size=5))


class _Quantised(nn.Module):
    """A linear layer whose weights are of 8 bits, made wide again at each call."""

    scale: Tensor
    weight: Tensor
    zero: Tensor

    def __init__(
        self, features: int, out: int, dtype: torch.dtype = torch.int8
    ) -> None:
        super().__init__()
        numbers = torch.randint(-128, 128, (out, features), dtype=torch.int8)
        self.register_buffer("weight", numbers.to(dtype))
        self.register_buffer("scale", torch.rand(out, 1) / 50)
        self.register_buffer("zero", torch.tensor(3, dtype=torch.int8).to(dtype))
        self.bias = nn.Parameter(torch.randn(out))

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight.to(x.dtype) - self.zero.to(x.dtype)) * self.scale
        return F.linear(x, weight, self.bias)


@_once
def quantised() -> Specimen:
    network = nn.Sequential(_Quantised(6, 8), nn.ReLU(), _Quantised(8, 3))
    return _specimen(network, _series()[:, 0].clone())


@_once
def float8() -> Specimen:
    first = _Quantised(6, 8, torch.float8_e4m3fn)
    network = nn.Sequential(first, nn.ReLU(), _Quantised(8, 3, torch.float8_e5m2))
    return _specimen(network, _series()[:, 0].clone())


def _small(dtype: torch.dtype) -> Specimen:
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(6 * 9, 20),
        nn.LayerNorm(20),
        nn.Tanh(),
        nn.Linear(20, 4),
    )
    return _specimen(network, _images(size=5).to(dtype), dtype=dtype)


@_once
def bfloat16() -> Specimen:
    return _small(torch.bfloat16)


@_once
def float16() -> Specimen:
    return _small(torch.float16)


@_once
def float64() -> Specimen:
    return _small(torch.float64)


class _Counting(nn.Module):
    """Counts its calls in a buffer that no output depends on."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        out: Tensor = self.head(x)
        return out


@_once
def counting() -> Specimen:
    return _specimen(_Counting(), _series()[:, 0].clone())


class _Centred(nn.Module):
    """Rows that depend on each other."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.inner(x))
        out: Tensor = self.head(y - y.mean(0))
        return out


@_once
def centred() -> Specimen:
    return _specimen(_Centred(), _series()[:, 0].clone())


class _Branching(nn.Module):
    """Control flow that depends on data: cannot be captured."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 5)
        self.norm = nn.BatchNorm1d(5)
        self.second = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.first(x))
        if y.sum() > 0:
            y = torch.relu(y)
        out: Tensor = self.second(y)
        return out


@_once
def branching() -> Specimen:
    return _specimen(_Branching(), _series()[:, 0].clone())


class _Fixed(nn.Module):
    """Captured for one number of inputs only, as ``len`` tells it to the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 6))
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(torch.cat([x, self.token.expand(len(x), -1)], 1))
        return out


@_once
def fixed() -> Specimen:
    return _specimen(_Fixed(), _series()[:, 0].clone())


class _Views(nn.Module):
    """A parameter that is another one turned: one fault hits both."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(6, 4)
        self.decode = nn.Linear(4, 6)
        self.decode.weight = nn.Parameter(self.encode.weight.t())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.decode(torch.relu(self.encode(x)))
        return out


@_once
def views() -> Specimen:
    return _specimen(_Views(), _series()[:, 0].clone())


class _Choosing(nn.Module):
    """Control flow that export can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 5)
        self.second = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        y = torch.cond(y.sum() > 0, torch.relu, torch.tanh, (y,))
        out: Tensor = self.second(y)
        return out


@_once
def choosing() -> Specimen:
    return _specimen(_Choosing(), _series()[:, 0].clone())


class _Constants(nn.Module):
    """Constants without rows: in buffers, in the code, by the size of the input."""

    grid: Tensor
    shift: Tensor
    dead: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("grid", torch.linspace(0.5, 1.5, 6))
        self.register_buffer("shift", torch.tensor(0.25), persistent=False)
        self.register_buffer("dead", torch.ones(3))
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        steps = torch.arange(x.shape[1], dtype=x.dtype)
        table = torch.tensor([1.0, -1.0, 2.0, 0.5])
        y = x * torch.exp(-self.grid) + steps * self.shift
        out: Tensor = self.head(y) * table
        return out


@_once
def constants() -> Specimen:
    return _specimen(_Constants(), _series()[:, 0].clone())


class _Assorted(nn.Module):
    """Operators with several results, odd layouts and rare kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(4, 6, 2, 2)
        self.act = nn.PReLU(6)
        self.norm = nn.InstanceNorm2d(6, affine=True)
        self.mix = nn.Bilinear(4, 4, 5)
        self.gate = nn.Linear(5, 8)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.norm(self.act(self.up(x)))
        y = F.interpolate(y, scale_factor=0.5, mode="bilinear")
        top, bottom, _ = y.split(2, 1)
        a, b = torch.cat([top, bottom], 1).mean((2, 3)), x.amax((2, 3))
        z = F.glu(self.gate(self.mix(a, b)), 1)
        best, place = z.sort(1, descending=True)
        weights = torch.einsum("bi,bj->bij", best, z).cumsum(2)
        out = self.head(weights[:, ::2].sum(1).roll(1, 1))
        return out, place


@_once
def assorted() -> Specimen:
    return _specimen(_Assorted(), _images(channels=4, size=4))


CAPTURED: tuple[Builder, ...] = (
    resnet,
    resnet_channels_last,
    mobilenet,
    convolutions,
    rows,
    squeezenet,
    densenet,
    vgg,
    convnext,
    vit,
    encoder,
    bert,
    gpt2,
    lstm,
    gru,
    dlrm,
    tied,
    twice,
    answers,
    weight_norm,
    quantised,
    float8,
    bfloat16,
    float16,
    float64,
    counting,
    centred,
    constants,
    choosing,
    assorted,
)
FALLING_BACK: tuple[Builder, ...] = (branching, fixed, views)
ZOO = CAPTURED + FALLING_BACK
