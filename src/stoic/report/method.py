"""How a run was measured, as a list of facts."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from stoic.records import Manifest, Run
from stoic.report.words import (
    criterion_words,
    fault_words,
    mode_words,
    plan_words,
)

__all__ = ["Fact", "Tallies", "method", "tallies"]

# Parts of the engine in words; how the network was run has a line of its own.
_ENGINE = {
    "device": "{}",
    "cpu": "{}",
    "threads": "threads: {}",
    "layout": "memory layout: {}",
    "batch": "inputs per run: {}",
    "shard": "trials per shard: {}",
    "limit_s": "time limit: {:g} s per run",
}


@dataclass(frozen=True)
class Fact:
    """One line of the method.

    Args:
        name: What it is about.
        text: In words.
        code: What is shown as it is written.
    """

    name: str
    text: str
    code: str = ""


@dataclass(frozen=True)
class Tallies:
    """Counts over a run.

    Args:
        trials: All of them.
        failing: Those that failed an input, or crashed.
        exactly: Those whose outputs were found exactly.
        seconds: That they took.
        right: Share of the labelled inputs that the golden run gets right, if known.
    """

    trials: int
    failing: int
    exactly: int
    seconds: float
    right: float | None


def tallies(run: Run) -> Tallies:
    """Count."""
    manifest = run.manifest
    with run.connection() as connection:
        counted = connection.execute(
            """
            SELECT count(*), count(*) FILTER (
                status = 'crash' OR status = 'done' AND trial IN (
                    SELECT trial FROM outcomes WHERE failed
                )
            ), count(*) FILTER (exact), coalesce(sum(seconds), 0) FROM trials
            """
        ).fetchone()
        right = None
        if manifest.data.labelled and manifest.top_k:
            found = connection.execute(
                "SELECT avg((top0 = label)::INT) FROM golden WHERE label >= 0"
            ).fetchone()
            right = found[0] if found else None
    assert counted is not None
    trials, failing, exactly, seconds = counted
    return Tallies(int(trials), int(failing), int(exactly), float(seconds), right)


def method(manifest: Manifest, counts: Tallies) -> tuple[Fact, ...]:
    """Return the facts that a reader needs to judge a run, and to repeat it."""
    return (
        *_subject(manifest, counts),
        *_faults(manifest),
        *_machine(manifest, counts),
    )


def _subject(manifest: Manifest, counts: Tallies) -> Iterator[Fact]:
    network, data = manifest.network, manifest.data
    yield Fact(
        "Network",
        f"{network.name}, {network.parameters:,} parameters",
        network.fingerprint[:12],
    )
    labels = "with labels" if data.labelled or data.rows else "without labels"
    sources = ", several from one source" if data.clustered else ""
    yield Fact("Inputs", f"{data.inputs:,}, {labels}{sources}", data.fingerprint[:12])
    if counts.right is not None:
        yield Fact("Without a fault", f"{100 * counts.right:.4g} % of them are right")


def _faults(manifest: Manifest) -> Iterator[Fact]:
    space = manifest.space
    kinds = Counter(site.kind for site in space.sites)
    sites = ", ".join(_counted(number, kind) for kind, number in kinds.items())
    yield Fact("Fault model", fault_words(manifest))
    scope = ""
    if any(site.inputs for site in space.sites):
        scope = "; a fault in an activation or input hits the row of one input"
    yield Fact("Fault space", f"{space.size:,} faults in {sites}{scope}")
    yield Fact("Plan", f"{plan_words(manifest)}; seed {manifest.seed}")
    yield Fact("Criterion", f"an input fails if {criterion_words(manifest.criterion)}")


def _counted(number: int, kind: str) -> str:
    plural = "ies" if kind.endswith("y") else "s"
    return f"{number:,} {kind}" if number == 1 else f"{number:,} {kind}{plural}"


def _machine(manifest: Manifest, counts: Tallies) -> Iterator[Fact]:
    exactly = ""
    if manifest.mode == "fast":
        exactly = f" ({counts.exactly:,} of {counts.trials:,} trials)"
    yield Fact("Mode", f"{manifest.mode}: {mode_words(manifest)}{exactly}")
    engine = manifest.engine
    if engine.get("captured", True):
        path = "captured: only what lies downstream of a fault was run again"
    else:
        reason = engine.get("reason") or "not asked for"
        path = f"slow path, whole runs with the fault in place; not captured: {reason}"
    yield Fact("Engine", path)
    rest = [name for name in engine if name not in (*_ENGINE, "captured", "reason")]
    parts = [
        _ENGINE.get(name, f"{name}: {{}}").format(engine[name])
        for name in (*_ENGINE, *rest)
        if engine.get(name) is not None
    ]
    yield Fact("Machine", ", ".join(parts))
    yield Fact("Time", f"{counts.seconds:,.1f} s in {counts.trials:,} trials")
    versions = ", ".join(f"{k} {v}" for k, v in manifest.versions.items())
    yield Fact("Versions", f"Stoic {manifest.stoic}, {versions}; {manifest.created}")
    yield Fact("Command", "", shlex.join(manifest.command))
