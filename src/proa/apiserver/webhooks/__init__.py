"""Ask programs outside of the server: admission and conversion webhooks, over HTTPS."""
