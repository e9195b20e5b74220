"""What Kubernetes objects are: plain dicts, the names of their kinds, and pure functions over them."""
