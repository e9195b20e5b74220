"""Pod Security Admission: levels.py reads a policy, evaluation.py lists the checks, plugin.py applies them."""
