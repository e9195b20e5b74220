"""Service-account tokens: made on request (issuer), judged (authenticator), and explained to others (discovery)."""
