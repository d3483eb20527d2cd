"""Clusterings: one file for each; all choose their parameters without known causes."""

from stoic.causes.clusterings.dbscan import Dbscan
from stoic.causes.clusterings.hdbscan import Hdbscan
from stoic.causes.clusterings.kmeans import KMeans
from stoic.causes.clusterings.ward import Ward
from stoic.causes.pipeline import Tuned

__all__ = ["CLUSTERINGS", "HUDD", "Dbscan", "Hdbscan", "KMeans", "Ward"]

CLUSTERINGS: tuple[Tuned, ...] = (KMeans(), Dbscan(), Hdbscan())
"""The three of the paper."""

HUDD: Tuned = Ward()
"""What its parent HUDD does."""
