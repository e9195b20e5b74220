"""Decide how many pods each revision has, as Knative's autoscaler does, and write it to the Deployment's scale.

A revision is a Deployment with REVISION_LABEL, a Service of the revision's name with the same label, and its pods with
it. Whoever makes them says by annotations of the Deployment how it is scaled (annotations.py), writes its replicas once
(`initial_replicas`) and never again. Nothing else is handed over.
"""
