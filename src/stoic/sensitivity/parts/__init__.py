"""Steps in parts that have bounds: of one result each, with inputs in dimension 0."""

from stoic.sensitivity.parts.parted import Parts

__all__ = ["Parts"]
