"""The words of the training APIs: resources and labels, as upstream spells them.

Source: pkg/apis and pkg/constants of kubeflow/trainer, api/jobset/v1alpha2 of kubernetes-sigs/jobset, and
pkg/apis/kubeflow.org/v1 of kubeflow/training-operator.
"""

from __future__ import annotations

from proa.objects.resource import Resource

TRAINER_GROUP = "trainer.kubeflow.org"
TRAIN_JOBS = Resource(TRAINER_GROUP, "v1alpha1", "trainjobs", "TrainJob")
TRAINING_RUNTIMES = Resource(TRAINER_GROUP, "v1alpha1", "trainingruntimes", "TrainingRuntime")
CLUSTER_TRAINING_RUNTIMES = Resource(
    TRAINER_GROUP, "v1alpha1", "clustertrainingruntimes", "ClusterTrainingRuntime", namespaced=False
)
FRAMEWORK_LABEL = f"{TRAINER_GROUP}/framework"
JOB_SETS = Resource("jobset.x-k8s.io", "v1alpha2", "jobsets", "JobSet")
JOB_SET_NAME = "jobset.sigs.k8s.io/jobset-name"
REPLICATED_JOB_NAME = "jobset.sigs.k8s.io/replicatedjob-name"
PYTORCH_JOBS = Resource("kubeflow.org", "v1", "pytorchjobs", "PyTorchJob")
POD_GROUPS = Resource("scheduling.x-k8s.io", "v1alpha1", "podgroups", "PodGroup")
TRAINER_NAMESPACE = "kubeflow-system"
