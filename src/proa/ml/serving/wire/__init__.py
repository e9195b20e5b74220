"""The bodies that models are asked with and answer with: V1, V2 (REST and gRPC), OpenAI's, CloudEvents."""
