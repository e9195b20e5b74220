"""What an InferenceService means, without asking anybody: definitions, defaults, checks, which runtime serves it."""
