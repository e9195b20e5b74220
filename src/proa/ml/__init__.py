"""The ML life cycle as operators of Kubernetes: each area a package of its own, independent of the others.

They use public verbs of the Kubernetes API through `client` only, so that they run unchanged on any cluster.
"""
