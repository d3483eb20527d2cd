"""Outcomes: what became of the inputs of a trial, as shares of all of them."""

from __future__ import annotations

from dataclasses import dataclass

from stoic.estimates import OUTCOMES, About, outcome_shares
from stoic.records import Run
from stoic.report.plots import Plot, plot

__all__ = ["Outcomes", "Segment", "outcomes"]

_NOTES = {
    "masked": "the output is the same, word for word",
    "benign": "the output differs, but does not fail",
    "harmless": "masked or benign: fast mode does not tell them apart",
    "sdc": "silent data corruption: the output fails, and all of it is finite",
    "nonfinite": "infinity or NaN in the output, failed or not",
    "sdc_or_nonfinite": "the output fails, or infinity or NaN is in it",
    "crash": "the faulty run raised an error",
    "unknown": "over the time limit: it may be any of the others",
    "proved to hold": "no trial: it follows that the output does not fail",
    "proved to fail": "no trial: it follows that the output fails",
}
# Classes of the style sheet, where they are not the name.
_TONES = {
    "sdc_or_nonfinite": "sdc",
    "proved to hold": "harmless",
    "proved to fail": "sdc",
}
_SHORTENED = 160


@dataclass(frozen=True)
class Segment:
    """A part of the bar.

    Args:
        name: Of the outcome.
        tone: Class that colours it.
        start: Where it starts, in percent of the width.
        width: Of it, in percent.
    """

    name: str
    tone: str
    start: float
    width: float


@dataclass(frozen=True)
class Outcomes:
    """Shares of outcomes.

    Args:
        plot: One line per outcome that can have happened.
        segments: The bar.
        messages: What trials without a result said, and how many did.
    """

    plot: Plot
    segments: tuple[Segment, ...]
    messages: tuple[tuple[str, int], ...]


def outcomes(
    run: Run, *, about: About = "inputs", with_nonfinite: bool = False
) -> Outcomes:
    """Return the shares of outcomes of a run; the arguments are `outcome_shares`'s."""
    rows = outcome_shares(run, about=about, with_nonfinite=with_nonfinite)
    segments, start = [], 0.0
    for row in rows:
        name, width = str(row.key[0]), 100 * row.estimate.value
        tone = _TONES.get(name, name)
        segments.append(Segment(OUTCOMES[name], tone, round(start, 3), round(width, 3)))
        start += width
    return Outcomes(
        plot=plot(
            (OUTCOMES[n], _NOTES[n], _TONES.get(n, n), r)
            for r in rows
            for n in [str(r.key[0])]
        ),
        segments=tuple(s for s in segments if s.width),
        messages=_messages(run),
    )


def _messages(run: Run) -> tuple[tuple[str, int], ...]:
    with run.connection() as connection:
        found = connection.execute(
            f"""
            SELECT left(message, {_SHORTENED}) AS text, count(*) AS trials
            FROM trials WHERE status <> 'done' GROUP BY text
            ORDER BY trials DESC, text LIMIT 5
            """
        ).fetchall()
    return tuple((str(text or "no message"), int(trials)) for text, trials in found)
