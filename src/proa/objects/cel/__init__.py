"""CEL, the expression language of Kubernetes' rules: parse, check types, run within a budget; see program.py."""
