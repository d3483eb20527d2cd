"""What a measuring run answers: estimates and tables read from its folder; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stoic.estimates.estimate import Estimate
from stoic.estimates.tables import Row, pvf, worst_sites
from stoic.records import Run, open_run

__all__ = ["Measured", "open_measured"]


@dataclass(frozen=True)
class Measured:
    """A run and the answers in it.

    Args:
        run: The run folder.
    """

    run: Run

    @property
    def path(self) -> Path:
        """Where the run is."""
        return self.run.path

    @property
    def pvf(self) -> Estimate:
        """The probability that a fault of the space fails an input."""
        return pvf(self.run)[0].estimate

    def table(self, by: str) -> tuple[Row, ...]:
        """Return estimates by component, site, channel, bit, role, kind or stratum."""
        return pvf(self.run, by)  # type: ignore[arg-type]

    def worst(self, n: int = 10) -> tuple[Row, ...]:
        """Return the sites with the highest estimates."""
        return worst_sites(self.run, n)


def open_measured(path: Path | str) -> Measured:
    """Return the answers in a run folder.

    Raises:
        RunError: It is no run folder, or it is damaged.
    """
    return Measured(open_run(path))
