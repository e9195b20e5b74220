"""Garbage collection: graph.py knows who owns whom, plan.py decides; following.py watches, controller.py acts."""
