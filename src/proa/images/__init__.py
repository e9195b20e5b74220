"""Images on this machine: pulled from registries, loaded from archives or built, kept once, shared by all nodes.

`store.py` is what others use: a content-addressed store at `$PROA_HOME/images` that is also an OCI image layout.
"""
