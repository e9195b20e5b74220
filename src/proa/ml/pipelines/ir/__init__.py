"""What a compiled pipeline says: PipelineSpec 2.1.0 and the Kubernetes platform document."""
