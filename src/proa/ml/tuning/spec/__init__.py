"""What an experiment says: definitions, defaults, checks, the search space, trial templates, conditions. All pure."""
