"""The words of serving on the wire: resources, labels, annotations, ports, names, condition types.

Source: KServe's pkg/constants/constants.go and pkg/apis/serving; Knative Serving's pkg/apis/serving/register.go.
"""

from __future__ import annotations

from proa.objects.resource import Resource

GROUP = "serving.kserve.io"
INFERENCE_SERVICES = Resource(GROUP, "v1beta1", "inferenceservices", "InferenceService", namespaced=True)
SERVING_RUNTIMES = Resource(GROUP, "v1alpha1", "servingruntimes", "ServingRuntime", namespaced=True)
CLUSTER_SERVING_RUNTIMES = Resource(
    GROUP, "v1alpha1", "clusterservingruntimes", "ClusterServingRuntime", namespaced=False
)
TRAINED_MODELS = Resource(GROUP, "v1alpha1", "trainedmodels", "TrainedModel", namespaced=True)
INFERENCE_GRAPHS = Resource(GROUP, "v1alpha1", "inferencegraphs", "InferenceGraph", namespaced=True)

NAMESPACE = "kserve"
CONFIG_MAP = "inferenceservice-config"

# labels of what belongs to an InferenceService
SERVICE_LABEL = "serving.kserve.io/inferenceservice"
COMPONENT_LABEL = "component"
REVISION_LABEL = "serving.knative.dev/revision"
GRAPH_LABEL = "serving.kserve.io/inferencegraph"
ROUTING_STATE = "serving.knative.dev/routingState"
"""Of a revision's Deployment: `reserve` where no address leads to it, then its min-scale does not count."""

# annotations of a revision's Deployment, beside autoscaling.knative.dev/* (scaling/annotations.py)
CONTAINER_CONCURRENCY = "proa.local/container-concurrency"
"""How many requests a pod answers at once; absent or 0: any number."""
TIMEOUT_SECONDS = "proa.local/timeout-seconds"
"""How long a request may wait for the first of its answer: `timeout` of the component."""

# annotations of an InferenceService
DEPLOYMENT_MODE = "serving.kserve.io/deploymentMode"
AUTOSCALER_CLASS = "serving.kserve.io/autoscalerClass"
STOP = "serving.kserve.io/stop"
ENABLE_TAG_ROUTING = "serving.kserve.io/enable-tag-routing"
KNATIVE_MODES, STANDARD_MODES = ("Knative", "Serverless"), ("Standard", "RawDeployment")

PREDICTOR, TRANSFORMER, EXPLAINER = "predictor", "transformer", "explainer"
COMPONENTS = (PREDICTOR, TRANSFORMER, EXPLAINER)

MAIN_CONTAINER = "kserve-container"
TRANSFORMER_CONTAINER = "transformer-container"
INITIALIZER_CONTAINER = "storage-initializer"
AGENT_CONTAINER = "agent"
MODELS_FOLDER = "/mnt/models"
CONVERTED_FOLDER = "/mnt/converted"
"""Where our server keeps what it made of a model's files, for later pods of the InferenceService."""

SERVICE_PORT = 80
HTTP_PORT, GRPC_PORT = 8080, 8081
AGENT_PORT = 9081
LOAD_PORT = 9091
"""Where a pod of a revision tells its load."""
ACTIVATOR_PORT = 8012

REVISION_HEADER, NAMESPACE_HEADER = "knative-serving-revision", "knative-serving-namespace"
