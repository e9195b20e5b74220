from __future__ import annotations

import copy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proa.ml.tuning.collector.asked import Asked
from proa.ml.tuning.injection.injection import Injected, inject
from proa.ml.tuning.injection.settings import Checkpoints, Settings, make_settings
from proa.ml.tuning.injection.trainjob import runtime_named
from proa.ml.tuning.records import Problem
from proa.node.environment import expand

Json = dict[str, Any]


def make_trial(kind: str = "StdOut", **spec: Any) -> Json:
    collector = {"kind": kind, **spec.pop("collector", {})}
    source = spec.pop("source", None)
    return {
        "metadata": {
            "name": "t-1",
            "namespace": "n",
            "uid": "u-1",
            "labels": {"katib.kubeflow.org/experiment": "e"},
        },
        "spec": {
            "primaryContainerName": "main",
            "objective": {
                "type": "maximize",
                "objectiveMetricName": "accuracy",
                "additionalMetricNames": ["loss"],
            },
            "metricsCollector": {"collector": collector, **({"source": source} if source else {})},
            **spec,
        },
    }


def make_template(labels: Json | None = None, **container: Any) -> Json:
    main = {"name": "main", "image": "python", "command": ["python3", "-c", "print('a b')"], **container}
    main = {key: value for key, value in main.items() if value is not None}
    template: Json = {"spec": {"containers": [{"name": "other", "image": "x"}, main]}}
    return {**template, "metadata": {"labels": labels}} if labels else template


def make_job(template: Json | None = None) -> Json:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "t-1"},
        "spec": {"template": template or make_template()},
    }


RULE = {"name": "accuracy", "value": "0.5", "comparison": "less", "startStep": 3}


def injected(run: Json, trial: Json, settings: Settings | None = None) -> Injected:
    before = copy.deepcopy((run, trial))
    made = inject(run, trial, settings or Settings())
    assert (run, trial) == before, "what came in stays as it was"
    assert isinstance(made, Injected), made
    return made


def refused(run: Json, trial: Json, settings: Settings | None = None) -> Problem:
    made = inject(run, trial, settings or Settings())
    assert isinstance(made, Problem)
    return made


def pod_of(run: Json) -> Json:
    spec: Json = run["spec"]["template"]["spec"]
    return spec


def main_of(spec: Json) -> Json:
    return next(c for c in spec["containers"] if c["name"] == "main")


def collector_of(spec: Json) -> Json:
    (found,) = [c for c in spec.get("initContainers", ()) if c["name"] == "metrics-logger-and-collector"]
    return found


def asked_of(spec: Json) -> Asked:
    return Asked(expand(word, {"VALUE": "x"}) for word in collector_of(spec)["args"])


def test_a_job_gets_a_sidecar_the_shared_folder_and_its_output_in_a_file() -> None:
    made = injected(make_job(), make_trial())
    spec = pod_of(made.run)
    main, collector = main_of(spec), collector_of(spec)
    assert main["command"][:2] == ["sh", "-c"]
    assert main["command"][3:] == ["/var/log/katib/metrics.log", "python3", "-c", "print('a b')"]
    assert main["env"] == [{"name": "KATIB_TRIAL_NAME", "value": "t-1"}]
    mount = {"name": "metrics-volume", "mountPath": "/var/log/katib"}
    assert main["volumeMounts"] == [mount]
    assert collector["volumeMounts"] == [mount]
    assert spec["volumes"] == [{"name": "metrics-volume", "emptyDir": {}}]
    assert collector["restartPolicy"] == "Always"
    assert "shareProcessNamespace" not in spec
    assert spec["containers"][0] == {"name": "other", "image": "x"}
    assert made.reports_by_log
    metadata = made.run["spec"]["template"]["metadata"]
    assert metadata["labels"] == {"katib.kubeflow.org/experiment": "e", "katib.kubeflow.org/trial": "t-1"}
    assert metadata["annotations"] == {
        "kubectl.kubernetes.io/default-container": "metrics-logger-and-collector"
    }


def test_the_program_is_told_what_to_look_for_in_an_argument_that_the_kubelet_expands_nothing_in() -> None:
    source = {"filter": {"metricsFormat": [r"(\w+)$(VALUE)(\d+)$$"]}}
    spec = pod_of(injected(make_job(), make_trial(source=source, earlyStoppingRules=[RULE])).run)
    asked = asked_of(spec)
    assert asked.all("filter") == [r"(\w+)$(VALUE)(\d+)$$"]
    assert asked.metrics == ["accuracy", "loss"]
    assert asked.rules == [("accuracy", 0.5, "less", 3)]
    assert asked.get("maximized")


def test_with_stopping_rules_the_shell_stays_and_reads_the_fifo_that_the_collector_writes() -> None:
    spec = pod_of(injected(make_job(), make_trial(earlyStoppingRules=[RULE])).run)
    words = main_of(spec)["command"]
    assert words[3:5] == ["/var/log/katib/metrics.log", "/var/log/katib/.t-1.stop"]
    assert asked_of(spec).get("stop") == "/var/log/katib/.t-1.stop"
    assert "$(" not in words[2], "the kubelet would expand it"
    assert "$$" not in words[2]
    assert {"name": "PYTHONUNBUFFERED", "value": "1"} in main_of(spec)["env"]


@pytest.mark.parametrize(
    ("kind", "path", "folder"),
    [
        ("File", "/train/out/metrics.txt", "/train/out"),
        ("TensorFlowEvent", "/train/events/", "/train/events"),
    ],
)
def test_files_and_event_folders_are_shared_and_the_command_is_left_alone(
    kind: str, path: str, folder: str
) -> None:
    source = {
        "fileSystemPath": {"path": path, "kind": "File" if kind == "File" else "Directory", "format": "JSON"}
    }
    spec = pod_of(injected(make_job(make_template(command=None)), make_trial(kind, source=source)).run)
    assert main_of(spec)["volumeMounts"] == [{"name": "metrics-volume", "mountPath": folder}]
    assert "command" not in main_of(spec)
    assert asked_of(spec).get("path") == path


def test_a_volume_that_the_training_has_there_already_is_the_one_that_is_shared() -> None:
    own = {"name": "data", "mountPath": "/train", "subPath": "x"}
    source = {"fileSystemPath": {"path": "/train/out/metrics.txt", "kind": "File"}}
    spec = pod_of(
        injected(make_job(make_template(volumeMounts=[own])), make_trial("File", source=source)).run
    )
    assert collector_of(spec)["volumeMounts"] == [own]
    assert main_of(spec)["volumeMounts"] == [own]
    assert "volumes" not in spec


def test_a_training_that_pushes_gets_its_name_and_nothing_else() -> None:
    made = injected(make_job(make_template(command=None)), make_trial("Push"))
    spec = pod_of(made.run)
    assert not made.reports_by_log
    assert "initContainers" not in spec
    assert main_of(spec)["env"] == [{"name": "KATIB_TRIAL_NAME", "value": "t-1"}]
    assert "annotations" not in made.run["spec"]["template"]["metadata"]


def test_a_custom_collector_stands_beside_the_training_and_sees_its_processes() -> None:
    custom = {"name": "mine", "image": "y"}
    source = {"fileSystemPath": {"path": "/katib/mnist.log", "kind": "File"}}
    made = injected(make_job(), make_trial("Custom", source=source, collector={"customCollector": custom}))
    spec = pod_of(made.run)
    mine = spec["containers"][-1]
    assert mine["name"] == "mine"
    assert mine["volumeMounts"] == [{"name": "metrics-volume", "mountPath": "/katib"}]
    assert {"name": "KATIB_TRIAL_NAME", "value": "t-1"} in mine["env"]
    assert spec["shareProcessNamespace"] is True
    assert main_of(spec)["command"][0] == "python3"
    assert not made.reports_by_log


def test_prometheus_asks_the_port_that_the_training_names() -> None:
    source: Json = {"httpGet": {"port": "metrics", "path": "/m"}}
    ports = [{"name": "metrics", "containerPort": 9000}]
    trial = make_trial("PrometheusMetric", source=source)
    asked = asked_of(pod_of(injected(make_job(make_template(ports=ports)), trial).run))
    assert (asked.get("host"), asked.get("port"), asked.get("url-path")) == ("127.0.0.1", "9000", "/m")
    problem = refused(make_job(), trial)
    assert problem.field == "spec.trialTemplate.trialSpec.spec.template.spec.containers[1].ports"


def test_the_collector_runs_as_the_training_does_and_is_admitted_where_it_is() -> None:
    security = {
        "runAsUser": 7,
        "runAsNonRoot": True,
        "privileged": True,
        "capabilities": {"add": ["SYS_PTRACE"]},
    }
    spec = pod_of(injected(make_job(make_template(securityContext=security)), make_trial()).run)
    assert collector_of(spec)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsUser": 7,
        "runAsNonRoot": True,
    }


def test_checkpoints_are_mounted_where_the_algorithm_says() -> None:
    settings = Settings(checkpoints=Checkpoints("e-pbt", "/opt/ckpt", "e", parent="t-0"))
    spec = pod_of(injected(make_job(), make_trial(), settings).run)
    assert {"name": "suggestion-volume", "persistentVolumeClaim": {"claimName": "e-pbt"}} in spec["volumes"]
    mount = {"name": "suggestion-volume", "mountPath": "/opt/ckpt", "subPath": "e/t-1"}
    assert mount in main_of(spec)["volumeMounts"]
    copy_container = spec["initContainers"][0]
    assert copy_container["command"][-2:] == ["/checkpoints/t-0", "/checkpoints/t-1"]
    assert copy_container["volumeMounts"][0]["subPath"] == "e"


def test_a_parents_checkpoints_are_copied_once(tmp_path: Path) -> None:
    settings = Settings(checkpoints=Checkpoints("e-pbt", "/opt/ckpt", "e", parent="t-0"))
    script = pod_of(injected(make_job(), make_trial(), settings).run)["initContainers"][0]["command"][5]
    parent, own = tmp_path / "t-0", tmp_path / "t-1"
    copy_them = [sys.executable, "-S", "-E", "-I", "-c", script, str(parent), str(own)]
    subprocess.run(copy_them, check=True)
    assert not own.exists(), "the parent has left none"
    parent.mkdir()
    (parent / "model").write_text("old")
    subprocess.run(copy_them, check=True)
    (own / "model").write_text("new")
    subprocess.run(copy_them, check=True)
    assert (own / "model").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t-0", "t-1"]


def make_replicas(*roles: str) -> Json:
    specs = {role: {"replicas": 1, "template": make_template()} for role in roles}
    return {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "spec": {"pytorchReplicaSpecs": specs}}


MASTER = {"training.kubeflow.org/job-role": "master"}


def test_only_the_primary_role_is_collected_from_and_all_pods_are_the_trials() -> None:
    made = injected(make_replicas("Master", "Worker"), make_trial(primaryPodLabels=MASTER))
    roles = made.run["spec"]["pytorchReplicaSpecs"]
    assert not asked_of(roles["Master"]["template"]["spec"]).primary
    assert "initContainers" not in roles["Worker"]["template"]["spec"]
    assert main_of(roles["Worker"]["template"]["spec"])["command"][0] == "python3"
    assert roles["Worker"]["template"]["metadata"]["labels"]["katib.kubeflow.org/trial"] == "t-1"


def test_where_only_the_pod_can_know_whether_it_is_primary_it_is_asked_by_its_labels() -> None:
    made = injected(make_replicas("Worker"), make_trial(primaryPodLabels=MASTER))
    spec = made.run["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]
    assert collector_of(spec)["env"] == [
        {
            "name": "PRIMARY_0",
            "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['training.kubeflow.org/job-role']"}},
        }
    ]
    assert asked_of(spec).primary == [("PRIMARY_0", "master")]


def test_pod_templates_are_found_in_kinds_that_nobody_knows() -> None:
    run = {"kind": "Trainer", "spec": {"groups": [{"pods": {"it": make_template()}}]}}
    made = injected(run, make_trial())
    assert collector_of(made.run["spec"]["groups"][0]["pods"]["it"]["spec"])
    pod = {"kind": "Pod", "metadata": {"name": "t-1"}, **make_template()}
    assert collector_of(injected(pod, make_trial()).run["spec"])


def make_train_job(**trainer: Any) -> Json:
    reference = {"name": "torch", "kind": "ClusterTrainingRuntime", "apiGroup": "trainer.kubeflow.org"}
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": "t-1", "namespace": "n"},
        "spec": {"runtimeRef": reference, "trainer": trainer},
    }


def make_runtime(**container: Any) -> Json:
    main = {"name": "main", "image": "torch", **container}
    job = {
        "name": "node",
        "template": {"spec": {"template": {"spec": {"containers": [main]}}}},
    }
    return {
        "kind": "ClusterTrainingRuntime",
        "metadata": {
            "name": "torch",
            "uid": "x",
            "resourceVersion": "3",
            "labels": {"trainer.kubeflow.org/framework": "torch"},
        },
        "spec": {"mlPolicy": {"torch": {}}, "template": {"spec": {"replicatedJobs": [job]}}},
    }


TRAIN_JOB_LABELS = {
    "jobset.sigs.k8s.io/replicatedjob-name": "node",
    "batch.kubernetes.io/job-completion-index": "0",
}


def test_a_train_job_runs_by_a_copy_of_its_runtime_with_the_collector_in_it() -> None:
    run = make_train_job(command=["bash", "-c"], args=["python train.py"])
    assert runtime_named(run) == ("ClusterTrainingRuntime", "torch")
    trial = make_trial(primaryPodLabels=TRAIN_JOB_LABELS)
    made = injected(run, trial, Settings(runtime=make_runtime()))
    (runtime,) = made.before
    assert made.run["spec"]["runtimeRef"] == {
        "apiGroup": "trainer.kubeflow.org",
        "kind": "TrainingRuntime",
        "name": "t-1",
    }
    assert made.run["spec"]["trainer"]["command"][3:] == ["/var/log/katib/metrics.log", "bash", "-c"]
    assert made.run["spec"]["trainer"]["args"] == ["python train.py"]
    assert runtime["metadata"]["name"] == "t-1"
    assert runtime["metadata"]["namespace"] == "n"
    assert runtime["metadata"]["labels"]["trainer.kubeflow.org/framework"] == "torch"
    spec = runtime["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert asked_of(spec).primary == [("PRIMARY_0", "0")]
    assert "command" not in main_of(spec)


def test_a_command_of_the_runtimes_own_is_wrapped_there() -> None:
    trial = make_trial(primaryPodLabels=TRAIN_JOB_LABELS)
    made = injected(make_train_job(), trial, Settings(runtime=make_runtime(command=["train"])))
    spec = made.before[0]["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"][
        "spec"
    ]
    assert main_of(spec)["command"][-1] == "train"
    assert "command" not in made.run["spec"]["trainer"]


@pytest.mark.parametrize(
    ("run", "trial", "settings", "field", "words"),
    [
        (
            make_job(make_template(command=None, args=["x"])),
            make_trial(),
            Settings(),
            "spec.trialTemplate.trialSpec.spec.template.spec.containers[1].command",
            "of its image is not known",
        ),
        (
            make_job(),
            make_trial(primaryContainerName="train"),
            Settings(),
            "spec.trialTemplate.primaryContainerName",
            "Job has no pod template with this container",
        ),
        (
            make_replicas("Master", "Worker"),
            make_trial(primaryPodLabels={"training.kubeflow.org/replica-type": "chief"}),
            Settings(),
            "spec.trialTemplate.primaryPodLabels",
            "no pod of PyTorchJob",
        ),
        (
            make_job(),
            make_trial("File", source={"fileSystemPath": {"path": "/m.log", "kind": "File"}}),
            Settings(),
            "spec.metricsCollectorSpec.source.fileSystemPath.path",
            "in a folder of its own",
        ),
        (
            make_job(),
            make_trial(source={"filter": {"metricsFormat": ["(a)(b)", r"(\w+)=\d"]}}),
            Settings(),
            "spec.metricsCollectorSpec.source.filter.metricsFormat[1]",
            "two groups are needed",
        ),
        (
            make_train_job(),
            make_trial(primaryPodLabels=TRAIN_JOB_LABELS),
            Settings(),
            "spec.trialTemplate.trialSpec.spec.runtimeRef.name",
            "ClusterTrainingRuntime torch is not there",
        ),
        (
            make_train_job(),
            make_trial(primaryPodLabels=TRAIN_JOB_LABELS),
            Settings(runtime=make_runtime()),
            "spec.trialTemplate.trialSpec.spec.trainer.command",
            "is needed",
        ),
    ],
    ids=[
        "no command",
        "no container",
        "no such role",
        "a file at the root",
        "a filter of one group",
        "no runtime",
        "no trainer command",
    ],
)
def test_what_cannot_be_collected_from_is_refused_with_the_field_and_what_would_work(
    run: Json, trial: Json, settings: Settings, field: str, words: str
) -> None:
    problem = refused(run, trial, settings)
    assert problem.field == field
    assert words in problem.message


def test_on_this_machine_the_program_is_started_from_where_it_is(tmp_path: Path) -> None:
    command = make_settings("proa.local/python").command
    arguments = ["metric=a", "kind=StdOut", f"path={tmp_path}/log", f"message={tmp_path}/message", "marker=m"]
    (tmp_path / "log").write_text("a=1\n")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    process = subprocess.Popen([sys.executable, *command[1:], *arguments], stdout=subprocess.PIPE)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert output.decode().splitlines()[:2] == ["a=1", "a: 1 value, latest 1, min 1, max 1"]


def test_in_another_image_the_training_waits_until_the_collector_is_up() -> None:
    spec = pod_of(injected(make_job(), make_trial(), make_settings("registry/proa:1")).run)
    assert collector_of(spec)["command"] == ["python3", "-m", "proa.ml.tuning.collector"]
    assert "/dev/termination-log" in collector_of(spec)["lifecycle"]["postStart"]["exec"]["command"][-1]
    assert "lifecycle" not in collector_of(pod_of(injected(make_job(), make_trial()).run))
