"""The command ``stoic``: thin functions over the library."""

from stoic.cli.commands import main

__all__ = ["main"]
