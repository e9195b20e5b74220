"""Katib's gRPC API as a table: its services, their messages, each field's number and type.

Source: pkg/apis/manager/v1beta1/api.proto and pkg/apis/manager/health/health.proto of kubeflow/katib.
"""

from __future__ import annotations

from proa.ml.grpc.codec import Codec, Contract

_ENUMS = {
    "ParameterType": ("UNKNOWN_TYPE", "DOUBLE", "INT", "DISCRETE", "CATEGORICAL"),
    "Distribution": ("DISTRIBUTION_UNSPECIFIED", "UNIFORM", "LOG_UNIFORM", "NORMAL", "LOG_NORMAL"),
    "ObjectiveType": ("UNKNOWN", "MINIMIZE", "MAXIMIZE"),
    "ComparisonType": ("UNKNOWN_COMPARISON", "EQUAL", "LESS", "GREATER"),
    "TrialConditionType": (
        "CREATED", "RUNNING", "SUCCEEDED", "KILLED", "FAILED", "METRICSUNAVAILABLE", "EARLYSTOPPED", "UNKNOWN",
    ),
    "ServingStatus": ("UNKNOWN", "SERVING", "NOT_SERVING"),
}  # fmt: skip

_MESSAGES: dict[str, tuple[str, ...]] = {
    "Experiment": ("1 string name", "2 ExperimentSpec spec"),
    "ExperimentSpec": (
        "1 ParameterSpecs parameter_specs",
        "2 ObjectiveSpec objective",
        "3 AlgorithmSpec algorithm",
        "4 EarlyStoppingSpec early_stopping",
        "5 int32 parallel_trial_count",
        "6 int32 max_trial_count",
        "7 NasConfig nas_config",
    ),
    "ParameterSpecs": ("1 repeated ParameterSpec parameters",),
    "ParameterSpec": ("1 string name", "2 ParameterType parameter_type", "3 FeasibleSpace feasible_space"),
    "FeasibleSpace": (
        "1 string max",
        "2 string min",
        "3 repeated string list",
        "4 string step",
        "5 Distribution distribution",
    ),
    "ObjectiveSpec": (
        "1 ObjectiveType type",
        "2 double goal",
        "3 string objective_metric_name",
        "4 repeated string additional_metric_names",
    ),
    "AlgorithmSpec": ("1 string algorithm_name", "2 repeated Setting algorithm_settings"),
    "EarlyStoppingSpec": ("1 string algorithm_name", "2 repeated Setting algorithm_settings"),
    "Setting": ("1 string name", "2 string value"),
    "NasConfig": ("1 GraphConfig graph_config", "2 Operations operations"),
    "GraphConfig": ("1 int32 num_layers", "2 repeated int32 input_sizes", "3 repeated int32 output_sizes"),
    "Operations": ("1 repeated Operation operation",),
    "Operation": ("1 string operation_type", "2 ParameterSpecs parameter_specs"),
    "Trial": ("1 string name", "2 TrialSpec spec", "3 TrialStatus status"),
    "TrialSpec": (
        "2 ObjectiveSpec objective",
        "3 Assignments parameter_assignments",
        "4 map string labels",
    ),
    "Assignments": ("1 repeated Setting assignments",),
    "TrialStatus": (
        "1 string start_time",
        "2 string completion_time",
        "3 TrialConditionType condition",
        "4 Observation observation",
    ),
    "Observation": ("1 repeated Setting metrics",),
    "ObservationLog": ("1 repeated MetricLog metric_logs",),
    "MetricLog": ("1 string time_stamp", "2 Setting metric"),
    "ReportObservationLogRequest": ("1 string trial_name", "2 ObservationLog observation_log"),
    "ReportObservationLogReply": (),
    "GetObservationLogRequest": (
        "1 string trial_name",
        "2 string metric_name",
        "3 string start_time",
        "4 string end_time",
    ),
    "GetObservationLogReply": ("1 ObservationLog observation_log",),
    "DeleteObservationLogRequest": ("1 string trial_name",),
    "DeleteObservationLogReply": (),
    "GetSuggestionsRequest": (
        "1 Experiment experiment",
        "2 repeated Trial trials",
        "4 int32 current_request_number",
        "5 int32 total_request_number",
    ),
    "GetSuggestionsReply": (
        "1 repeated SuggestedAssignments parameter_assignments",
        "2 AlgorithmSpec algorithm",
        "3 repeated EarlyStoppingRule early_stopping_rules",
    ),
    "SuggestedAssignments": ("1 repeated Setting assignments", "2 string trial_name", "3 map string labels"),
    "ValidateAlgorithmSettingsRequest": ("1 Experiment experiment",),
    "ValidateAlgorithmSettingsReply": (),
    "GetEarlyStoppingRulesRequest": (
        "1 Experiment experiment",
        "2 repeated Trial trials",
        "3 string db_manager_address",
    ),
    "GetEarlyStoppingRulesReply": ("1 repeated EarlyStoppingRule early_stopping_rules",),
    "EarlyStoppingRule": (
        "1 string name",
        "2 string value",
        "3 ComparisonType comparison",
        "4 int32 start_step",
    ),
    "ValidateEarlyStoppingSettingsRequest": ("1 EarlyStoppingSpec early_stopping",),
    "ValidateEarlyStoppingSettingsReply": (),
    "SetTrialStatusRequest": ("1 string trial_name",),
    "SetTrialStatusReply": (),
    "HealthCheckRequest": ("1 string service",),
    "HealthCheckResponse": ("1 ServingStatus status",),
}
"""`Setting` stands for all messages of a name and a value: AlgorithmSetting, ParameterAssignment, Metric."""

CODEC = Codec(_MESSAGES, _ENUMS)

DB_MANAGER = "api.v1.beta1.DBManager"
SUGGESTION = "api.v1.beta1.Suggestion"
EARLY_STOPPING = "api.v1.beta1.EarlyStopping"
HEALTH = "grpc.health.v1.Health"

METHODS = {
    **{
        f"/{service}/{method}": (f"{method}Request", f"{method}Reply")
        for service, methods in (
            (DB_MANAGER, ("ReportObservationLog", "GetObservationLog", "DeleteObservationLog")),
            (SUGGESTION, ("GetSuggestions", "ValidateAlgorithmSettings")),
            (EARLY_STOPPING, ("GetEarlyStoppingRules", "SetTrialStatus", "ValidateEarlyStoppingSettings")),
        )
        for method in methods
    },
    f"/{HEALTH}/Check": ("HealthCheckRequest", "HealthCheckResponse"),
}
"""The path of each method, and the messages it takes and gives."""

KATIB = Contract(CODEC, METHODS)
