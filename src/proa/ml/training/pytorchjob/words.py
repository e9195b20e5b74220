"""The words of PyTorchJobs: labels, roles, conditions and reasons, as upstream spells them.

Source: pkg/apis/kubeflow.org/v1/common_types.go and pytorch_types.go, pkg/util/status.go of
kubeflow/training-operator 1.9.
"""

from __future__ import annotations

from enum import StrEnum

OPERATOR = "pytorchjob-controller"
MANAGER = "kubeflow.org/training-operator"
"""Jobs whose spec.runPolicy.managedBy names anybody else are left alone."""

OPERATOR_NAME_LABEL = "training.kubeflow.org/operator-name"
JOB_NAME_LABEL = "training.kubeflow.org/job-name"
REPLICA_TYPE_LABEL = "training.kubeflow.org/replica-type"
REPLICA_INDEX_LABEL = "training.kubeflow.org/replica-index"
JOB_ROLE_LABEL = "training.kubeflow.org/job-role"
MASTER, WORKER = "Master", "Worker"
CONTAINER = "pytorch"
PORT_NAME, PORT = "pytorchjob-port", 23456


class Condition(StrEnum):
    """Condition types."""

    CREATED = "Created"
    RUNNING = "Running"
    RESTARTING = "Restarting"
    SUCCEEDED = "Succeeded"
    SUSPENDED = "Suspended"
    FAILED = "Failed"


class Reason(StrEnum):
    """Reasons of conditions, and of the events that tell of them."""

    CREATED = "PyTorchJobCreated"
    RUNNING = "PyTorchJobRunning"
    RESTARTING = "PyTorchJobRestarting"
    SUCCEEDED = "PyTorchJobSucceeded"
    SUSPENDED = "PyTorchJobSuspended"
    RESUMED = "PyTorchJobResumed"
    FAILED = "PyTorchJobFailed"
