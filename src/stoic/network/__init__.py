"""The only room that runs a network with a fault in it."""

__all__: list[str] = []
