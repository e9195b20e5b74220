"""Who owns which field of an object: sets of fields, what a write changes of them, and server-side apply."""
