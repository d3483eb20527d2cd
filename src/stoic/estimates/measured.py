"""What a measuring run answers: estimates and tables read from its folder; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stoic.estimates.changed import changed_share
from stoic.estimates.estimate import Estimate, Verdict, verdict
from stoic.estimates.named import has_table, table
from stoic.estimates.ranking import worst_within
from stoic.estimates.summary import summary
from stoic.estimates.tables import About, Row, check_about, pvf, worst_sites
from stoic.records import Run, open_run

__all__ = ["Measured", "open_measured"]


@dataclass(frozen=True)
class Measured:
    """A run and the answers in it.

    Args:
        run: The run folder.
        about: ``inputs``: these inputs are fixed, intervals cover the drawing of
            faults. ``population``: the inputs are a sample, too.
        with_nonfinite: Whether SDC and non-finite outputs are one outcome.
    """

    run: Run
    about: About = "inputs"
    with_nonfinite: bool = False

    def __post_init__(self) -> None:
        check_about(self.about)

    @property
    def path(self) -> Path:
        """Where the run is."""
        return self.run.path

    @property
    def pvf(self) -> Estimate:
        """The probability that a fault of the space fails an input."""
        return pvf(self.run, about=self.about)[0].estimate

    @property
    def summary(self) -> str:
        """What was measured, how sure it is and what it is about, in a sentence."""
        return summary(self.run.manifest, self.pvf)

    def outcomes(self) -> tuple[Row, ...]:
        """Return the share of every outcome."""
        return self.table("outcomes")

    def changed(self) -> tuple[Row, ...]:
        """Return the share of faults that change their word, where some may not."""
        return changed_share(self.run)

    def verdict(self, limit: float) -> Verdict:
        """Say whether the vulnerability is shown to be below or above a limit."""
        (row,) = pvf(self.run, about=self.about, confidence=0.90)
        return verdict(row.estimate, limit)

    def table(self, name: str) -> tuple[Row, ...]:
        """Return a table: one row per site, bit, outcome, input or what it is by.

        Args:
            name: One of `stoic.estimates.TABLES`.

        Raises:
            ValueError: There is no such table, or not for this run.
        """
        return table(
            self.run, name, about=self.about, with_nonfinite=self.with_nonfinite
        )

    def has(self, name: str) -> bool:
        """Say whether there is a table of this name."""
        return has_table(self.run, name, self.about)

    def as_record(self, tables: Sequence[str] = ()) -> dict[str, Any]:
        """Return the answers as plain data, for machines.

        Args:
            tables: Names of the tables wanted; the usual ones by default.

        Raises:
            ValueError: As for `table`.
        """
        names = tables or filter(self.has, _USUAL)
        return {
            "summary": self.summary,
            "run": str(self.path),
            "pvf": vars(self.pvf),
            **{name: [_plain(row) for row in self.table(name)] for name in names},
            **self._trusted(tables),
        }

    def _trusted(self, tables: Sequence[str]) -> dict[str, float]:
        """Say how far the list of the worst sites can be trusted, where it is asked."""
        if "worst" not in tables or self.about != "inputs":
            return {}
        return {"worst_within": self.worst_within()}

    def worst(self, n: int = 10) -> tuple[Row, ...]:
        """Return the sites with the highest estimates."""
        return worst_sites(self.run, n, about=self.about)

    def worst_within(self, n: int = 10) -> float:
        """Return how far below the true n-th worst site any of `worst` may be.

        With 95 % confidence for all of them at once; see `stoic.estimates.ranking`.
        """
        return worst_within(self.run, n)


def open_measured(
    path: Path | str, *, about: About = "inputs", with_nonfinite: bool = False
) -> Measured:
    """Return the answers in a run folder.

    Args:
        path: The run folder.
        about: As for `Measured`.
        with_nonfinite: As for `Measured`.

    Raises:
        RunError: It is no run folder, or it is damaged.
        ValueError: There is nothing else that estimates are about.
    """
    return Measured(open_run(path), about, with_nonfinite)


_USUAL = ("outcomes", "changed", "component", "site", "bit", "role")


def _plain(row: Row) -> dict[str, Any]:
    key = [part if isinstance(part, str) else int(part) for part in row.key]
    return {
        "key": key,
        **vars(row.estimate),
        "faults": row.faults,
        "trials": row.trials,
    }
