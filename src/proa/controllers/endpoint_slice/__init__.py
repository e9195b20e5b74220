"""EndpointSlices of Services: what a pod offers (offers.py), in which slice that is (packing.py), whom it is meant for.

hints.py says the latter by trafficDistribution, topology.py by the old annotation; controller.py acts.
"""
