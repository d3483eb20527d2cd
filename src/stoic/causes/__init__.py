"""Causes: failures that look alike, so that an engineer looks at few of them.

A pipeline turns failing images into features, reduces these and clusters what is left.
A cluster is not yet a root cause: that is what a person concludes who has seen it.
"""
