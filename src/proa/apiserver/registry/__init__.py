"""How kinds are stored: one generic registry, and a definition for each kind."""
