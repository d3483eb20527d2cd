"""Relevance: which part of an image, and of each inner value, a score came from.

The score of a class is handed back, step by step, to all that went into it (layer-wise
relevance propagation). Nothing is lost on the way: what no input gets, biases and
stabilisers have, and both are told.
"""
