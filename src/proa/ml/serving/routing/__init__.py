"""Where requests to InferenceServices go: Services, HTTPRoutes or Ingresses, addresses. Pure."""
