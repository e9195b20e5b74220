"""Priority and fairness: which requests are served now, which wait, and which are sent away."""
