"""How every component talks to the API server: one protocol, in process or over HTTP."""
