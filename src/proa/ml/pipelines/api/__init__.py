"""REST v2beta1: requests, answers, and who may."""
