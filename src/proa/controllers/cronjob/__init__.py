"""CronJobs: controller.py watches, sync.py reads and writes; missed.py says when one is due, plan.py what then."""
