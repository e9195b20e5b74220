"""The reconcilers of serving and their plans: InferenceService, its status, TrainedModel."""
