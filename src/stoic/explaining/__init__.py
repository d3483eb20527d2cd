"""Explaining: from failures to clusters of them, and what a person needs to see."""

from stoic.explaining.comparing import Comparison, compare, compared, kept_tables
from stoic.explaining.finding import again, explain, explained
from stoic.explaining.found import Explained
from stoic.explaining.pipelines import all_pipelines, pipeline_of, stages
from stoic.extracting import ELEVEN, extractors

__all__ = [
    "ELEVEN",
    "Comparison",
    "Explained",
    "again",
    "all_pipelines",
    "compare",
    "compared",
    "explain",
    "explained",
    "extractors",
    "kept_tables",
    "pipeline_of",
    "stages",
]
