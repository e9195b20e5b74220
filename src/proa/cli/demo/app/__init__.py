"""What runs in the demo's pods; the manifests mount these files from a ConfigMap."""
