"""Extractors: what a failing image is turned into before it is compared with others."""
