"""The machinery that controllers, scheduler and kubelet share: informers, work queues, events, the manager."""
