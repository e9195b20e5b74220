"""NetworkPolicy: who may talk to whom, judged where a packet leaves a node's pod and where it enters one."""
