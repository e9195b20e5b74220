"""What Kubernetes adds: secrets, config maps, volumes, claims, places to run, identities, deadlines, workspaces."""

import os

from kfp import dsl, kubernetes
from steps import IMAGE, expect, say


@dsl.component(base_image=IMAGE)
def inspect(env: dict, files: dict, folders: list, label: str = "", user: int = -1) -> str:
    import os

    for name, value in env.items():
        assert os.environ.get(name) == value, (name, os.environ.get(name), value)
    for path, value in files.items():
        got = open(path).read()
        assert got == value, (path, got, value)
    for path in folders:
        with open(os.path.join(path, "probe"), "w") as file:
            file.write("x")
    assert user < 0 or os.getuid() == user, os.getuid()
    return os.environ["POD"]


@dsl.component(base_image=IMAGE)
def count_to(path: str, good_from: int) -> int:
    """Fail until it was tried so often; the claim remembers."""
    import os

    seen = len(os.listdir(path))
    open(os.path.join(path, f"attempt-{seen}"), "w").close()
    if seen < good_from:
        raise SystemExit(f"attempt {seen}")
    return seen


@dsl.component(base_image=IMAGE)
def leave(path: str, text: str):
    with open(path, "w") as file:
        file.write(text)


@dsl.component(base_image=IMAGE)
def bring(path: str) -> str:
    with open(path) as file:
        return file.read()


@dsl.component(base_image=IMAGE)
def sleep(seconds: int):
    import time

    time.sleep(seconds)


@dsl.pipeline(name="pod-fields")
def pod_fields(
    secret: str = "corpus-secret", tolerated: dict = {"key": "t", "operator": "Exists"}, memory: str = "300Mi"
):
    task = inspect(
        env={"S": "hunter2", "P": "hunter2", "C": "blue", "CPU": "1", "GIVEN": "yes", "LABEL": "corpus"},
        files={"/secret/password": "hunter2", "/config/colour": "blue", "/scratch/prepared": "ready\n"},
        folders=["/scratch", "/ephemeral", "/dev/shm"],
        user=65534,
    )
    task.set_env_variable("GIVEN", "yes").set_env_variable("CPU", "1")
    task.set_cpu_request("50m").set_cpu_limit("1").set_memory_request("64Mi").set_memory_limit(memory)
    task.set_display_name("the inspector").set_caching_options(False)
    kubernetes.use_secret_as_env(task, secret_name="corpus-secret", secret_key_to_env={"password": "S"})
    kubernetes.use_secret_as_env(task, secret_name=secret, secret_key_to_env={"password": "P"})
    kubernetes.use_secret_as_env(
        task, secret_name="none", secret_key_to_env={"password": "NONE"}, optional=True
    )
    kubernetes.use_secret_as_volume(task, secret_name=secret, mount_path="/secret")
    kubernetes.use_config_map_as_env(
        task, config_map_name="corpus-config", config_map_key_to_env={"colour": "C"}
    )
    kubernetes.use_config_map_as_volume(task, config_map_name="corpus-config", mount_path="/config")
    kubernetes.use_field_path_as_env(task, env_name="POD", field_path="metadata.name")
    kubernetes.use_field_path_as_env(task, env_name="LABEL", field_path="metadata.labels['team']")
    kubernetes.empty_dir_mount(task, volume_name="scratch", mount_path="/scratch", size_limit="16Mi")
    kubernetes.add_ephemeral_volume(
        task,
        volume_name="ephemeral",
        mount_path="/ephemeral",
        access_modes=["ReadWriteOnce"],
        size="16Mi",
        labels={"made": "here"},
    )
    kubernetes.add_pod_label(task, "team", "corpus")
    kubernetes.add_pod_annotation(task, "note", "kept")
    kubernetes.set_image_pull_policy(task, "IfNotPresent")
    kubernetes.set_image_pull_secrets(task, ["corpus-registry"])
    kubernetes.add_toleration(
        task, key="a", operator="Equal", value="b", effect="NoExecute", toleration_seconds=30
    )
    kubernetes.add_toleration_json(task, tolerated)
    kubernetes.add_node_selector(task, "kubernetes.io/os", "linux")
    kubernetes.add_node_affinity(
        task, match_expressions=[{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]
    )
    kubernetes.add_node_affinity(task, match_expressions=[{"key": "disk", "operator": "Exists"}], weight=7)
    kubernetes.set_timeout(task, 600)
    kubernetes.set_security_context(task, run_as_user=65534, run_as_group=65534, run_as_non_root=True)


def with_what_the_sdk_has_no_words_for(platform):
    """Add fields of the proto that no function of kfp.kubernetes 2.17 sets."""
    config = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-inspect"]
    config["enabledSharedMemory"] = {"volumeName": "shm", "size": "32Mi"}
    config["podAffinity"] = [
        {"topologyKey": "kubernetes.io/hostname", "matchPodLabels": {"alone": "yes"}, "anti": True},
        {"topologyKey": "kubernetes.io/hostname", "matchPodLabels": {"team": "corpus"}, "weight": 3},
    ]
    config["initContainers"] = [
        {
            "name": "prepare",
            "image": IMAGE,
            "command": ["sh", "-c"],
            "args": ["echo $WORD > /scratch/prepared"],
            "env": [{"name": "WORD", "value": "ready"}],
            "volumeMounts": [{"volumeName": "scratch", "mountPath": "/scratch"}],
            "resources": {"requests": {"cpu": "10m"}},
        }
    ]


@dsl.pipeline(name="claims")
def claims():
    made = kubernetes.CreatePVC(
        pvc_name_suffix="-corpus",
        access_modes=["ReadWriteOnce"],
        size="16Mi",
        storage_class_name="local-path",
    )
    wrote = leave(path="/data/deep/note", text="kept")
    kubernetes.mount_pvc(wrote, pvc_name=made.outputs["name"], mount_path="/data/deep")
    tried = count_to(path="/tries", good_from=2).set_retry(
        num_retries=3, backoff_duration="0s", backoff_factor=1.0, backoff_max_duration="1s"
    )
    kubernetes.mount_pvc(tried, pvc_name=made.outputs["name"], mount_path="/tries", sub_path="tries")
    expect(got=f"{tried.output}", want="2")
    seen = inspect(env={}, files={"/again/note": "kept"}, folders=[]).after(wrote)
    kubernetes.use_field_path_as_env(seen, env_name="POD", field_path="metadata.name")
    kubernetes.mount_pvc(seen, pvc_name=made.outputs["name"], mount_path="/again")
    kubernetes.DeletePVC(pvc_name=made.outputs["name"]).after(seen, tried)


@dsl.pipeline(name="accelerator")
def accelerator():
    say(text="never").set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(2)


@dsl.pipeline(name="late-task")
def late_task():
    kubernetes.set_timeout(sleep(seconds=600), 2)


@dsl.pipeline(
    name="workspace",
    pipeline_config=dsl.PipelineConfig(
        workspace=dsl.WorkspaceConfig(
            size="16Mi", kubernetes=dsl.KubernetesWorkspaceConfig({"storageClassName": "local-path"})
        ),
        ttl_seconds_after_finished=3600,
    ),
)
def workspace():
    path = dsl.WORKSPACE_PATH_PLACEHOLDER + "/note"
    wrote = leave(path=path, text="shared")
    expect(got=bring(path=path).after(wrote).output, want="shared")


@dsl.pipeline(name="late-run", pipeline_config=dsl.PipelineConfig(active_deadline_seconds=4))
def late_run():
    sleep(seconds=600)


@dsl.notebook_component(
    notebook_path=os.path.join(os.path.dirname(__file__), "notebook.ipynb"),
    base_image=IMAGE,
    packages_to_install=[],
)
def double_in_a_notebook(text: str, out: dsl.Output[dsl.Artifact]) -> str:
    dsl.run_notebook(text=text)
    with open("/tmp/notebook.txt") as file:
        return file.read()


@dsl.pipeline(name="notebook")
def notebook():
    done = double_in_a_notebook(text="ab")
    expect(got=done.outputs["Output"], want="abab")


PIPELINES = {
    "pod-fields": (pod_fields, {}, with_what_the_sdk_has_no_words_for),
    "claims": (claims, {}),
    "accelerator": (accelerator, {}),
    "late-task": (late_task, {}),
    "workspace": (workspace, {}),
    "late-run": (late_run, {}),
    "notebook": (notebook, {}),
}
