"""gRPC of our own on h2: messages by tables of their fields, unary methods served and called."""
