"""How one step runs: what its container is told, and what it gave back."""
