"""Decide who may do what: the chain of authorizers, RBAC and its rules, and the roles that every cluster has."""
