"""Peers: how others find groups of failures, to compare pipelines with.

One contract, `Peer`: from the evidence of failures and of right images to clusters of
the failures. Each is restated from its paper, and deterministic for a seed.
"""

from stoic.causes.peers.directions import Directions
from stoic.causes.peers.domino import Domino
from stoic.causes.peers.evidence import Evidence, Peer, gather
from stoic.causes.peers.planespot import Plane, PlaneSpot
from stoic.causes.peers.softmax import Softmax
from stoic.causes.peers.underperforming import Underperforming

__all__ = [
    "PEERS",
    "Directions",
    "Domino",
    "Evidence",
    "Peer",
    "Plane",
    "PlaneSpot",
    "Softmax",
    "Underperforming",
    "gather",
]

PEERS: tuple[Peer, ...] = (
    Domino(),
    PlaneSpot(),
    Directions(),
    Underperforming(),
    Softmax(),
)
"""All of them, in their papers' settings."""
