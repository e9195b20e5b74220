"""Protobuf bodies of built-in kinds, which typed Go clients send, and may ask for."""
