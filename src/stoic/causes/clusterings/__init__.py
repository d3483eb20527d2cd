"""Clusterings: one file for each; all choose their parameters without known causes."""

from stoic.causes.clusterings.dbscan import Dbscan
from stoic.causes.clusterings.fine import Fine
from stoic.causes.clusterings.hdbscan import Hdbscan
from stoic.causes.clusterings.kmeans import KMeans
from stoic.causes.clusterings.ward import Ward
from stoic.causes.pipeline import Choosing

__all__ = ["CLUSTERINGS", "HUDD", "Dbscan", "Fine", "Hdbscan", "KMeans", "Ward"]

CLUSTERINGS: tuple[Choosing, ...] = (KMeans(), Dbscan(), Hdbscan())
"""The three of the paper."""

HUDD: Choosing = Ward()
"""What its parent HUDD does."""
