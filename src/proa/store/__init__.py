"""The durable, revisioned key-value store beneath the API server. Values are opaque bytes."""
