"""Let servers behind Services serve group versions as if this one did: APIServices, proxying, discovery."""
