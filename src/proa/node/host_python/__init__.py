"""What containers of `proa.local/python` get beside this machine's Python: a pip that is quick, and works where it is.

`site/` and `bin/` are first on their paths. The environment itself is read-only in a container; what pip has to
install goes to a folder of the container's own.
"""
