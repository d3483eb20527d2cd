"""Run folders made by hand: small spaces, invented outcomes, no network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stoic import records
from stoic.records import SiteRecord, StratumRecord

SITES = (
    SiteRecord(
        name="conv.weight",
        kind="parameter",
        component="conv",
        dtype="float16",
        shape=[2, 3],
        elements=6,
        bits=16,
        faults=96,
        channels=2,
        order=0,
    ),
    SiteRecord(
        name="conv.bias",
        kind="parameter",
        component="conv",
        dtype="float16",
        shape=[2],
        elements=2,
        bits=16,
        faults=32,
        channels=2,
        order=0,
    ),
    SiteRecord(
        name="fc.weight",
        kind="parameter",
        component="fc",
        dtype="int8",
        shape=[3, 4],
        elements=12,
        bits=8,
        faults=96,
        order=1,
    ),
)


def a_site(name: str, elements: int, **changes: Any) -> SiteRecord:
    """A float16 parameter in a component of its own."""
    return SiteRecord(
        **{
            "name": name,
            "kind": "parameter",
            "component": name.rpartition(".")[0],
            "dtype": "float16",
            "shape": [elements],
            "elements": elements,
            "bits": 16,
            "faults": 16 * elements,
            **changes,
        }
    )


def a_manifest(
    sites: Sequence[SiteRecord] = SITES,
    *,
    inputs: int = 6,
    plan: dict[str, Any] | None = None,
    strata: Sequence[StratumRecord] = (),
    **changes: Any,
) -> records.Manifest:
    """A manifest of single-bit flips in some sites."""
    size = sum(site.faults for site in sites)
    return records.Manifest(
        **{
            "stoic": "0.0.0",
            "created": "2024-01-01T00:00:00",
            "command": ["stoic", "pvf"],
            "network": records.NetworkRecord(
                name="tiny", fingerprint="abc", parameters=20
            ),
            "data": records.DataRecord(
                fingerprint="def", inputs=inputs, labelled=True, clustered=False
            ),
            "space": records.SpaceRecord(
                sites=list(sites),
                fault_model={"name": "flip"},
                scope="input",
                size=size,
            ),
            "strata": list(strata) or [StratumRecord(name="all", size=size)],
            "plan": plan or {"name": "uniform", "trials": 60, "replacement": False},
            "seed": 0,
            "criterion": {"name": "top1-changed"},
            "mode": "exact",
            "engine": {"threads": 2},
            "versions": {"torch": "2.11"},
            "top_k": 1,
            **changes,
        }
    )


@dataclass
class MadeTrial:
    """A trial as a test writes it down.

    Args:
        failed: Inputs whose output failed.
        differs: Inputs whose output differs without a failure.
    """

    site: str
    element: int
    bit: int
    failed: Sequence[int] = ()
    differs: Sequence[int] = ()
    nonfinite: Sequence[int] = ()
    untold: Sequence[int] = ()
    status: str = "done"
    stratum: int = 0
    input: int = -1
    more_faults: int = 0
    exact: bool = True

    def outcomes(self, golden: Sequence[int]) -> list[dict[str, Any]]:
        """One row per input that is not masked."""
        touched = {*self.failed, *self.differs, *self.nonfinite, *self.untold}
        return [
            {
                "input": i,
                "differs": None if i in self.untold else True,
                "failed": i in self.failed,
                "nonfinite": int(i in self.nonfinite),
                "nonfinite_at": 0 if i in self.nonfinite else -1,
                "deviation": 1.0,
                "top0": golden[i] + 1 if i in self.failed else golden[i],
                "score0": 0.5,
            }
            for i in sorted(touched)
        ]


def make_run(
    path: Path,
    manifest: records.Manifest,
    trials: Sequence[MadeTrial],
    *,
    labels: Sequence[int] | None = None,
    clusters: Sequence[int] | None = None,
) -> records.Run:
    """Write a run of these trials, in two shards, and open it."""
    inputs = manifest.data.inputs
    golden = [i % 3 for i in range(inputs)]
    records.write_golden(
        path,
        {
            "input": np.arange(inputs),
            "label": np.array(golden if labels is None else labels),
            "cluster": np.arange(inputs) if clusters is None else np.array(clusters),
            "top0": np.array(golden),
            "score0": np.ones(inputs),
        },
    )
    records.write_manifest(path, manifest)
    middle = len(trials) // 2
    parts = [range(middle), range(middle, len(trials))]
    for number, part in enumerate(part for part in parts if part):
        write_trials(path, number, manifest, golden, {i: trials[i] for i in part})
    return records.open_run(path)


def write_trials(
    path: Path,
    number: int,
    manifest: records.Manifest,
    golden: Sequence[int],
    trials: dict[int, MadeTrial],
) -> None:
    """Write a shard of some trials by their number."""
    rows = [(i, row) for i, t in trials.items() for row in t.outcomes(golden)]
    faults = [(i, t) for i, t in trials.items() for _ in range(1 + t.more_faults)]
    differs = [row["differs"] for _, row in rows]
    reach = [manifest.data.inputs if t.input < 0 else 1 for t in trials.values()]
    records.write_shard(
        path,
        number,
        trials={
            "trial": np.array(list(trials)),
            "stratum": np.array([t.stratum for t in trials.values()]),
            "status": np.array([t.status for t in trials.values()], object),
            "message": np.array(["" for _ in trials], object),
            "exposed": np.array(reach),
            "first": np.full(len(reach), -1),
            "seconds": np.zeros(len(trials)),
            "exact": np.array([t.exact for t in trials.values()]),
        },
        faults={
            "trial": np.array([i for i, _ in faults]),
            "site": np.array([t.site for _, t in faults], object),
            "element": np.array([t.element for _, t in faults]),
            "input": np.array([t.input for _, t in faults]),
            "bit": np.array([t.bit for _, t in faults]),
            "old": np.zeros(len(faults), np.uint64),
            "new": np.full(len(faults), 2**64 - 1, np.uint64),
        },
        outcomes={
            "trial": np.array([i for i, _ in rows], np.int64),
            "differs": np.ma.MaskedArray(
                [bool(d) for d in differs], [d is None for d in differs], bool
            ),
            **{
                name: np.array([row[name] for _, row in rows], kind)
                for name, kind in (
                    ("input", np.int32),
                    ("failed", bool),
                    ("nonfinite", np.int32),
                    ("nonfinite_at", np.int64),
                    ("deviation", np.float32),
                    ("top0", np.int32),
                    ("score0", np.float32),
                )
            },
        },
    )
