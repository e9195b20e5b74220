"""A folder of PYTHONPATH: nothing of it is imported by Proa itself."""
