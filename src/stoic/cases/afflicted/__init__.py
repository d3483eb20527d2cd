"""Scenes that a network gets wrong, for a reason that is known.

A `Stage` is a kind of scenes; a `Cause` can be given to any of them and taken away
again. `search` finds failures, and what each is due to by taking its causes away.
"""
