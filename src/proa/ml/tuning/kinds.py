"""The words of Katib's API: resources, labels, names and condition types, as upstream spells them.

Source: pkg/controller.v1beta1/consts/const.go, pkg/apis/controller/*/v1beta1/*_types.go and
pkg/metricscollector/v1beta1/common/const.go of kubeflow/katib.
"""

from __future__ import annotations

from enum import StrEnum

from proa.objects.resource import Resource

GROUP = "kubeflow.org"
EXPERIMENTS = Resource(GROUP, "v1beta1", "experiments", "Experiment")
SUGGESTIONS = Resource(GROUP, "v1beta1", "suggestions", "Suggestion")
TRIALS = Resource(GROUP, "v1beta1", "trials", "Trial")

LABELS = "katib.kubeflow.org"
EXPERIMENT_LABEL = f"{LABELS}/experiment"
TRIAL_LABEL = f"{LABELS}/trial"
"""On a trial's run and, by `injection`, on each of its pods."""
COLLECTOR_CONTAINER = "metrics-logger-and-collector"
"""The SDKs read a trial's log from it."""
METRICS_VOLUME = "metrics-volume"
METRICS_FILE = "/var/log/katib/metrics.log"
TFEVENT_FOLDER = "/var/log/katib/tfevent/"
TRIAL_NAME_VARIABLE = "KATIB_TRIAL_NAME"
NAMESPACE = "kubeflow"
CONFIG = "katib-config"
DB_MANAGER = "katib-db-manager"
DB_MANAGER_PORT = 6789
UNAVAILABLE = "unavailable"
"""A metric's value that is not known."""


class ExperimentCondition(StrEnum):
    """Condition types of an Experiment."""

    CREATED = "Created"
    RUNNING = "Running"
    RESTARTING = "Restarting"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class SuggestionCondition(StrEnum):
    """Condition types of a Suggestion."""

    CREATED = "Created"
    DEPLOYMENT_READY = "DeploymentReady"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class TrialCondition(StrEnum):
    """Condition types of a Trial."""

    CREATED = "Created"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    KILLED = "Killed"
    FAILED = "Failed"
    METRICS_UNAVAILABLE = "MetricsUnavailable"
    EARLY_STOPPED = "EarlyStopped"
