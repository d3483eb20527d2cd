"""Campaigns on disk: the manifest of one, and running it into a folder."""

from __future__ import annotations

import platform
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stoic import __version__, records
from stoic.campaign.adaptive import NO_SHARES, AdaptiveCampaign, Shares
from stoic.campaign.benches import Benches
from stoic.campaign.campaign import Campaign, Shard
from stoic.campaign.checks import Sound, class_labels
from stoic.campaign.facts import Judge
from stoic.campaign.fingerprint import (
    code_fingerprint,
    data_fingerprint,
    network_fingerprint,
)
from stoic.campaign.looking import cell_columns, cells_fingerprint
from stoic.campaign.scores import best_classes, scores_of
from stoic.campaign.tables import tables
from stoic.campaign.trials import Bay
from stoic.criteria import Custom
from stoic.estimates.facts import read_facts
from stoic.faults.space import Block
from stoic.network.sites import Site

__all__ = ["manifest_of", "recorded", "shares_in"]

_SINGLE_BIT = ("flip", "stuck-at")


def recorded(
    campaign: Campaign | AdaptiveCampaign,
    manifest: records.Manifest,
    path: Path,
    *,
    clusters: Tensor | None = None,
    tick: Callable[[int], None] | None = None,
) -> Generator[int]:
    """Run a campaign into a folder, or go on with it there; yield trials so far.

    Args:
        campaign: To run.
        manifest: Of the campaign.
        path: The run folder; made if there is none.
        clusters: Source of each input, if several may come from one.
        tick: As in `Campaign.run`.

    Raises:
        RunError: The folder holds another campaign, is damaged, or is full.
    """
    done = _opened(campaign, manifest, path, clusters)
    count = _trials_in(path)
    yield count
    names = list(_outcome_names(manifest.top_k))
    # A shard is written while the next one runs.
    with ThreadPoolExecutor(1) as writer:
        written: Future[int] | None = None
        for shard in _shards(campaign, path, done, tick):
            if written is not None:
                count += written.result()
                yield count
            written = writer.submit(_write, path, shard, names)
        if written is not None:
            count += written.result()
            yield count


def _shards(
    campaign: Campaign | AdaptiveCampaign,
    path: Path,
    done: frozenset[int],
    tick: Callable[[int], None] | None,
) -> Iterator[Shard]:
    if isinstance(campaign, Campaign):
        return campaign.run(done, tick)
    return campaign.run(done, tick, shares_in(path) if done else NO_SHARES)


def shares_in(path: Path) -> Shares:
    """Return what came of the trials of a run so far, each at its number.

    Where a damaged shard was deleted, there are numbers without a trial.
    """
    with records.open_run(path).connection() as connection:
        facts = read_facts(connection, "o.failed", least=0)
    shares = np.zeros((2, int(facts.trial.max(initial=-1)) + 1))
    shares[:, facts.trial] = facts.low, facts.high
    return shares[0], shares[1]


def _write(path: Path, shard: Shard, names: Sequence[str]) -> int:
    """Write a shard and return how many trials it has."""
    trials, faults, outcomes = tables(shard.trials, shard.ran, names)
    records.write_shard(
        path, shard.number, trials=trials, faults=faults, outcomes=outcomes
    )
    return len(shard.trials)


def _trials_in(path: Path) -> int:
    with records.open_run(path).connection() as connection:
        row = connection.execute("SELECT count(*) FROM trials").fetchone()
    return int(row[0]) if row else 0


def _opened(
    campaign: Campaign | AdaptiveCampaign,
    manifest: records.Manifest,
    path: Path,
    clusters: Tensor | None,
) -> frozenset[int]:
    """Return the shards that are there, after making the folder if it is new."""
    there = (path / "manifest.json").exists()
    if there:
        records.check_same(records.read_manifest(path), manifest)
        records.clear_leftovers(path)

    def lacks(table: str) -> bool:
        # Deleted, as a user is told to if it is damaged.
        return not (there and (path / f"{table}.parquet").exists())

    if isinstance(campaign, AdaptiveCampaign) and lacks("cells"):
        records.write_cells(path, cell_columns(campaign.population))
    if lacks("golden"):
        golden = _golden(campaign.bay, manifest.top_k, clusters)
        records.write_golden(path, golden)
    if there:
        return frozenset(records.verify_shards(path))
    records.write_manifest(path, manifest)
    return frozenset()


@torch.inference_mode()
def _golden(bay: Bay, top_k: int, clusters: Tensor | None) -> dict[str, Any]:
    """Return the table of golden runs."""
    count = bay.inputs.count
    bench = Benches(bay)
    best = [
        best_classes(scores_of(bench(start).golden), top_k) if top_k else {}
        for start in bay.starts
    ]
    classes = class_labels(bay.labels)
    labels = np.full(count, -1) if classes is None else classes.cpu().numpy()
    sources = np.arange(count) if clusters is None else clusters.cpu().numpy()
    return {
        "input": np.arange(count),
        "label": labels,
        "cluster": sources,
        **{name: np.concatenate([part[name] for part in best]) for name in best[0]},
    }


def _outcome_names(top_k: int) -> Iterator[str]:
    yield from ("differs", "failed", "nonfinite", "nonfinite_at", "deviation")
    for name in ("top", "score"):
        yield from (f"{name}{rank}" for rank in range(top_k))


def manifest_of(
    campaign: Campaign | AdaptiveCampaign,
    network: nn.Module,
    *,
    name: str,
    classes: tuple[str, ...] | None,
    clusters: Tensor | None,
    bits: str,
    scope: str,
    command: list[str],
    sound: Sound,
) -> records.Manifest:
    """Return everything that decides which trials a campaign yields.

    Args:
        campaign: To be run.
        network: That it is about.
        name: Of the network, for people.
        classes: Names by label.
        clusters: Source of each input, if several may come from one.
        bits: As the user chose them.
        scope: Whether a fault in an activation hits one input or the batch.
        command: That asked for the campaign.
        sound: The golden run: the code of a network has no fingerprint, its output has.
    """
    bay, space = campaign.bay, campaign.space
    model = space.blocks[0].model.as_record()
    if campaign.several:
        model = {**model, "several": campaign.several.as_record()}
    return records.Manifest(
        stoic=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        network=_network_record(network, name),
        data=_data_record(bay, classes, clusters),
        space=records.SpaceRecord(
            sites=_site_records(space.blocks, str(model["name"])),
            fault_model={**model, "bits": bits},
            scope=scope,
            size=space.size,
        ),
        strata=[_stratum(stratum, part) for stratum, part in campaign.strata],
        plan=campaign.plan.as_record(),
        seed=campaign.seed,
        criterion=bay.judge.criterion.as_record(),
        mode="fast" if bay.fast else "exact",
        engine={
            **_engine_record(campaign),
            "layout": _layouts([*network.parameters(), *bay.inputs.leaves]),
            **_judge_record(bay.judge, sound),
        },
        versions={"python": platform.python_version(), "torch": torch.__version__},
        top_k=bay.judge.top_k,
    )


def _engine_record(campaign: Campaign | AdaptiveCampaign) -> dict[str, Any]:
    """Return the settings that the words of outputs may depend on."""
    bay = campaign.bay
    leaves = (leaf for leaf in bay.inputs.leaves if isinstance(leaf, Tensor))
    device = str(next((leaf.device for leaf in leaves), "cpu"))
    return {
        "batch": bay.batch,
        "shard": campaign.size,
        "limit_s": bay.limit_s,
        "threads": torch.get_num_threads(),
        "device": device,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        **(_gpu(device) if device != "cpu" else {}),
        "captured": bay.subject.reason is None,
        "reason": bay.subject.reason,
        **(
            {"cells": cells_fingerprint(campaign.population)}
            if isinstance(campaign, AdaptiveCampaign)
            else {}
        ),
    }


def _layouts(tensors: Iterable[Any]) -> str:
    """Name the memory layouts of tensors: kernels choose their instructions by them."""
    formats = {_layout(t) for t in tensors if isinstance(t, Tensor)}
    return " and ".join(sorted(formats)) or "contiguous"


def _layout(tensor: Tensor) -> str:
    if tensor.is_contiguous():
        return "contiguous"
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(tensor.dim())
    if last is not None and tensor.is_contiguous(memory_format=last):
        return "channels last"
    return "with gaps"


def _data_record(
    bay: Bay, classes: tuple[str, ...] | None, clusters: Tensor | None
) -> records.DataRecord:
    has_classes = class_labels(bay.labels) is not None
    return records.DataRecord(
        fingerprint=data_fingerprint(bay.inputs.leaves, bay.labels, clusters),
        inputs=bay.inputs.count,
        labelled=has_classes,
        clustered=clusters is not None,
        classes=list(classes) if classes else None,
        rows=bay.labels is not None and not has_classes,
    )


def _network_record(network: nn.Module, name: str) -> records.NetworkRecord:
    return records.NetworkRecord(
        name=name,
        fingerprint=network_fingerprint(network),
        parameters=sum(p.numel() for p in network.parameters()),
    )


def _judge_record(judge: Judge, sound: Sound) -> dict[str, Any]:
    """Return fingerprints of golden outputs and of the user's functions that judge."""
    criterion = judge.criterion
    custom = criterion.function if isinstance(criterion, Custom) else None
    return {
        "tail": code_fingerprint(judge.tail),
        "function": code_fingerprint(custom),
        "golden": sound.fingerprint,
        "tensors": sound.tensors,
    }


def _gpu(device: str) -> dict[str, Any]:
    return {
        "gpu": torch.cuda.get_device_name(device),
        "precision": torch.get_float32_matmul_precision(),
        "cudnn": {
            "version": torch.backends.cudnn.version(),
            "benchmark": torch.backends.cudnn.benchmark,
            "deterministic": torch.backends.cudnn.deterministic,
            "tf32": torch.backends.cudnn.allow_tf32,
        },
    }


def _stratum(name: str, space: Any) -> records.StratumRecord:
    sites = list(dict.fromkeys(block.site.name for block in space.blocks))
    bits = sorted({bit for block in space.blocks for bit in block.bits})
    return records.StratumRecord(name=name, size=space.size, sites=sites, bits=bits)


def _site_records(blocks: tuple[Block, ...], model: str) -> list[records.SiteRecord]:
    by_site: dict[Site, list[Block]] = {}
    for block in sorted(blocks, key=lambda block: block.site.order):
        by_site.setdefault(block.site, []).append(block)
    return [_site_record(site, own, model) for site, own in by_site.items()]


def _site_record(site: Site, blocks: list[Block], model: str) -> records.SiteRecord:
    bits = sorted({bit for block in blocks for bit in block.bits})
    return records.SiteRecord(
        name=site.name,
        kind=site.kind,
        component=site.component,
        dtype=str(site.dtype).removeprefix("torch."),
        shape=list(site.shape),
        elements=site.elements,
        bits=blocks[0].format.width,
        faults=sum(block.size for block in blocks),
        channels=site.shape[0] if site.shape else None,
        order=site.order,
        positions=bits if model in _SINGLE_BIT else None,
        inputs=blocks[0].inputs,
    )
