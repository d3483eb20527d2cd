"""Attacks: perturbations of inputs that are to move the outputs far, of equal size.

Each is a frozen value with one contract, and a pure function of its seed.
"""
