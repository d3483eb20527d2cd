"""How far perturbations of inputs, weights and roundings move what a network says.

What is called *certified* holds for every value that the perturbation can lead to, and
is rounded outwards.
"""
