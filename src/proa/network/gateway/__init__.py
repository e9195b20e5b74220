"""Ingress and Gateway API, carried out by Envoy: started when the first object needs it, nothing before.

starter.py waits for that object; controller.py follows what concerns the gateway, and asks the pure planners
(ingress.py, gateways.py, http_routes.py, grpc_routes.py) for doors and routes (model.py); envoy_config.py says them in
Envoy's words; xds.py hands these over as files; envoy.py keeps the process.
"""
