"""The way out: pods reach the networks of the host, by way of this process."""
