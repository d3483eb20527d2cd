"""``stoic causes``: which few things a network's failures look like."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from stoic.cli.causes.find import find
from stoic.cli.causes.note import note
from stoic.cli.causes.retrain import retrain

__all__ = ["causes"]


class _CaseFirst(TyperGroup):
    """Takes a first word that is no command for a case, whose causes are found."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``find`` before the name of a case."""
        if args and args[0] not in (*self.commands, "--help", "-h"):
            args = ["find", *args]
        return super().parse_args(ctx, args)


causes = typer.Typer(
    name="causes",
    cls=_CaseFirst,
    help="Which few things do all failures of a network look like? "
    "'stoic causes CASE' is short for 'stoic causes find CASE'.",
    no_args_is_help=True,
)

causes.command()(find)
causes.command()(retrain)
causes.command()(note)
