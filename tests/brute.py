"""The oracle of campaigns: recorded words put into a copy, full runs, plain Python.

Nothing of the engine is used but the names of sites: words are read with ``struct``,
the network is copied for every trial and run whole, and facts are taken row by row.
"""

from __future__ import annotations

import copy
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from stoic.network import prepare
from stoic.network.capture import capture
from stoic.network.program import Program
from stoic.records import open_run

__all__ = [
    "FORMATS",
    "Network",
    "Recorded",
    "assert_true",
    "capture_once",
    "recorded",
    "word_at",
]

Row = dict[str, Any]
Verdict = Callable[[Sequence[float], Sequence[float], int], bool]

# The letters of struct for a word and its bytes.
FORMATS = {
    torch.float64: "Q",
    torch.float32: "I",
    torch.float16: "H",
    torch.bfloat16: "H",
    torch.float8_e4m3fn: "B",
    torch.float8_e5m2: "B",
    torch.int64: "Q",
    torch.int32: "I",
    torch.uint8: "B",
    torch.bool: "B",
}
_BYTES = {"Q": torch.int64, "I": torch.int32, "H": torch.int16, "B": torch.uint8}


@dataclass(frozen=True)
class Recorded:
    """A trial as its run folder has it."""

    number: int
    status: str
    exposed: int
    exact: bool
    message: str
    first: int = -1
    faults: list[Row] = field(default_factory=list)
    rows: dict[int, Row] = field(default_factory=dict)


def recorded(path: Path) -> list[Recorded]:
    """Every trial of a run, in order."""
    with open_run(path).connection() as connection:

        def rows(query: str) -> list[Row]:
            answer = connection.execute(query)
            names = [column[0] for column in answer.description or ()]
            return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]

        trials = {
            row["trial"]: Recorded(
                row["trial"],
                row["status"],
                row["exposed"],
                row["exact"],
                row["message"],
                row["first"],
            )
            for row in rows("FROM trials ORDER BY trial")
        }
        for row in rows("FROM faults ORDER BY trial, site, element, input, bit"):
            trials[row.pop("trial")].faults.append(row)
        for row in rows("FROM outcomes ORDER BY trial, input"):
            assert row["input"] not in trials[row["trial"]].rows, "one row per input"
            trials[row.pop("trial")].rows[row.pop("input")] = row
    return list(trials.values())


def word_at(tensor: Tensor, element: int) -> int:
    """The stored word of an element in row-major order, read from its bytes."""
    letter = FORMATS[tensor.dtype]
    value = tensor.detach().reshape(-1)[element : element + 1].clone()
    raw = bytes(value.view(torch.uint8).tolist())
    return int(struct.unpack(f"<{letter}", raw)[0])


def put(tensor: Tensor, element: int, word: int) -> None:
    """Overwrite the word of an element of a contiguous tensor."""
    letter = FORMATS[tensor.dtype]
    raw = struct.pack(f"<{letter}", word)
    flat = tensor.detach().view(-1).view(torch.uint8)
    flat[element * len(raw) : (element + 1) * len(raw)] = torch.tensor(list(raw))


@dataclass(frozen=True)
class Network:
    """A network with its inputs, run in batches as the campaign runs it.

    Args:
        network: Never touched.
        inputs: Positional inputs, or keyword inputs.
        batch: Rows per run.
        scores: What in the output is compared and judged.
    """

    network: nn.Module
    inputs: tuple[Tensor, ...] | Mapping[str, Tensor]
    batch: int
    scores: Callable[[Any], Tensor] = lambda output: output

    @property
    def count(self) -> int:
        return len(self._tensors()[0])

    def _tensors(self) -> list[Tensor]:
        given = self.inputs
        return list(given.values() if isinstance(given, Mapping) else given)

    def golden(self) -> Tensor:
        return self.run(())

    @torch.inference_mode()
    def run(self, faults: Sequence[Row]) -> Tensor:
        """The scores of all inputs under faults, batch after batch."""
        network = copy.deepcopy(self.network)
        names = dict(network.named_parameters()) | dict(network.named_buffers())
        golden = copy.deepcopy(names)
        for fault in faults:
            name, element = fault["site"], fault["element"]
            if name in names:
                assert word_at(golden[name], element) == fault["old"]
                put(names[name], element, word_at(names[name], element) ^ mask(fault))
        inside = [f for f in faults if f["site"] not in names]
        starts = range(0, self.count, self.batch)
        return torch.cat([self._batch(network, start, inside) for start in starts])

    def _batch(self, network: nn.Module, start: int, faults: Sequence[Row]) -> Tensor:
        rows = slice(start, start + self.batch)
        given = [tensor[rows].clone() for tensor in self._tensors()]
        handles = []
        for fault in faults:
            place, _, last = fault["site"].rpartition(":")
            if last.startswith("input."):
                strike(given[int(last.removeprefix("input."))], fault, start)
                continue
            assert last == "out", fault["site"]

            def hook(_: Any, __: Any, value: Tensor, fault: Row = fault) -> Tensor:
                struck = value.clone()
                strike(struck, fault, start)
                return struck

            module = network.get_submodule(place)
            handles.append(module.register_forward_hook(hook))
        if isinstance(self.inputs, Mapping):
            output = network(**dict(zip(self.inputs, given, strict=True)))
        else:
            output = network(*given)
        for handle in handles:
            handle.remove()
        return self.scores(output)


def mask(fault: Row) -> int:
    """The bits that a fault changed, of one word or of several faults in a word."""
    return int(fault["old"] ^ fault["new"])


def strike(value: Tensor, fault: Row, start: int) -> None:
    """Change the same bits in one row of a value, or in every row."""
    inner = value[0].numel()
    for row in range(len(value)):
        if fault["input"] in (-1, start + row):
            place = row * inner + fault["element"]
            put(value, place, word_at(value, place) ^ mask(fault))


def assert_true(
    path: Path,
    of: Network,
    verdict: Verdict,
    labels: Sequence[int] | None = None,
    *,
    exact: bool = True,
    top_k: int = 0,
    trials: Sequence[Recorded] | None = None,
) -> int:
    """Check every recorded fact of a run; say how many failures were seen.

    Args:
        exact: Every fact, or only verdicts and counts of non-finite values.
    """
    golden, failures = of.golden(), 0
    for trial in trials if trials is not None else recorded(path):
        assert trial.status == "done", trial
        alone = {f["input"] for f in trial.faults}
        hit = range(of.count)
        if len(alone) == 1 and (only := alone.pop()) >= 0:
            hit = range(only, only + 1)
        elif trial.first >= 0:
            hit = range(trial.first, trial.first + of.batch)
        assert trial.exposed == len(hit), trial
        assert trial.rows.keys() <= set(hit), trial
        faulty = of.run(trial.faults)
        for row in hit:
            facts = facts_of(golden[row], faulty[row], top_k)
            before, after = golden[row].tolist(), faulty[row].tolist()
            label = labels[row] if labels is not None else -1
            facts["failed"] = verdict(before, after, label)
            failures += facts["failed"]
            assert_row(trial, row, facts, exact=exact)
    return failures


def assert_row(trial: Recorded, row: int, facts: Row, *, exact: bool) -> None:
    found = trial.rows.get(row)
    if found is None:
        # Without a row the output words are the golden ones, or too close to them.
        assert not facts["differs" if trial.exact else "failed"], (trial, row, facts)
        assert not facts["nonfinite"], (trial, row, facts)
        return
    if exact:
        assert trial.exact
        assert facts["differs"], "a masked input needs no row"
        assert same(found, facts), (trial, row, found, facts)
        return
    assert found["failed"] == facts["failed"], (trial, row, facts)
    for fact in ("nonfinite", "nonfinite_at"):
        assert found[fact] == facts[fact], (trial, row, facts)
    assert found["differs"] in (None, facts["differs"]), (trial, row, facts)


def same(found: Row, facts: Row) -> bool:
    assert found.keys() == facts.keys(), (found.keys(), facts.keys())
    # Tables have NULL where a score is not a number.
    return all(
        found[key] == facts[key] or (found[key] is None and math.isnan(facts[key]))
        for key in facts
    )


def _as_float32(value: float) -> float:
    """Round as the table does: what is too large for it becomes endless."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def facts_of(golden: Tensor, faulty: Tensor, top_k: int) -> Row:
    """What is recorded of one row, from its definition."""
    before, after = golden.reshape(-1).tolist(), faulty.reshape(-1).tolist()
    gaps = [abs(b - a) for a, b in zip(before, after, strict=True)]
    broken = [i for i, score in enumerate(after) if not math.isfinite(score)]
    facts = {
        "differs": any(
            word_at(golden, i) != word_at(faulty, i) for i in range(len(before))
        ),
        "nonfinite": len(broken),
        "nonfinite_at": broken[0] if broken else -1,
        "deviation": _as_float32(
            max((gap for gap in gaps if math.isfinite(gap)), default=0.0)
        ),
    }
    ranking = sorted(
        range(len(after)), key=lambda i: (not math.isnan(after[i]), -after[i], i)
    )
    for rank in range(top_k):
        facts[f"top{rank}"] = ranking[rank]
        facts[f"score{rank}"] = _as_float32(after[ranking[rank]])
    return facts


_PROGRAMS: dict[Any, tuple[nn.Module, Program]] = {}


def capture_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Capture each network once for all tests: that takes longer than most campaigns.

    Programs share the tensors of their network, which no campaign changes.
    """

    def once(network: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> Program:
        shapes = [(t.shape, t.dtype) for t in pytree.tree_leaves((args, dict(kwargs)))]
        key = (id(network), str(shapes))
        if key not in _PROGRAMS:
            # With the network, so that its id is never that of another one.
            _PROGRAMS[key] = network, capture(network, args, kwargs)
        return _PROGRAMS[key][1]

    monkeypatch.setattr(prepare, "capture", once)
