"""Grids and their store: made once, kept whole, alike for any count of processes."""

import importlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from stoic.cases.imagenet.backbones import BACKBONES
from stoic.causes import sources
from stoic.causes.clusterings import Dbscan, Hdbscan, KMeans
from stoic.causes.extractors.backbones import Pretrained
from stoic.causes.failures import Examples, Failures, Inquiry
from stoic.causes.grid import Grid, GridError, Outcome, crossed
from stoic.causes.pipeline import Clusters, Features, Reduction
from stoic.causes.reductions import Pca, Whole
from stoic.causes.sources import modules_of
from stoic.causes.store import Entry, Store, content, digest, identity

STAGE = """
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Odd:
        name: str = "odd"

        def __call__(self, features, seed):
            from odd.more import size
            return features[:, :size]
"""


def inquiry(count: int = 60, seed: int = 0) -> Inquiry:
    """Images of three kinds, each a colour with noise."""
    draw = torch.Generator().manual_seed(seed)
    kinds = torch.arange(count) % 3
    images = 0.1 * torch.randn(count, 3, 4, 4, generator=draw)
    images += torch.eye(3)[kinds][:, :, None, None]
    labels = np.zeros(count, np.int64)
    names = tuple(f"{place}.png" for place in range(count))
    scores = np.eye(3, dtype=np.float32)[kinds]
    failures = Failures(images, labels, scores, names, {})
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    examples = Examples(images[:9], labels[:9])
    return Inquiry(network, failures, examples, torch.zeros(3), torch.ones(3))


@dataclass(frozen=True)
class Pixels:
    """Pixels, each a little off by chance; every call leaves a file behind."""

    name: str
    calls: Path | None = None

    def __call__(self, inquiry: Inquiry, seed: int) -> Features:
        if self.calls:
            (self.calls / f"{self.name} {time.time_ns()}").touch()
        draw = np.random.default_rng(seed)
        pixels = inquiry.failures.images.flatten(1).numpy()
        return (pixels + draw.normal(0, 0.1, pixels.shape)).astype(np.float32)


@dataclass(frozen=True)
class Broken:
    """Raises."""

    name: str = "broken"

    def __call__(self, features: Features, seed: int) -> Features:
        raise ZeroDivisionError("two\nlines")


@dataclass(frozen=True)
class Halves:
    """A clustering that chooses nothing."""

    name: str = "halves"

    def __call__(self, points: Features, seed: int) -> Clusters:
        return Clusters.of(np.arange(len(points)) % 2, {"size": np.float64(2)})


def grid(calls: Path | None = None, *reductions: Reduction) -> Grid:
    extractors = (Pixels("first", calls), Pixels("second", calls))
    clusterings = (KMeans(most=8), Dbscan(), Hdbscan())
    return Grid(crossed(extractors, (Whole(), Pca(3), *reductions), clusterings))


def same(one: Outcome, two: Outcome) -> bool:
    assert one.clusters is not None
    assert two.clusters is not None
    assert one.pipeline == two.pipeline
    assert (one.points == two.points).all()  # type: ignore[union-attr]
    assert len(one.candidates) == len(two.candidates)
    return (
        one.clusters.labels.tolist() == two.clusters.labels.tolist()
        and one.clusters.chosen == two.clusters.chosen
    )


def test_a_grid_gives_what_each_pipeline_alone_gives_and_makes_stages_once(
    tmp_path: Path,
) -> None:
    asked, told = inquiry(), []
    outcomes = list(
        grid(tmp_path).run(asked, 4, progress=lambda *now: told.append(now))
    )
    assert [each.pipeline for each in outcomes] == list(grid(tmp_path).pipelines)
    assert len(list(tmp_path.iterdir())) == 2
    assert told[0] == (0, 18)
    assert told[-1] == (18, 18)
    assert told == sorted(told)
    for each in outcomes:
        alone = each.pipeline(asked, 4)
        assert each.clusters is not None
        assert each.clusters.labels.tolist() == alone.labels.tolist()
        assert each.clusters.chosen == alone.chosen
        assert len(each.candidates) > 1
        assert len(each.seconds) == 3


def test_another_run_in_the_same_folder_makes_nothing_again(tmp_path: Path) -> None:
    (calls := tmp_path / "calls").mkdir()
    first = list(grid(calls).run(inquiry(), 4, folder=tmp_path / "kept"))
    again = list(grid(calls).run(inquiry(), 4, folder=tmp_path / "kept"))
    assert all(map(same, first, again))
    assert len(list(calls.iterdir())) == 2
    list(grid(calls).run(inquiry(), 5, folder=tmp_path / "kept"))
    list(grid(calls).run(inquiry(seed=1), 4, folder=tmp_path / "kept"))
    assert len(list(calls.iterdir())) == 6


def test_what_cannot_be_read_is_made_again(tmp_path: Path) -> None:
    first = list(grid().run(inquiry(), 4, folder=tmp_path))
    for place, path in enumerate(sorted(tmp_path.glob("*/*.npz"))):
        whole = path.read_bytes()
        middle = len(whole) // 2
        bad = [b"", whole[:middle], b"nonsense", whole[: middle - 9] + whole[middle:]]
        path.write_bytes(bad[place % 4])
    assert all(map(same, first, grid().run(inquiry(), 4, folder=tmp_path)))


def test_processes_change_nothing() -> None:
    plain = list(grid().run(inquiry(), 4))
    spread = list(grid().run(inquiry(), 4, processes=2))
    assert len(plain) == len(spread) == 12
    assert all(map(same, plain, spread))


def test_a_folder_removed_while_a_grid_runs_is_told_in_one_line(
    tmp_path: Path,
) -> None:
    kept = tmp_path / "kept"
    outcomes = grid().run(inquiry(), 4, folder=kept)
    next(outcomes)
    shutil.rmtree(kept)
    with pytest.raises(GridError, match=f"{kept} must keep what was made") as told:
        list(outcomes)
    assert "\n" not in str(told.value)
    assert len(list(grid().run(inquiry(), 4, folder=kept))) == 12


def test_a_changed_source_changes_the_names_of_what_it_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "__init__.py").touch()
    stage, more = tmp_path / "odd" / "stage.py", tmp_path / "odd" / "more.py"
    stage.write_text(textwrap.dedent(STAGE))
    monkeypatch.syspath_prepend(tmp_path)

    def key(text: str) -> str:
        more.write_text(text)
        for known in (sources.traced, sources._followed, sources._digest):
            known.cache_clear()
        whole: object = importlib.import_module("odd.stage").Odd()
        return Store(tmp_path).key(whole, "given", 1)

    first = key("size = 1")
    assert key("size = 2") != first
    assert key("size = 1") == first
    (tmp_path / "odd" / "other.py").write_text("imported by nobody")
    assert key("size = 1") == first
    # Values in its fields count, too, and whatever keeps what is made.
    assert modules_of(Pretrained(BACKBONES[0])) >= {
        "stoic.causes.extractors.backbones",
        "stoic.cases.imagenet.backbones",
    }


def test_a_stage_that_raises_is_the_problem_of_its_pipelines_alone() -> None:
    outcomes = list(grid(None, Broken()).run(inquiry(), 4))
    failed = [each for each in outcomes if each.problem]
    assert len(outcomes) == 18
    assert [each.pipeline.reduction.name for each in failed] == ["broken"] * 6
    assert {each.problem for each in failed} == {"broken: ZeroDivisionError: two lines"}
    assert all(each.clusters is None for each in failed)
    with pytest.raises(GridError, match="^broken: ZeroDivisionError: two lines$"):
        list(grid(None, Broken()).run(inquiry(), 4, strict=True))


def test_too_few_failures_are_an_outcome_too() -> None:
    outcomes = list(grid().run(inquiry(9), 4))
    assert all("failures must be at least 10" in each.problem for each in outcomes)


def test_a_clustering_that_chooses_nothing_has_no_candidates() -> None:
    pipelines = crossed((Pixels("one"),), (Whole(),), (Halves(),))
    (outcome,) = Grid(pipelines).run(inquiry(), 0)
    assert outcome.candidates == ()
    assert outcome.clusters is not None
    assert outcome.clusters.chosen == {"size": 2}
    assert outcome.clusters.count == 2


def test_a_stage_whose_repr_is_an_address_is_refused() -> None:
    class Loose:
        name = "loose"

        def __call__(self, features: Features, seed: int) -> Features:
            return features

    with pytest.raises(ValueError, match="make it a frozen dataclass"):
        grid(None, Loose())
    with pytest.raises(ValueError, match="at least one"):
        Grid(())


def test_an_entry_is_kept_whole_and_half_written_ones_are_tidied(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)
    key = store.key(Pca(3), "given", 1)
    assert store.read(key) is None
    table = np.arange(6.0).reshape(2, 3)
    store.write(key, Entry({"table": table}, {"count": np.int64(3)}))
    kept = store.read(key)
    assert kept is not None
    assert (kept.arrays["table"] == table).all()
    assert kept.notes == {"count": 3}
    (part := tmp_path / key[:2] / "x.1.part").touch()
    store.tidy()
    assert part.exists()
    os.utime(part, (0, 0))
    store.tidy()
    assert not part.exists()
    assert store.read(key) is not None


def test_names_of_entries_tell_stages_inputs_and_seeds_apart() -> None:
    store = Store(Path("nowhere"))
    ways = [
        (Pca(3), "given", 1),
        (Pca(4), "given", 1),
        (Whole(), "given", 1),
        (Pca(3), "other", 1),
        (Pca(3), "given", 2),
    ]
    assert len({store.key(*way) for way in ways}) == len(ways)
    assert identity(Pca(3)) == "stoic.causes.reductions.Pca Pca(dimensions=3)"
    assert digest("ab", "c") != digest("a", "bc")
    assert digest(np.zeros((2, 3))) != digest(np.zeros((3, 2)))


def test_content_is_of_images_and_network_not_of_names() -> None:
    asked = inquiry()
    assert content(asked) == content(inquiry())
    assert content(asked) != content(inquiry(seed=1))
    with torch.no_grad():
        asked.network[1].bias += 1  # type: ignore[index]
    assert content(asked) != content(inquiry())


SCRIPT = """
    import sys
    from pathlib import Path
    from test_causes_grid import grid, inquiry

    calls, kept = map(Path, sys.argv[1:])
    for outcome in grid(calls).run(inquiry(), 4, folder=kept):
        print(outcome.clusters.labels.tolist(), flush=True)
        sys.stdin.readline()
"""


def test_a_killed_run_is_gone_on_with(tmp_path: Path) -> None:
    (calls := tmp_path / "calls").mkdir()
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    child = subprocess.Popen(
        [sys.executable, str(script), str(calls), str(tmp_path / "kept")],
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        first = child.stdout.readline()
        child.send_signal(signal.SIGKILL)
    assert len(list(calls.iterdir())) == 2
    # By the name that the script has of this module: a stage's class tells it, too.
    again = importlib.import_module("test_causes_grid").grid(calls)
    outcomes = list(again.run(inquiry(), 4, folder=tmp_path / "kept"))
    assert first.strip() == str(outcomes[0].clusters.labels.tolist())
    assert len(list(calls.iterdir())) == 2
