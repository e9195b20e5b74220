"""The cluster's own registry, `proa.local:5000`: what is pushed to it is in this machine's store and runs at once.

OCI distribution 1.1 over the content store that all nodes share. server.py takes connections, handler.py speaks HTTP.
"""
