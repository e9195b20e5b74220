"""Components as processes of their own, against any Kubernetes API server; `proa up` has them all in one."""
