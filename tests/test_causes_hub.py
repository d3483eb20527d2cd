"""Networks of torchvision as sources of features: there if their weights are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stoic.cases.errors import CaseError
from stoic.cases.imagenet.hub import KNOWN, Known
from stoic.causes.failures import Examples, Failures, Inquiry
from stoic.cli import main
from stoic.extracting import extractor_of, extractors

models = pytest.importorskip("torchvision.models")
PICTURES = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """Return weights by chance whose numbers share a little storage: small files."""
    chance = torch.Generator().manual_seed(1)
    found = {}
    for name, own in network.state_dict().items():
        if not own.is_floating_point():
            found[name] = torch.zeros(own.shape, dtype=own.dtype)
            continue
        few = torch.randn(sum(own.shape) + 1, generator=chance)
        few *= max(own[0].numel(), 1) ** -0.5 if own.dim() > 1 else 0.1
        few += 1.0 if name.endswith(("running_var", "bn.weight")) else 0.0
        found[name] = few.as_strided(own.shape, [1] * own.dim())
    return found


def network_of(known: Known) -> tuple[nn.Module, dict[str, Tensor]]:
    with torch.device("meta"):
        more = {"init_weights": False} if known.model == "inception_v3" else {}
        network: Any = models.get_model(known.model, weights=None, **more)
    return network, state_of(network)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def inquiry() -> Inquiry:
    failures = Failures(
        PICTURES, np.zeros(2, int), np.ones((2, 3), np.float32), ("a", "b"), {}
    )
    examples = Examples(PICTURES, np.arange(2))
    return Inquiry(nn.Identity(), failures, examples, torch.zeros(3), torch.ones(3))


def last_maps(known: Known, network: Any, shown: Tensor) -> Tensor:
    """Return what torchvision's own run of the whole network makes before its head."""
    seen: list[Tensor] = []
    place = {
        "resnet50": "layer4",
        "vgg16": "features",
        "inception_v3": "Mixed_7c",
        "vit_b_16": "encoder",
    }[known.model]
    network.get_submodule(place).register_forward_hook(
        lambda _, __, out: seen.append(out)
    )
    with torch.no_grad():
        network.eval()(shown)
    return seen[0][:, 0] if known.model == "vit_b_16" else seen[0].mean((2, 3))


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.model)
def test_features_are_what_torchvision_computes_before_the_head(
    known: Known, hub: Path
) -> None:
    assert known.name not in extractors()
    network, state = network_of(known)
    torch.save(state, hub / f"{known.stem}-0123abcd.pth")
    found = extractor_of(known.name)(inquiry(), 0)
    network.load_state_dict({n: o.contiguous() for n, o in state.items()}, assign=True)
    size = [known.size, known.size]
    shown = torch.nn.functional.interpolate(
        PICTURES, size, mode="bilinear", antialias=True
    )
    mean, spread = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
    if known.model == "inception_v3":
        mean = spread = torch.full((3,), 0.5)
    even = (shown - mean.view(3, 1, 1)) / spread.view(3, 1, 1)
    expected = last_maps(known, network, even)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-4)
    assert found.std(0).max() > 0
    assert (f"{known.name} tuned" in extractors()) == known.tunable


def test_a_network_without_its_weights_says_how_to_get_them(
    hub: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["causes", "digits", "--extractor", "ResNet-50 tuned"]) == 2
    told = capsys.readouterr().err
    assert f"needs weights resnet50-*.pth in {hub}, got none; get them: python" in told
    assert told.count("\n") == 1
    assert main(["causes", "digits", "--extractor", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "SqueezeNet tuned" in lines
    assert any(line.startswith("ViT-B/16 needs weights vit_b_16-*") for line in lines)


def test_a_file_that_fails_without_a_word_is_refused_all_the_same(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*given: object, **named: object) -> None:
        raise EOFError

    (hub / "resnet50-0123abcd.pth").write_bytes(b"")
    monkeypatch.setattr(torch, "load", silent)

    with pytest.raises(CaseError, match="got EOFError: no message; fetch it again"):
        extractor_of("ResNet-50")(inquiry(), 0)


def test_a_damaged_or_incomplete_file_is_refused_in_one_line(hub: Path) -> None:
    file = hub / "resnet50-0123abcd.pth"
    file.write_bytes(b"no weights")
    with pytest.raises(CaseError, match="must hold torchvision's weights of resnet50"):
        extractor_of("ResNet-50")(inquiry(), 0)
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, file)
    with pytest.raises(CaseError, match="must hold all weights of resnet50"):
        extractor_of("ResNet-50")(inquiry(), 0)
