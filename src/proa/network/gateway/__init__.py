"""Ingress and Gateway API, carried out by Envoy: started when the first object needs it, nothing before.

starter.py waits for that object; controller.py follows what concerns the gateway, and asks the pure planners
(plan.py: ingress.py, gateways.py, http_routes.py, grpc_routes.py) for doors and routes (model.py); envoy_config.py,
envoy_routes.py and envoy_bootstrap.py say them in Envoy's words; proxy.py hands these over in order, as files (xds.py)
and endpoints as a stream (endpoints.py); envoy.py keeps the process, handover.py gives it its sockets.
"""
