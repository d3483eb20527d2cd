"""The page: a run folder in, one HTML file out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stoic.estimates import About, Row, pvf, summary
from stoic.estimates.changed import changed_share
from stoic.estimates.population import stratified
from stoic.estimates.ranking import worst_within
from stoic.estimates.searched import is_searched
from stoic.records import Manifest, Run, open_run
from stoic.records.files import ELSEWHERE, write_whole, writing
from stoic.report.bits import Format, formats
from stoic.report.inputs import Ranking, ranked_classes, ranked_inputs
from stoic.report.layers import Layers, layers_of, rows_by
from stoic.report.method import Fact, Tallies, method, tallies
from stoic.report.outcomes import Outcomes, outcomes
from stoic.report.plots import LEVELS, Plot, Scale, level, plot
from stoic.report.templating import rendered
from stoic.report.text import span
from stoic.report.words import criterion_words, planned

__all__ = ["write_report"]

_WORST = 12


@dataclass(frozen=True)
class _Places:
    """Where in the network failures come from.

    Args:
        layers: How components were joined.
        by_layer: One line per layer that has trials.
        untried: Layers without trials.
        by_kind: One line per kind of site, if there are several.
        sites: All sites that have trials, in network order.
        worst: Those with the highest estimates above 0.
        within: How far the list of them can be trusted, in words; empty if not asked.
        channels: Output channels with the highest lower limits, if any failed.
        formats: Tables by bit; none if faults have no single bit.
    """

    layers: Layers
    by_layer: Plot
    untried: int
    by_kind: Plot | None
    sites: Plot
    worst: Plot
    within: str
    channels: Plot
    formats: tuple[Format, ...]


@dataclass(frozen=True)
class _Contents:
    """Everything that the page shows."""

    manifest: Manifest
    about: About
    summary: str
    whole: Plot
    criterion: str
    planned: int
    tallies: Tallies
    outcomes: Outcomes
    changed: str
    places: _Places | None
    strata: Plot | None
    by_score: bool
    classes: Ranking | None
    inputs: Ranking | None
    method: tuple[Fact, ...]


def write_report(
    run_path: Path | str,
    out: Path | None = None,
    *,
    about: About = "inputs",
    with_nonfinite: bool = False,
) -> Path:
    """Write the report of a run: one file that needs nothing but a browser.

    Args:
        run_path: The run folder; the run may still be growing.
        out: Where to, ``report.html`` in the run folder by default. It is whole or as
            it was, at any moment.
        about: As for `stoic.estimates.pvf`.
        with_nonfinite: As for `stoic.estimates.outcome_shares`.

    Raises:
        RunError: It is no run folder, it is damaged, or the report finds no room.
        ValueError: The run has no trials yet, or cannot speak for a population.
    """
    run = open_run(run_path)
    target = Path(out) if out else run.path / "report.html"
    text = _page(_contents(run, about, with_nonfinite))
    with writing(target, ELSEWHERE):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, text)
    return target


def _contents(run: Run, about: About, with_nonfinite: bool) -> _Contents:
    (whole,) = pvf(run, about=about)
    manifest, counts = run.manifest, tallies(run)
    return _Contents(
        manifest=manifest,
        summary=summary(manifest, whole.estimate),
        whole=plot([(manifest.network.name, "", "", whole)]),
        criterion=criterion_words(manifest.criterion),
        planned=planned(manifest),
        tallies=counts,
        about=about,
        outcomes=outcomes(run, about=about, with_nonfinite=with_nonfinite),
        changed=_changed(run),
        places=_places(run, about),
        strata=_strata(run),
        by_score=is_searched(run.manifest),
        classes=ranked_classes(run),
        inputs=ranked_inputs(run),
        method=method(manifest, counts),
    )


def _places(run: Run, about: About) -> _Places | None:
    """Return what is known by place; nothing if a trial has several faults."""
    sites = run.manifest.space.sites
    layers = layers_of(sites)
    kinds = {site.name: site.kind for site in sites}
    try:
        by_site = pvf(run, "site", about=about)
    except ValueError:
        return None
    by_layer = dict(rows_by(run, layers.of, about=about))
    order = layers.ordered(sites)
    worst = sorted(by_site, key=lambda row: -row.estimate.value)[:_WORST]

    def named(row: Row) -> tuple[str, str, str, Row]:
        return row.label, kinds[row.label], "", row

    return _Places(
        layers=layers,
        by_layer=plot((x, "", "", by_layer[x]) for x in order if x in by_layer),
        untried=len(order) - len(by_layer),
        by_kind=_by_kind(run, about) if len(set(kinds.values())) > 1 else None,
        sites=plot(map(named, by_site)),
        worst=plot(named(row) for row in worst if row.estimate.value > 0),
        within=_within(run),
        channels=_channels(run, about),
        formats=_formats(run, layers, about),
    )


def _within(run: Run) -> str:
    """Say how far the listed sites are from the true worst ones, at the most."""
    if not is_searched(run.manifest) or len(run.manifest.space.sites) <= _WORST:
        return ""
    points = 100 * worst_within(run, _WORST)
    return (
        f"All of them are within {points:.3g} points of the true worst {_WORST}, or "
        "worse (95 % guaranteed, for all sites at once). "
    )


def _channels(run: Run, about: About) -> Plot:
    """The channels that are shown to be vulnerable: most have too few trials to be."""
    if is_searched(run.manifest):
        return plot([])
    rows = [r for r in pvf(run, "channel", about=about) if r.estimate.value > 0]
    rows.sort(key=lambda row: (-row.estimate.low, -row.estimate.value))
    return plot((str(r.key[0]), f"channel {r.key[1]}", "", r) for r in rows[:_WORST])


def _strata(run: Run) -> Plot | None:
    """The strata with trials, if faults were drawn from each apart."""
    if not (stratified(run.manifest) or is_searched(run.manifest)):
        return None
    rows = pvf(run, "stratum")
    if is_searched(run.manifest):
        # Scores make many strata: those that failed, or are proved, say something.
        proved = [row for row in rows if not row.trials and row.estimate.n == 0]
        rows = tuple(r for r in rows if r.estimate.value > 0 or r in proved)
    return plot((row.label, "", "", row) for row in rows)


def _changed(run: Run) -> str:
    """How many faults change their word, in words; empty where all of them do."""
    return "".join(span(row.estimate) for row in changed_share(run))


def _by_kind(run: Run, about: About) -> Plot:
    rows = pvf(run, "kind", about=about)
    return plot((row.label, "", "", row) for row in rows)


def _formats(run: Run, layers: Layers, about: About) -> tuple[Format, ...]:
    try:
        return formats(run, layers, about)
    except ValueError:
        return ()


def _page(contents: _Contents) -> str:
    return rendered(
        "report.html.j2",
        c=contents,
        levels=range(LEVELS + 1),
        level=level,
        share=Scale(1.0),
    )
