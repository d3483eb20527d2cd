"""From failures to a page: clusters, lists of images, one line for what is wrong."""

import base64
import io
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import stoic
from stoic.cases.folder import with_images
from stoic.cases.imagenet import files
from stoic.causes.clusterings import Dbscan, Hdbscan, KMeans
from stoic.causes.extractors.neurons import Layers, Neurons
from stoic.causes.failures import UNKNOWN, Examples, Failures, Inquiry
from stoic.causes.grid import GridError, crossed
from stoic.causes.pipeline import NOISE, Pipeline
from stoic.causes.reductions import Pca, Whole
from stoic.causes.relevance.overlay import overlay
from stoic.causes.retraining import Learning, retrained
from stoic.causes.scores import score
from stoic.causes.scores.stability import stability_of_seeds
from stoic.causes.sheets import heated, kept_heat
from stoic.causes.store import Store
from stoic.cli import main
from stoic.explaining import (
    Explained,
    again,
    all_pipelines,
    compare,
    compared,
    extractors,
    kept_tables,
    pipeline_of,
)
from stoic.improving import improve
from stoic.report.causes import write_causes_report
from stoic.report.notes import Note, named, read_notes, write_page

ROWS = 45
PIPELINE = Pipeline(Layers(), Pca(4), KMeans())


def inquiry(*, known: bool = True) -> Inquiry:
    """Dark, bright and striped pictures, all of which are read wrong."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    ).eval()
    images = torch.rand(ROWS, 3, 12, 12) * 0.1
    images[15:30] += 0.9
    images[30:, :, ::2] += 0.9
    with torch.no_grad():
        scores = network(images).numpy()
    kinds = np.array(["dark"] * 15 + ["bright"] * 15 + ["striped"] * 14 + [UNKNOWN])
    light = images.mean((1, 2, 3)).numpy()
    failures = Failures(
        images=images,
        labels=(scores.argmax(1) + 1) % 3,
        scores=scores,
        names=tuple(f"{row}.png" for row in range(ROWS)),
        recorded={"light": light},
        scenarios=kinds if known else None,
    )
    examples = Examples(torch.rand(20, 3, 12, 12), np.arange(20) % 3)
    return Inquiry(
        network, failures, examples, torch.zeros(3), torch.ones(3), ("a", "<b>")
    )


@pytest.fixture(scope="module")
def found() -> Explained:
    return stoic.explain(inquiry(), PIPELINE)


def test_failures_that_look_alike_are_in_one_cluster(found: Explained) -> None:
    assert found.scores is not None
    assert found.scores.purity == 1
    assert found.scores.coverage[0.9] == 1
    assert found.scores.unknown == 1
    assert found.random is not None
    looks = found.inspected
    assert looks is not None and looks.as_record() == found.as_record()["inspection"]
    # Pure clusters show a new cause each.
    assert looks.mean == found.scores.scenarios < looks.random_mean
    told = found.as_record()["order"]
    assert sorted(told["images"]) == sorted(found.inquiry.failures.names)
    # Dark, bright and striped ones: each is unlike all that was seen before.
    kinds = [int(name.removesuffix(".png")) // 15 for name in told["images"][:3]]
    assert sorted(kinds) == [0, 1, 2] and told["all causes after"] == 3
    names = [set(found.names(cluster)) for cluster in range(found.clusters.count)]
    assert sum(map(len, names)) + len(found.names(NOISE)) == ROWS
    dark = next(own for own in names if "0.png" in own)
    assert dark <= {f"{row}.png" for row in range(15)}


def test_without_known_causes_there_are_no_scores(tmp_path: Path) -> None:
    found = stoic.explain(inquiry(known=False), PIPELINE)
    assert found.scores is None
    assert found.random is None
    json.dumps(found.as_record())
    bare = replace(found.inquiry.failures, recorded={})
    bare_found = replace(found, inquiry=replace(found.inquiry, failures=bare))
    page = write_causes_report(bare_found.as_page("x", heat=False), tmp_path / "x.html")
    assert "recorded parameter" not in page.read_text()


def test_lists_of_images_are_those_of_the_clusters(
    found: Explained, tmp_path: Path
) -> None:
    (tmp_path / "cluster-77.txt").write_text("of another run")
    files = found.save_lists(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(files)
    order = found.save_order(tmp_path).read_text().splitlines()
    assert order == found.as_record()["order"]["images"]
    assert files[0].read_text().splitlines() == found.names(0)
    assert files[-1].read_text().splitlines() == found.names(NOISE)


def test_the_page_shows_every_cluster_and_escapes_names(
    found: Explained, tmp_path: Path
) -> None:
    page = write_causes_report(found.as_page("<i>mine</i>"), tmp_path / "p.html")
    text = page.read_text()

    assert found.inspected
    assert f"in turn or at random</th><td>{found.inspected.mean:.0f}</td>" in text
    assert "In which order to look" in text
    rare = found.as_record()["to see a cause"][-1]
    # Of two failures among 45, with a probability of 95 %.
    assert (rare["share"], rare["at_random"]) == (0.05, 35)
    assert f"5.0%</th><td>35</td><td>{rare['at_most']}</td>" in text
    assert "<i>mine" not in text
    assert "<b>" not in text.split("</style>")[1].replace("<bdi>", "")
    for number in range(found.clusters.count):
        assert f"Cluster {number}:" in text
    assert text.count("data:image/png;base64,") >= 3 * found.clusters.count
    assert "http" not in text.split("</style>")[1]


def test_a_name_given_to_a_cluster_stays_with_its_images(
    found: Explained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = write_page(found.as_page("mine", heat=False), tmp_path)
    assert main(["causes", "note", str(tmp_path), "1", "night, <b>"]) == 0
    assert main(["causes", "note", str(tmp_path), "0", "to be taken away"]) == 0
    assert main(["causes", "note", str(tmp_path), "0", ""]) == 0
    assert "Cluster 1, <bdi>night, &lt;b&gt;</bdi>:" in page.read_text()
    assert "taken away" not in page.read_text()
    told, notes = found.as_record(), read_notes(tmp_path)
    names = [own["name"] for own in named(told, notes)["clusters"]]
    assert names == [""] + ["night, <b>"] + [""] * (len(names) - 2)
    # Clusters of another run, in another order, some images in none.
    others = [{**own, "images": own["images"][1:]} for own in told["clusters"][::-1]]
    again = named(told | {"clusters": others}, notes)
    assert [own["name"] for own in again["clusters"]] == names[::-1]
    gone = named(told | {"clusters": told["clusters"][:1]}, notes)
    assert gone["names without a cluster"] == ["night, <b>"]
    shown = found.as_page("mine", heat=False)
    write_page(shown | {"clusters": shown["clusters"][:1]}, tmp_path)
    assert "that are no more: <bdi>night, &lt;b&gt;</bdi>" in page.read_text()
    # Of two clusters of one name, one is no more; of two names of one, the last holds.
    same = [*notes, Note("night, <b>", ("gone.png",))]
    assert named(told, same)["names without a cluster"] == ["night, <b>"]
    twice = [*notes, replace(notes[0], name="glare")]
    assert named(told, twice)["clusters"][1]["name"] == "glare"
    capsys.readouterr()
    for cluster in ("9", "x", "1.5"):
        assert main(["causes", "note", str(tmp_path), cluster, "dark"]) == 2
        said = capsys.readouterr().err
        assert "cluster must be one of 0..0" in said and said.count("\n") == 1
    assert main(["causes", "note", str(tmp_path / "no"), "1", "dark"]) == 2
    assert "must hold clusters that 'stoic causes" in capsys.readouterr().err
    (tmp_path / "notes.json").write_text("[{}]")
    assert main(["causes", "signs", "--out", str(tmp_path)]) == 2
    assert "notes.json must hold names of clusters" in capsys.readouterr().err


def test_a_picture_on_the_page_is_the_image(found: Explained) -> None:
    first = found.as_page("case")["clusters"][0]["typical"][0]
    data = base64.b64decode(first["source"].partition(",")[2])
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.array(image)
    row = int(first["name"].removesuffix(".png"))
    right = (255 * found.inquiry.failures.images[row]).round().permute(1, 2, 0).numpy()
    assert np.array_equal(pixels, right.clip(0, 255))


def test_a_heat_map_is_the_part_of_each_pixel_in_the_score(tmp_path: Path) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(3 * 16, 3, bias=False)
    network = nn.Sequential(nn.Flatten(), linear).eval()
    images = torch.rand(12, 3, 4, 4)
    with torch.no_grad():
        scores = network(images).numpy()
    failures = Failures(images, np.zeros(12, int), scores, ("",) * 12, {})
    asked = Inquiry(
        network, failures, Examples(images, failures.labels), *torch.eye(2, 3)
    )
    asked = replace(asked, black=torch.zeros(3), white=torch.ones(3))
    found = heated(asked, np.arange(12))
    weights = linear.weight.detach().reshape(3, 3, 4, 4)
    parts = (images * weights[torch.from_numpy(failures.predicted)]).sum(1)
    torch.testing.assert_close(found, overlay(images, parts), atol=1e-3, rtol=1e-3)
    store = Store(tmp_path)
    for _ in range(2):
        assert torch.equal(kept_heat(store, asked, np.arange(12)), found)
    assert len(list(tmp_path.glob("*/*.npz"))) == 1


def test_what_is_not_finite_names_no_class(found: Explained) -> None:
    asked = inquiry()
    asked.failures.scores[0] = np.nan
    told = replace(found, inquiry=asked).as_record()["clusters"]
    (own,) = (each for each in told if "0.png" in each["images"])
    assert ("not finite", 1) in own["predicted"]
    assert sum(count for _, count in own["predicted"]) == own["size"]


def test_features_of_a_network_that_gives_none_are_refused_in_one_line() -> None:
    narrow = nn.Sequential(nn.Flatten(), nn.Linear(5, 3))
    with pytest.raises(ValueError, match="must run on 2 of its .* got RuntimeError"):
        Layers()(replace(inquiry(), network=narrow), 0)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for extractor in (Layers(), Neurons()):
        with pytest.raises(ValueError, match="got a network without any"):
            extractor(replace(inquiry(), network=network), 0)


def test_without_heat_maps_the_page_says_why(found: Explained, tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if images.sum() > 0:
                return images.mean((2, 3))
            return images.amax((2, 3))

    odd = replace(found, inquiry=replace(found.inquiry, network=Odd().eval()))
    page = write_causes_report(odd.as_page("odd"), tmp_path / "page.html").read_text()
    assert "There are no heat maps: network must be captured" in page
    assert 'class="warm"' not in page
    page = write_causes_report(found.as_page("x"), tmp_path / "page.html").read_text()
    assert 'class="warm"' in page
    assert "There are no heat maps" not in page


def test_a_class_that_never_fails_is_told(tmp_path: Path) -> None:
    asked = inquiry()
    labels = np.where(asked.failures.labels == 1, 2, asked.failures.labels)
    failures = replace(asked.failures, labels=labels)
    found = stoic.explain(replace(asked, failures=failures), PIPELINE)
    right = set(asked.examples.labels.tolist())
    wanted = [("a", "<b>", "2")[n] for n in sorted(right - set(labels.tolist()))]
    assert "<b>" in wanted
    assert found.as_record()["classes without a failure"] == wanted
    page = write_causes_report(found.as_page("x"), tmp_path / "page.html").read_text()
    assert f"{len(wanted)} of 3 classes have no failure" in page


def test_clusters_come_again_under_other_seeds_and_of_samples(
    found: Explained,
) -> None:
    found = again(found, 3)
    seeds, samples = found.stability
    # Only the clustering depends on the seed.
    features = Layers()(found.inquiry, 0)
    runs = [KMeans()(Pca(4)(features, seed), seed) for seed in range(3)]
    assert seeds.as_record() == stability_of_seeds(runs).as_record()
    assert samples.rand is not None and samples.rand.low > 0.5
    assert samples.rand.n == 3
    with pytest.raises(ValueError, match="stability must be over at least 2 runs"):
        again(found, 1)


def spoilt(images: torch.Tensor) -> torch.Tensor:
    images = images.clone()
    images[7, 0, 0, 0] = torch.nan
    return images


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda images: images[:1].expand_as(images), "are the images all the same"),
        (spoilt, "NaN or infinity in 1 of 45 failures, the first 7.png"),
        (lambda images: images[:9], "must be at least 10 to make clusters of 5"),
    ],
)
def test_failures_that_cannot_be_clustered_are_refused_in_one_line(
    broken: Callable[[torch.Tensor], torch.Tensor], said: str
) -> None:
    asked = inquiry()
    images = broken(asked.failures.images)
    failures = replace(asked.failures.rows(range(len(images))), images=images)
    with pytest.raises(ValueError, match=said) as caught:
        stoic.explain(replace(asked, failures=failures), PIPELINE)
    assert "\n" not in str(caught.value)


def test_a_stage_is_named_or_refused_with_those_there_are() -> None:
    chosen = pipeline_of("neurons", "none", "HDBSCAN")
    assert chosen.name == "neurons + none + HDBSCAN"
    with pytest.raises(ValueError, match="extractor must be one of neurons, heat maps"):
        pipeline_of("resnet")
    assert len(extractors()) >= 11


def test_pipelines_are_compared_and_the_best_is_first(tmp_path: Path) -> None:
    asked = inquiry()
    pipelines = [
        Pipeline(Layers(), reduction, KMeans()) for reduction in (Whole(), Pca(1))
    ]
    outcomes = list(compare(asked, pipelines, folder=tmp_path))
    records = compared(outcomes, asked).as_record()["pipelines"]
    rows = {own["pipeline"]: own for own in records}
    for pipeline, outcome in zip(pipelines, outcomes, strict=True):
        alone = stoic.explain(asked, pipeline)
        assert outcome.clusters is not None
        assert np.array_equal(outcome.clusters.labels, alone.clusters.labels)
        assert alone.scores is not None
        assert rows[pipeline.name]["purity"] == alone.scores.purity
    assert len({each["pipeline"] for each in records}) == 2
    worths = [own["purity"] * own["coverage"] for own in records]
    assert worths == sorted(worths, reverse=True)
    (told,) = kept_tables(tmp_path, pipelines[0], asked, 0)
    assert np.array_equal(told, Layers()(asked, 0))
    best = compared(outcomes[::-1], asked)
    assert best.judged[0].worth == worths[0]
    assert best.best is best.judged[0].outcome


def test_regret_is_how_far_the_best_candidate_is_ahead() -> None:
    asked = inquiry()
    known = asked.failures.scenarios
    assert known is not None
    pipelines = crossed([Layers()], [Whole(), Pca(1)], [KMeans(), Dbscan()])
    outcomes = list(compare(asked, pipelines))
    several = compared(outcomes, asked)
    costs = {}
    for outcome in outcomes:
        assert outcome.clusters is not None
        worth = [
            (found.purity or 0, found.coverage[0.9])
            for each in (outcome.clusters, *outcome.candidates)
            if (found := score(each, known, parts=True))
        ]
        best = max(worth, key=sum)
        costs[outcome.pipeline.name] = [
            ahead - own for ahead, own in zip(best, worth[0], strict=True)
        ]
    for own in several.judged:
        assert own.regret is not None
        wanted = costs[own.outcome.pipeline.name]
        assert [own.regret.purity, own.regret.coverage] == pytest.approx(wanted)
    told = several.as_record()
    assert [row["pipelines"] for row in told["regret"]] == [1] * 4
    assert sorted(row["purity"]["worst"] for row in told["regret"]) == pytest.approx(
        sorted(cost[0] for cost in costs.values())
    )


def test_which_stage_matters_is_told_where_causes_are_known(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    pipelines = crossed(
        [Layers(), Neurons()], [Whole(), Pca(1)], [Dbscan(), Hdbscan(), KMeans(most=8)]
    )
    asked = inquiry()
    hard = asked.failures.images + 2 * torch.rand(ROWS, 3, 12, 12)
    asked = replace(asked, failures=replace(asked.failures, images=hard))
    monkeypatch.setattr("stoic.cases.failing", lambda *given, **how: asked)
    monkeypatch.setattr("stoic.explaining.all_pipelines", lambda *more: pipelines)
    kept = ("--kept", str(tmp_path / "kept"))
    words = ("causes", "signs", "--grid", "--out", str(tmp_path), *kept)
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["comparison"]
    assert len(told["pipelines"]) == 12
    assert len({row["purity"] for row in told["pipelines"]}) > 1
    assert all(row["chosen"]["validity"] <= 1 for row in told["pipelines"])
    for name, own in told["stages"].items():
        differ = len({row[name] for row in told["pipelines"]}) > 1
        assert sum(own["explained"].values()) == pytest.approx(float(differ))
        for factor, levels in own["levels"].items():
            scores: dict[str, list[float]] = defaultdict(list)
            for row in told["pipelines"]:
                scores[row[factor]].append(row[name])
            means = sorted(map(np.mean, scores.values()), reverse=True)
            assert [each["mean"] for each in levels] == pytest.approx(means)
        assert [len(pairs) for pairs in own["pairs"].values()] == [1, 1, 3]
    assert main([*words]) == 0
    text = capsys.readouterr().out
    page = (tmp_path / "causes.html").read_text()
    for said in ("regret", "purity, A12", "extractor × reduction", "min_samples"):
        assert said in text
        assert said in page
    assert "negligible" in page or "large" in page


def test_there_are_99_pipelines_each_with_a_name_of_its_own() -> None:
    names = {pipeline.name for pipeline in all_pipelines()}
    assert len(names) == 99
    assert len({own.name for own in all_pipelines("markers")} - names) == 9


def test_retraining_on_failures_of_each_cluster_mends_others(tmp_path: Path) -> None:
    found = improve(
        inquiry(),
        PIPELINE,
        budget=12,
        repeats=2,
        learning=Learning(epochs=60, rate=0.03, batch=16),
    )
    none, random, clusters = found.gains
    assert [gain.chosen for gain in found.gains] == ["none", "at random", "by clusters"]
    assert none.failing == 0
    assert clusters.failing > random.failing > 0
    assert np.mean(clusters.mended) > np.mean(none.mended)
    mean, low, high = found.advantage
    assert low <= mean <= high
    assert mean == pytest.approx(np.mean(clusters.mended) - np.mean(random.mended))
    record = json.loads(json.dumps(found.as_record()))
    result, *lists = found.save(tmp_path / "out", "mine")
    assert json.loads(result.read_text()) == record | {"case": "mine"}
    chosen = [set(file.read_text().splitlines()) for file in lists]
    assert sum(map(len, chosen)) / 2 == clusters.failing
    assert set.union(*chosen) < {f"{row}.png" for row in range(ROWS)}


def test_retraining_takes_three_parts_of_failures() -> None:
    asked = inquiry()
    few = replace(asked, failures=asked.failures.rows(range(29)))
    with pytest.raises(ValueError, match="failures must be at least 30"):
        improve(few, PIPELINE)
    examples = Examples(asked.examples.images[:14], asked.examples.labels[:14])
    with pytest.raises(ValueError, match="read right must be at least 15"):
        improve(replace(asked, examples=examples), PIPELINE)
    with pytest.raises(ValueError, match="repeats must be at least 2"):
        improve(asked, PIPELINE, repeats=1)


def test_a_budget_beyond_what_clusters_hold_is_the_same_for_all_ways() -> None:
    found = improve(inquiry(), PIPELINE, budget=99, repeats=2, learning=Learning(1))
    none, random, clusters = (gain.images for gain in found.gains)
    assert none <= random == clusters <= found.pool
    alike = replace(found.gains[1], mended=(0.5, 0.5))
    assert replace(found, gains=(alike,) * 3).advantage == (0.0, -1.0, 1.0)


def test_a_network_that_cannot_learn_is_told_in_one_line() -> None:
    class Answers(nn.Linear):
        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:  # type: ignore[override]
            return {"scores": super().forward(images.mean((2, 3)))}

    examples = Examples(torch.rand(4, 3, 8, 8), np.arange(4) % 3)
    with pytest.raises(ValueError, match="score for each class, .* got TypeError") as e:
        retrained(Answers(3, 3), examples, Learning(1), 0)
    assert "\n" not in str(e.value)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Grey digits as files, half of them in the folder of another digit."""
    case = stoic.load("digits", 60)
    assert case.labels is not None and isinstance(case.inputs, torch.Tensor)
    pixels = (255 * case.inputs / case.inputs.max()).round().byte()
    for row, label in enumerate(case.labels.tolist()):
        place = tmp_path / "photos" / str((label + row % 2) % 10)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[row, 0].numpy()).save(place / f"{row}.png")
    return tmp_path / "photos"


def test_own_images_are_read_and_what_is_wrong_is_clustered(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "0" / "broken.png").write_bytes(b"no picture")
    words = ("digits", "--images", str(photos), "--json")
    stages = ("--extractor", "neurons", "--reduction", "none")
    assert main(["causes", *words, *stages]) == 0
    told = capsys.readouterr()
    record = json.loads(told.out)
    assert "1 files cannot be read, the first 0/broken.png" in told.err
    names = record["noise"] + [n for own in record["clusters"] for n in own["images"]]
    odd = [name for name in names if int(Path(name).stem) % 2]
    assert len(odd) == 30
    assert len(names) == record["failures"] < 36
    assert main(["causes", *words, "--strict"]) == 2
    assert "must be readable, got 0/broken.png" in capsys.readouterr().err
    few = (
        "--clustering",
        "K-means",
        "--repeats",
        "2",
        "--budget",
        "9",
        "--epochs",
        "1",
    )
    assert main(["causes", "retrain", *words, *stages, *few]) == 0
    assert json.loads(capsys.readouterr().out)["pool"] >= 18


def test_folders_must_be_named_as_classes_are(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "0").rename(photos / "zero")
    assert main(["causes", "digits", "--images", str(photos)]) == 2
    assert "folders of images must be named as the classes" in capsys.readouterr().err
    dark = replace(stoic.load("digits", 4), inputs=torch.zeros(4, 1, 8, 8))
    with pytest.raises(ValueError, match="reach from black to white"):
        with_images(dark, photos)
    odd = replace(dark, inputs=torch.rand(4, 2, 8, 8))
    with pytest.raises(ValueError, match="with 1 or 3 channels"):
        with_images(odd, photos)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("signs", "--reduction", "SVD"), "reduction must be one of none, PCA, UMAP"),
        (("signs", "--clustering", "x"), "clustering must be one of K-means"),
        (("signs", "--failures", "3"), "at least"),
        (("signs", "--seed", "-1"), "seed must be in 0..2147483647, got -1"),
        (("signs", "--stability", "1"), "stability must be over at least 2 runs"),
        (("signs", "--kept", "x"), "kept must come with --grid"),
        (("signs", "--grid", "--kept", __file__), "must be writable, got"),
        (("signs", "--processes", "0"), "processes must come with --grid"),
        (("signs", "--strict"), "strict must come with --images"),
        (("signs", "--grid", "--reduction", "PCA"), "grid must be of all stages"),
        (("signs", "--out", __file__), "out must be a file that can be written"),
        (("nothing",), "case must be one of"),
        (("retrain", "signs", "--epochs", "0"), "epochs must be at least 1"),
        (("retrain", "signs", "--rate", "2"), "rate must be above 0"),
        (("retrain", "signs", "--of", "faults"), "no image can teach a network"),
        (("retrain", "signs", "--of", "misses"), "retraining must be on mistakes"),
        (("retrain", "signs", "--strict"), "strict must come with --images"),
        (("retrain", "signs", "--out", __file__), "out must be a file"),
    ],
)
def test_wrong_words_are_answered_in_one_line(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["causes", *words]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert said in told.err
    assert told.err.count("\n") == 1


def test_what_else_to_try_is_said_where_its_weights_are(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (weights := tmp_path / "weights").touch()
    monkeypatch.setattr("stoic.cases.failing", lambda *given, **how: inquiry())
    said = {}
    for words, file in (
        ((), weights),
        ((), tmp_path / "none"),
        (("--extractor", "neurons"), weights),
        (("--of", "faults", "--extractor", "layers"), weights),
    ):
        monkeypatch.setattr(files, "path_of", lambda package, file=file: file)
        stages = ("--reduction", "none", "--clustering", "HDBSCAN")
        assert main(["causes", "signs", *stages, *words]) == 0
        said[words, file] = "layers and SqueezeNet and Lite0" in capsys.readouterr().err
    assert list(said.values()) == [True, False, False, False]


def test_a_process_that_died_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def died(*given: object, **how: object) -> None:
        raise GridError("processes must live")

    monkeypatch.setattr("stoic.cases.failing", lambda *given, **how: inquiry())
    monkeypatch.setattr("stoic.explaining.compare", died)
    assert main(["causes", "signs", "--grid"]) == 4
    assert capsys.readouterr().err == "stoic: processes must live\n"
