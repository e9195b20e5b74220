"""The scheduler: a framework of tiny plugin interfaces over incremental node state."""
