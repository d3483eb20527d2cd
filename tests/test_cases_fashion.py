"""The cases ``fashion…``: weights that come with Stoic, pictures that do not."""

import gzip
import hashlib
import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cases_support import accuracy, assert_one_line, parameters
from stoic import cases
from stoic.cases import CaseError
from stoic.cases.afflicted.stage import Stage
from stoic.cases.afflicted.table import Table
from stoic.cases.fashion import __main__ as command
from stoic.cases.fashion import data, failing, files, networks
from stoic.cases.fashion import train as fashion_train

NAMES = tuple(networks.NETWORKS)
LEAST = {"fashion": 0.88, "fashion-vgg": 0.91, "fashion-alexnet": 0.89}
PIECES = 4


def needs_pictures() -> None:
    missing = [f for f in files.FILES.values() if not files.path_of(f).is_file()]
    if missing:
        pytest.skip(f"{missing[0].name} is not fetched; {files.FETCH}")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_fashion_network_is_as_good_as_it_says(name: str) -> None:
    needs_pictures()

    case = cases.load(name, data.HELD_OUT)

    assert accuracy(case) >= LEAST[name]
    assert f"{100 * accuracy(case):.1f} % of the 10,000" in case.about


def test_no_picture_for_validation_is_learned_from() -> None:
    count = 2 * data.VALIDATION
    clothes = data.Clothes(torch.arange(count).view(-1, 1, 1, 1) * 1.0, torch.ones(1))

    learned = clothes.part(None, -data.VALIDATION).pictures.flatten()
    others = clothes.part(-data.VALIDATION, None).pictures.flatten()

    assert learned.tolist() + others.tolist() == list(range(count))
    assert len(others) == data.VALIDATION


@pytest.mark.parametrize("name", NAMES)
def test_a_fashion_network_has_its_weights_and_ten_classes(name: str) -> None:
    network = networks.load_network(name)

    scores = network(torch.rand(2, 1, 28, 28, generator=torch.manual_seed(0)))

    assert scores.shape == (2, len(data.CLASSES)) == (2, 10)
    assert not network.training
    assert networks.NETWORKS[name].weights.stat().st_size <= 1.5e6
    (entry,) = (entry for entry in cases.catalogue() if entry.name == name)
    assert f"{parameters(network):,} parameters" in entry.about
    assert entry.needs == files.FETCH


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STOIC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fashion-mnist"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("cache")
def test_missing_pictures_are_answered_with_the_command(name: str) -> None:
    with pytest.raises(CaseError) as error:
        cases.load(name)

    assert_one_line(error, files.FETCH, "--from DIR")


@pytest.fixture
def contents(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Four tiny files in the format of the data set, pinned in place of the real."""
    pictures = struct.pack(">4I", 0x803, PIECES, 28, 28) + bytes(
        number % 256 for number in range(PIECES * 28 * 28)
    )
    labels = struct.pack(">2I", 0x801, PIECES) + bytes([9, 2, 1, 1])
    made = {
        file.name: pictures if "images" in file.name else labels
        for file in files.FILES.values()
    }
    pinned = {
        what: replace(file, sha256=hashlib.sha256(made[file.name]).hexdigest())
        for what, file in files.FILES.items()
    }
    monkeypatch.setattr(files, "FILES", pinned)
    monkeypatch.setattr(data, "FILES", pinned)
    return made


def put(folder: Path, contents: dict[str, bytes], *, packed: bool) -> None:
    folder.mkdir(parents=True)
    for name, content in contents.items():
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "plain"])
@pytest.mark.parametrize("place", ["", "FashionMNIST/raw"])
def test_files_are_taken_from_a_folder(
    cache: Path, contents: dict[str, bytes], tmp_path: Path, place: str, packed: bool
) -> None:
    put(tmp_path / "given" / place, contents, packed=packed)

    assert command.main(["--from", str(tmp_path / "given")]) == 0

    assert {path.name: path.read_bytes() for path in cache.iterdir()} == contents


def test_pictures_lie_between_0_and_1_in_the_order_of_the_file(
    cache: Path, contents: dict[str, bytes], tmp_path: Path
) -> None:
    put(tmp_path / "given", contents, packed=True)
    files.adopt(tmp_path / "given")

    case = cases.load("fashion", 3)

    pixels = list(contents[files.FILES["held-out pictures"].name][16:])
    assert isinstance(case.inputs, Tensor) and case.labels is not None
    assert (case.inputs.flatten() * 255).round().tolist() == pixels[: 3 * 28 * 28]
    assert case.inputs.shape == (3, 1, 28, 28)
    assert case.labels.tolist() == [9, 2, 1]
    assert case.classes == data.CLASSES
    assert cases.load("fashion-vgg", PIECES).inputs is not None
    with pytest.raises(CaseError) as error:
        cases.load("fashion", PIECES + 1)
    assert_one_line(error, f"1..{PIECES}", f"got {PIECES + 1}")


def gone(folder: Path, name: str) -> None:
    (folder / f"{name}.gz").unlink()


def changed(folder: Path, name: str) -> None:
    (folder / f"{name}.gz").write_bytes(gzip.compress(b"other"))


def torn(folder: Path, name: str) -> None:
    (folder / f"{name}.gz").write_bytes(b"no gzip")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (gone, "folder must hold t10k-labels-idx1-ubyte"),
        (changed, "must have SHA-256"),
        (torn, "must be a gzip file"),
    ],
)
def test_a_folder_without_the_pinned_files_is_refused_in_one_line(
    cache: Path,
    contents: dict[str, bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    harm: Callable[[Path, str], None],
    words: str,
) -> None:
    put(tmp_path / "given", contents, packed=True)
    harm(tmp_path / "given", "t10k-labels-idx1-ubyte")

    assert command.main(["--from", str(tmp_path / "given")]) == 2

    told = capsys.readouterr().err
    assert words in told and told.count("\n") == 1
    assert not (cache / "t10k-labels-idx1-ubyte").exists()


def test_a_fetched_file_that_was_changed_is_refused(
    cache: Path, contents: dict[str, bytes], tmp_path: Path
) -> None:
    put(tmp_path / "given", contents, packed=False)
    files.adopt(tmp_path / "given")
    (cache / "t10k-images-idx3-ubyte").write_bytes(b"other")

    with pytest.raises(CaseError) as error:
        cases.load("fashion")

    found = hashlib.sha256(b"other").hexdigest()
    assert_one_line(error, found, "delete it", files.FETCH)


def tool(folder: Path, name: str, *lines: str) -> None:
    """Put a command that stands in for one of Debian's into ``folder``."""
    path = folder / name
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_fetching_unpacks_debians_package(
    cache: Path, contents: dict[str, bytes], tmp_path: Path, tools: Path
) -> None:
    put(tmp_path / "deb" / "usr/share/datasets/fashion-mnist", contents, packed=True)
    tool(tools, "apt-get", "touch dataset-fashion-mnist_0_all.deb")
    tool(tools, "dpkg", f"cp -r {tmp_path / 'deb'}/usr .")

    assert command.main(["--fetch"]) == 0

    assert {path.name: path.read_bytes() for path in cache.iterdir()} == contents
    tool(tools, "apt-get", "exit 1")
    assert command.main(["--fetch"]) == 0


@pytest.mark.usefixtures("cache")
def test_a_package_that_cannot_be_had_is_told_in_one_line(
    tools: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tool(
        tools, "apt-get", "echo 'W: old' >&2", "echo 'E: no candidate' >&2", "exit 100"
    )
    tool(tools, "dpkg", "exit 1")

    assert command.main(["--fetch"]) == 2

    told = capsys.readouterr().err
    assert "E: no candidate" in told and "--from DIR" in told
    assert told.count("\n") == 1


@pytest.mark.usefixtures("cache")
def test_fetching_is_refused_where_there_is_no_apt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")

    assert command.main(["--fetch"]) == 2

    assert "--from DIR" in capsys.readouterr().err


def test_a_fashion_network_can_be_trained() -> None:
    design = replace(networks.NETWORKS["fashion"], epochs=10)
    labels = torch.arange(512) % 2
    halves = torch.stack([1 - labels, labels], 1).float()
    pictures = halves.repeat_interleave(14, 1).view(-1, 1, 1, 28).expand(-1, 1, 28, 28)
    clothes = data.Clothes(pictures, labels)

    network = fashion_train.train(design, clothes)

    assert fashion_train.accuracy(network, clothes) == 1.0


def spoilt_scenes(contents: dict[str, bytes], folder: Path) -> Stage[Table]:
    put(folder, contents, packed=False)
    files.adopt(folder)
    return failing.fashion_stage("fashion")


@pytest.mark.usefixtures("cache")
def test_a_picture_is_spoilt_by_its_own_row_and_nothing_is_left_of_it(
    contents: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failing, "HELD_OUT", PIECES)
    stage = spoilt_scenes(contents, tmp_path / "given")
    clean = stage.nominal(8, 7)
    everywhere = torch.ones(8, dtype=torch.bool)
    held_out = data.held_out()
    places = clean["picture"].long()
    assert torch.equal(stage.pictures(clean), held_out.pictures[places])
    assert torch.equal(stage.labels(clean), held_out.labels[places])

    for cause in failing.CAUSES:
        sick = stage.afflict(clean, cause, everywhere)
        pictures = stage.pictures(sick)
        assert bool((pictures != stage.pictures(clean)).flatten(1).any(1).all())
        assert 0 <= float(pictures.min()) <= float(pictures.max()) <= 1
        alone = stage.pictures(sick.rows(slice(3, 4)))
        assert torch.equal(alone, pictures[3:4])
        healed = stage.reset(sick, cause, everywhere)
        assert torch.equal(stage.pictures(healed), stage.pictures(clean))


@pytest.mark.usefixtures("cache")
def test_examples_of_clothes_are_the_first_that_were_learned(
    contents: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failing, "HELD_OUT", PIECES)
    stage = spoilt_scenes(contents, tmp_path / "given")

    examples = stage.nominal(PIECES, stage.learned)

    assert torch.equal(stage.pictures(examples), data.learned().pictures)
    assert torch.equal(stage.labels(examples), data.learned().labels)


def test_a_turn_is_about_the_middle_and_a_patch_is_grey() -> None:
    picture = torch.rand(1, 1, 28, 28, generator=torch.manual_seed(0))

    turned = failing._rotated(picture, 90.0, 0)
    patched = failing._patched(picture, 10.0, 5)

    assert torch.allclose(turned, picture.rot90(-1, (2, 3)), atol=1e-5)
    assert int((patched == 0.5).sum()) == 100


@pytest.mark.slow
def test_clothes_fail_by_what_was_done_to_their_pictures() -> None:
    needs_pictures()

    failures = cases.failing("fashion", 60, 0).failures

    assert failures.scenarios is not None
    known = [name for name in failures.scenarios.tolist() if name]
    assert {part for name in known for part in name.split("+")} == {
        cause.name for cause in failing.CAUSES
    }
    held_out = data.held_out()
    network = networks.load_network("fashion")
    clean = held_out.pictures[failures.recorded["picture"].astype(int)]
    right = network(clean).argmax(1).numpy() == failures.labels
    # Without a cause only what is wrong anyway; with one, only what is not.
    assert (right == (failures.scenarios != "")).all()
