"""Keep the node usable: pods that take more disk than they may, or that starve it of memory or disk, are ended."""
