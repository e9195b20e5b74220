"""Jobs: controller.py reads and writes; tally.py counts, plan.py decides, indexes.py numbers the pods."""
