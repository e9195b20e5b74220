"""The REST API that the kfp SDK speaks (v2beta1)."""
