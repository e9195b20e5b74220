"""The API server: filters, handlers, registry, store, watch."""
