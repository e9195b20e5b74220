"""Controllers: one file each, independent of one another; `CONTROLLERS` is the list."""
