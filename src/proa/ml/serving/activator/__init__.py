"""Hold requests for revisions that have no ready pod, have one started, and forward them: Knative's activator."""
