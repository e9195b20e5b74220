"""Read protobuf request bodies, which typed Go clients send for built-in kinds."""
