"""The verbs of Stoic in Python: from a network to answers, in one call each."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from stoic.campaign.adaptive import AdaptiveCampaign
from stoic.campaign.campaign import Campaign
from stoic.campaign.checks import (
    Sound,
    check_clusters,
    check_count,
    check_golden,
    check_inputs,
    check_network,
    check_runs,
)
from stoic.campaign.facts import Judge
from stoic.campaign.looking import looked_at
from stoic.campaign.piloting import piloted
from stoic.campaign.record import manifest_of, recorded
from stoic.campaign.trials import Bay
from stoic.campaign.untouched import untouched
from stoic.campaign.verify import verify_run
from stoic.cases.case import Case
from stoic.criteria import Criterion, named_criterion
from stoic.estimates.clusters import check_population
from stoic.estimates.measured import Measured, open_measured
from stoic.estimates.tables import About, check_about
from stoic.faults.selection import chosen_sites
from stoic.faults.space import FaultSpace, fault_space
from stoic.network.certified.rounding import is_plain
from stoic.network.deployed import as_deployed
from stoic.network.general import stored_tensor
from stoic.network.memory import kept_memory, settled_objects
from stoic.network.prepare import prepare
from stoic.network.subject import Inputs, Subject
from stoic.plans import Plan
from stoic.records import Manifest, read_manifest
from stoic.settings import Settings, plan_of, shares_of, strata_of

__all__ = ["Measured", "Progress", "Settings", "open_measured", "pvf", "ready"]

Progress = Callable[[int, int], None]
"""Told how many trials are done, and of how many."""


def pvf(
    network: nn.Module,
    inputs: Any,
    labels: Tensor | None = None,
    *,
    settings: Settings | None = None,
    out: Path | str | None = None,
    name: str | None = None,
    classes: tuple[str, ...] | None = None,
    clusters: Tensor | None = None,
    tail: Callable[[Any], Any] | None = None,
    command: list[str] | None = None,
    verify: int = 0,
    about: About = "inputs",
    with_nonfinite: bool = False,
    progress: Progress | None = None,
    notice: Callable[[str], None] | None = None,
    **changes: Any,
) -> Measured:
    """Measure how likely a fault makes a network wrong on these inputs.

    Args:
        network: In evaluation mode; left bit for bit as it was.
        inputs: A tensor, a tuple or a dictionary of them; each has a row per input.
        labels: The right class of each input, or rows that the criterion asks for.
        settings: The campaign.
        out: Run folder, made or gone on with; a temporary one by default.
        name: Of the network, for people.
        classes: Names by label.
        clusters: Source of each input, if several come from one.
        tail: What is done with the network's output outside the graph.
        command: What made the run, for its manifest.
        verify: How many trials to run again naively, failing on any difference.
        about: Of estimates: these inputs, or the population that they are from.
        with_nonfinite: Whether SDC and non-finite outputs are one outcome.
        progress: Told how far the campaign is.
        notice: Told what a user should know.
        **changes: Fields of the settings, such as ``faults=2000``.

    Raises:
        ValueError: The input is bad; one line says what, why and what to do.

    References:
        PVF: arXiv 2405.01741, section 3.
    """
    check_count("verify", verify, 0)
    check_about(about)
    path = Path(out) if out else None
    chosen = _resumed(replace(settings or Settings(), **changes), path)
    given = _checked(network, inputs, labels, clusters, _criterion(chosen))
    name = name or type(network).__name__
    case = Case(name, network, inputs, labels, classes, clusters, tail)
    case = _deployed(case, given) if chosen.as_deployed else case
    with untouched(case.network), kept_memory():
        campaign, sound = _campaign(case, given, chosen, notice)
        manifest = _manifest(campaign, sound, case, chosen, command)
        _check_sources(about, manifest, clusters)
        path = _run(campaign, manifest, path, clusters, progress)
        verify_run(campaign, case.network, path, verify)
    return open_measured(path, about=about, with_nonfinite=with_nonfinite)


def _checked(
    network: nn.Module,
    inputs: Any,
    labels: Tensor | None,
    clusters: Tensor | None,
    criterion: Criterion,
) -> Inputs:
    given = as_inputs(inputs)
    check_network(network)
    check_inputs(given, labels, criterion)
    check_clusters(clusters, given)
    return given


def _check_sources(about: About, manifest: Manifest, clusters: Tensor | None) -> None:
    check_about(about, manifest)
    if about == "population":
        unlike = manifest.data.inputs if clusters is None else len(clusters.unique())
        check_population(manifest, unlike)


def _deployed(case: Case, inputs: Inputs) -> Case:
    with untouched(case.network):
        network = as_deployed(case.network, inputs)
    return replace(case, name=f"{case.name} as deployed", network=network)


def _run(
    campaign: Campaign | AdaptiveCampaign,
    manifest: Manifest,
    path: Path | None,
    clusters: Tensor | None,
    progress: Progress | None,
) -> Path:
    """Run a campaign into its folder, a temporary one by default."""
    path = path or Path(tempfile.mkdtemp(prefix="stoic-"))
    ticker = _Ticker(campaign, progress)
    steps = recorded(campaign, manifest, path, clusters=clusters, tick=ticker.tick)
    with settled_objects(), closing(steps):
        for done in steps:
            ticker.set(done)
    return path


def _manifest(
    campaign: Campaign | AdaptiveCampaign,
    sound: Sound,
    case: Case,
    chosen: Settings,
    command: list[str] | None,
) -> Manifest:
    return manifest_of(
        campaign,
        case.network,
        name=case.name,
        classes=case.classes,
        clusters=case.clusters,
        bits=chosen.bits,
        scope=chosen.scope,
        command=command or [Path(sys.argv[0]).name, *sys.argv[1:]],
        sound=sound,
    )


def _resumed(chosen: Settings, path: Path | None) -> Settings:
    """Return the settings with what was measured for a run that is gone on with.

    The size of shards and the inputs per fault follow from times: others would do as
    well, but trials must be the same.
    """
    if not path or not (path / "manifest.json").exists():
        return chosen
    there = read_manifest(path)
    if chosen.inputs_per_fault == "auto":
        chosen = replace(chosen, inputs_per_fault=there.plan.get("per_trial", "auto"))
    return chosen if chosen.shard else replace(chosen, shard=there.engine.get("shard"))


def ready(network: nn.Module, inputs: Any) -> Subject:
    """Return a network ready for trials: its sites, and what is none.

    Args:
        network: In evaluation mode; left bit for bit as it was.
        inputs: As for `pvf`.

    Raises:
        ValueError: The input is bad; one line says what, why and what to do.
    """
    given = as_inputs(inputs)
    check_network(network)
    check_inputs(given, None)
    with untouched(network):
        check_runs(network, given)
        return prepare(network, given)


def as_inputs(inputs: Any) -> Inputs:
    """Return what a user calls inputs as positional and keyword inputs."""
    if isinstance(inputs, Inputs):
        return inputs
    if isinstance(inputs, Tensor):
        return Inputs((inputs,), {})
    if isinstance(inputs, Mapping):
        return Inputs((), dict(inputs))
    if isinstance(inputs, tuple | list):
        return Inputs(tuple(inputs), {})
    raise ValueError(
        "inputs must be a tensor, a tuple or a dictionary of tensors, "
        f"got {type(inputs).__name__}"
    )


def _campaign(
    case: Case,
    inputs: Inputs,
    chosen: Settings,
    notice: Callable[[str], None] | None,
) -> tuple[Campaign | AdaptiveCampaign, Sound]:
    check_runs(case.network, inputs)
    subject = prepare(
        case.network, inputs, captured=chosen.captured, memory_bytes=chosen.memory
    )
    if subject.reason and notice:
        notice(f"slow path, the network cannot be captured: {subject.reason}")
    space = _space(subject, chosen, inputs.count)
    batch = chosen.batch or min(inputs.count, 64)
    if chosen.on_units:
        batch = chosen.units_plan().per_trial
    judge = Judge(_criterion(chosen), case.tail)
    slow = _exact_all_the_same(judge, inputs)
    if chosen.mode == "fast" and slow and notice:
        notice(f"fast mode is exact here: {slow}")
    bay = Bay(
        subject,
        inputs,
        case.labels,
        batch,
        judge,
        chosen.mode == "fast" and not slow,
        chosen.limit_s,
    )
    strata = () if chosen.on_units else strata_of(space, chosen.strata)
    plan = None if chosen.on_units else _plan(chosen, strata, case.network)
    sound = check_golden(case.network, bay)
    if chosen.inputs_per_fault == "auto":
        number = _piloted(bay, sound, space, chosen.seed, notice)
        chosen = replace(chosen, inputs_per_fault=number)
        bay = replace(bay, batch=number)
        sound = check_golden(case.network, bay)
    best = min(sound.judge.top_k, chosen.best)
    bay = bay.judged_by(replace(sound.judge, top_k=best))
    if plan is None:
        return _adaptive(bay, space, chosen, sound, notice), sound
    size = chosen.shard or _shard_size(sound.seconds * _part_of_a_run(strata))
    return Campaign(bay, strata, plan, chosen.seed, size, chosen.several), sound


def _exact_all_the_same(judge: Judge, inputs: Inputs) -> str:
    """Return why no trial may be off in its last bits, or nothing."""
    if judge.opaque:
        return "what a tail makes of rounding is not known"
    if not is_plain(inputs.device):
        return "how this device rounds is not known"
    return ""


def _piloted(
    bay: Bay,
    sound: Sound,
    space: FaultSpace,
    seed: int,
    notice: Callable[[str], None] | None,
) -> int:
    judged = replace(bay, judge=replace(sound.judge, top_k=0))
    return piloted(judged, space, seed, notice)


def _plan(
    chosen: Settings, strata: tuple[tuple[str, FaultSpace], ...], network: nn.Module
) -> Plan:
    shares = None
    if chosen.data_aware:
        shares = shares_of(strata, partial(stored_tensor, network))
    return plan_of(chosen, strata, shares)


def _adaptive(
    bay: Bay,
    space: FaultSpace,
    chosen: Settings,
    sound: Sound,
    notice: Callable[[str], None] | None,
) -> AdaptiveCampaign:
    plan = chosen.units_plan()
    population = looked_at(bay, space)
    outlook = plan.outlook(population.strata(), population.known)
    if notice:
        notice(outlook)
    size = chosen.shard or _shard_size(sound.seconds * bay.batch / bay.inputs.count)
    return AdaptiveCampaign(
        bay, space, population, plan, chosen.seed, size, chosen.seconds
    )


def _criterion(chosen: Settings) -> Criterion:
    criterion = chosen.criterion
    return named_criterion(criterion) if isinstance(criterion, str) else criterion


def _space(subject: Subject, chosen: Settings, inputs: int) -> FaultSpace:
    sites = chosen_sites(
        subject.sites,
        include=chosen.sites,
        exclude=chosen.exclude,
        kinds=chosen.kinds,
    )
    return fault_space(
        sites, bits=chosen.bits, model=chosen.model, inputs=inputs, scope=chosen.scope
    )


def _part_of_a_run(strata: Sequence[tuple[str, FaultSpace]]) -> float:
    """Return how much of a full run a trial needs: of one input, only its row."""
    blocks = [block for _, space in strata for block in space.blocks]
    rows = sum(block.size / (block.inputs or 1) for block in blocks)
    return rows / sum(block.size for block in blocks)


def _shard_size(seconds: float) -> int:
    """Return so many trials that even full runs of them take about half a minute."""
    size = 64
    while size < 8192 and size * 2 * seconds < 30:
        size *= 2
    return size


class _Ticker:
    """Progress in trials, from runs of a trial on a batch."""

    def __init__(
        self, campaign: Campaign | AdaptiveCampaign, progress: Progress | None
    ) -> None:
        self._progress = progress
        self._campaign = campaign
        self._per_trial = campaign.runs_per_trial
        self._done = 0.0

    def set(self, trials: int) -> None:
        self._done = trials
        self.tick(0)

    def tick(self, runs: int) -> None:
        self._done += runs / self._per_trial
        if self._progress:
            total = self._campaign.count
            self._progress(min(round(self._done), total), total)
