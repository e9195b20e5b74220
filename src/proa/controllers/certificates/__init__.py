"""Approve, sign and clear away certificate signing requests: pkg/controller/certificates."""
