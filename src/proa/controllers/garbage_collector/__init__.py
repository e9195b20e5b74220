"""Garbage collection: controller.py watches and writes; graph.py knows who owns whom and decides, purely."""
