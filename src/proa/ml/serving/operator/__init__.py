"""The reconcilers of serving and their plans: InferenceServices in both modes, their status, TrainedModels."""
