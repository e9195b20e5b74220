"""What every pod, node and claim gets, whoever makes it."""

from __future__ import annotations

import random

import pytest

from proa.apiserver.admission import PLUGINS

PODS = "/api/v1/namespaces/default/pods"
PRIORITY_CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"
MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def post_pod(api, name="p", **spec):
    return api.post(
        PODS, {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "x"}], **spec}}
    )


class TestServiceAccounts:
    def test_a_pod_runs_as_default_and_gets_its_token(self, api):
        spec = post_pod(api, initContainers=[{"name": "i", "image": "x"}]).json["spec"]
        (volume,) = spec["volumes"]
        mounts = [c["volumeMounts"] for c in (*spec["containers"], *spec["initContainers"])]
        assert (spec["serviceAccountName"], spec["serviceAccount"]) == ("default", "default")
        assert mounts == [[{"name": volume["name"], "readOnly": True, "mountPath": MOUNT}]] * 2
        assert volume["name"].startswith("kube-api-access-")
        token, authority, namespace = volume["projected"]["sources"]
        assert token["serviceAccountToken"] == {"expirationSeconds": 3607, "path": "token"}
        assert authority["configMap"]["name"] == "kube-root-ca.crt"
        assert namespace["downwardAPI"]["items"][0]["path"] == "namespace"

    def test_pods_of_one_template_are_given_equal_specs(self, api):
        assert post_pod(api).json["spec"] == post_pod(api, name="q").json["spec"]

    def test_the_tokens_volume_has_a_name_that_no_volume_of_the_pod_has(self, api):
        (given,) = post_pod(api).json["spec"]["volumes"]
        mine = {"name": given["name"], "emptyDir": {}}
        volumes = post_pod(api, name="q", volumes=[mine]).json["spec"]["volumes"]
        assert len({volume["name"] for volume in volumes}) == 2

    @pytest.mark.parametrize(
        ("pod", "account", "mounted"),
        [(None, False, False), (True, False, True), (False, True, False), (False, None, False)],
    )
    def test_the_pods_word_on_mounting_counts_first(self, api, pod, account, mounted):
        body = {"metadata": {"name": "s"}, "automountServiceAccountToken": account}
        api.post("/api/v1/namespaces/default/serviceaccounts", body)
        spec = {} if pod is None else {"automountServiceAccountToken": pod}
        made = post_pod(api, serviceAccountName="s", **spec).json["spec"]
        assert ("volumes" in made) == mounted

    def test_a_mount_of_ones_own_is_left_alone(self, api):
        mount = {"name": "mine", "mountPath": MOUNT}
        made = post_pod(
            api,
            volumes=[{"name": "mine", "emptyDir": {}}],
            containers=[{"name": "c", "image": "x", "volumeMounts": [mount]}],
        ).json["spec"]
        assert [v["name"] for v in made["volumes"]] == ["mine"]

    def test_an_account_that_is_not_there_is_refused(self, api):
        answer = post_pod(api, serviceAccountName="ghost")
        assert (answer.status, answer.message) == (
            403,
            'pods "p" is forbidden: error looking up service account default/ghost: serviceaccount "ghost" not found',
        )


class TestPriority:
    def test_it_is_zero_without_a_class(self, api):
        spec = post_pod(api).json["spec"]
        assert (spec["priority"], spec["preemptionPolicy"]) == (0, "PreemptLowerPriority")

    def test_it_is_that_of_the_pods_class(self, api):
        api.post(PRIORITY_CLASSES, {"metadata": {"name": "low"}, "value": 7, "preemptionPolicy": "Never"})
        spec = post_pod(api, priorityClassName="low").json["spec"]
        assert (spec["priority"], spec["preemptionPolicy"]) == (7, "Never")

    def test_without_a_class_it_is_that_of_the_default_class(self, api):
        api.post(PRIORITY_CLASSES, {"metadata": {"name": "usual"}, "value": 9, "globalDefault": True})
        spec = post_pod(api).json["spec"]
        assert (spec["priority"], spec["priorityClassName"]) == (9, "usual")

    def test_the_default_class_is_that_of_the_last_write(self, api):
        chance, default = random.Random(3), 0
        for step in range(1, 40):
            match chance.choice(("set", "change", "delete", "ask")):
                case "set" if not default:
                    default = step
                    body = {"metadata": {"name": "usual"}, "value": step, "globalDefault": True}
                    assert api.post(PRIORITY_CLASSES, body).status == 201
                case "change" if default:
                    changed = api.patch(f"{PRIORITY_CLASSES}/usual", {"description": str(step)})
                    assert changed.status == 200
                case "delete" if default:
                    default = 0
                    assert api.delete(f"{PRIORITY_CLASSES}/usual").status == 200
            assert post_pod(api, name=f"p{step}").json["spec"]["priority"] == default

    def test_there_is_one_default_class(self, api):
        api.post(PRIORITY_CLASSES, {"metadata": {"name": "usual"}, "value": 9, "globalDefault": True})
        answer = api.post(
            PRIORITY_CLASSES, {"metadata": {"name": "other"}, "value": 1, "globalDefault": True}
        )
        assert (answer.status, answer.message) == (
            403,
            'priorityclasses.scheduling.k8s.io "other" is forbidden: PriorityClass usual is already marked as '
            "default. Only one default can exist",
        )
        described = api.patch(f"{PRIORITY_CLASSES}/usual", {"description": "as before"})
        assert (described.status, described.json["metadata"]["generation"]) == (200, 1)

    def test_it_stays_when_an_update_does_not_say_it(self, api):
        pod = post_pod(api).json
        del pod["spec"]["priority"], pod["spec"]["preemptionPolicy"]
        assert api.put("/api/v1/namespaces/default/pods/p", pod).json["spec"]["priority"] == 0

    @pytest.mark.parametrize(
        ("spec", "fragment"),
        [
            ({"priorityClassName": "ghost"}, "no PriorityClass with name ghost was found"),
            ({"priority": 7}, "the integer value of priority (7) must not be provided in pod spec"),
        ],
    )
    def test_one_that_is_made_up_is_refused(self, api, spec, fragment):
        answer = post_pod(api, **spec)
        assert answer.status == 403
        assert fragment in answer.message


def test_pods_stay_five_minutes_on_a_node_that_is_gone_unless_they_say_otherwise(api):
    mine = {
        "key": "node.kubernetes.io/not-ready",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 5,
    }
    tolerations = post_pod(api, tolerations=[mine]).json["spec"]["tolerations"]
    assert tolerations[0] == mine
    assert [(t["key"], t["tolerationSeconds"]) for t in tolerations[1:]] == [
        ("node.kubernetes.io/unreachable", 300)
    ]


def test_a_new_node_takes_no_pods_yet(api):
    node = api.post("/api/v1/nodes", {"metadata": {"name": "n"}}).json
    assert node["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]


def test_a_claim_gets_the_default_storage_class(api):
    classes, claims = (
        "/apis/storage.k8s.io/v1/storageclasses",
        "/api/v1/namespaces/default/persistentvolumeclaims",
    )
    for name, default in (("slow", "false"), ("fast", "true")):
        annotations = {"storageclass.kubernetes.io/is-default-class": default}
        api.post(classes, {"metadata": {"name": name, "annotations": annotations}, "provisioner": "x"})

    def claim(name, **spec):
        wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
        return api.post(claims, {"metadata": {"name": name}, "spec": wanted}).json["spec"]["storageClassName"]

    assert claim("a") == "fast"
    assert claim("b", storageClassName="") == ""
    assert claim("c", storageClassName="slow") == "slow"


@pytest.mark.parametrize(("expandable", "status"), [(True, 200), (False, 403), (None, 403)])
def test_a_bound_claim_grows_only_where_its_storage_class_lets_it(api, expandable, status):
    claims = "/api/v1/namespaces/default/persistentvolumeclaims"
    body = {"metadata": {"name": "c"}, "provisioner": "x", "allowVolumeExpansion": expandable}
    api.post("/apis/storage.k8s.io/v1/storageclasses", body)
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "c",
    }
    api.post(claims, {"metadata": {"name": "p"}, "spec": spec})
    bound = {"phase": "Bound", "capacity": {"storage": "1Gi"}}
    assert api.patch(f"{claims}/p/status", {"status": bound}).status == 200

    grown = api.patch(f"{claims}/p", {"spec": {"resources": {"requests": {"storage": "2Gi"}}}})

    assert grown.status == status
    if status == 403:
        assert grown.message == (
            'persistentvolumeclaims "p" is forbidden: only dynamically provisioned pvc can be resized and the '
            "storageclass that provisions the pvc must support resize"
        )
    assert api.patch(f"{claims}/p", {"metadata": {"labels": {"a": "b"}}}).status == 200


class TestIngressClasses:
    INGRESSES = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"

    def classes(self, api, **defaults):
        for name, default in defaults.items():
            annotations = {"ingressclass.kubernetes.io/is-default-class": default}
            body = {"metadata": {"name": name, "annotations": annotations}, "spec": {"controller": "x.io/y"}}
            assert api.post("/apis/networking.k8s.io/v1/ingressclasses", body).status == 201

    def ingress(self, api, name, annotations=None, **spec):
        backend = {"service": {"name": "s", "port": {"number": 80}}}
        metadata = {"name": name, "annotations": annotations or {}}
        return api.post(self.INGRESSES, {"metadata": metadata, "spec": {"defaultBackend": backend, **spec}})

    def test_an_ingress_that_names_none_gets_the_default_one(self, api):
        self.classes(api, inner="false", outer="true")
        assert self.ingress(api, "a").json["spec"]["ingressClassName"] == "outer"
        assert self.ingress(api, "b", ingressClassName="inner").json["spec"]["ingressClassName"] == "inner"
        old = self.ingress(api, "c", {"kubernetes.io/ingress.class": "inner"}).json["spec"]
        assert "ingressClassName" not in old

    def test_without_a_default_it_stays_without(self, api):
        self.classes(api, inner="false")
        assert "ingressClassName" not in self.ingress(api, "a").json["spec"]

    def test_several_defaults_are_refused(self, api):
        self.classes(api, inner="true", outer="true")
        answer = self.ingress(api, "a")
        assert (answer.status, answer.message) == (
            403,
            'ingresses.networking.k8s.io "a" is forbidden: Internal error occurred:'
            " 2 default IngressClasses were found, only 1 allowed",
        )


IN_UPSTREAMS_ORDER = (
    "NamespaceLifecycle",
    "LimitRanger",
    "ServiceAccount",
    "NodeRestriction",
    "TaintNodesByCondition",
    "PodSecurity",
    "Priority",
    "DefaultTolerationSeconds",
    "DefaultStorageClass",
    "StorageObjectInUseProtection",
    "PodGroupProtection",
    "OwnerReferencesPermissionEnforcement",
    "PersistentVolumeClaimResize",
    "RuntimeClass",
    "CertificateApproval",
    "CertificateSigning",
    "ClusterTrustBundleAttest",
    "CertificateSubjectRestriction",
    "DefaultIngressClass",
    "PodTopologyLabels",
    "PodGroupWorkloadExists",
    "NodeDeclaredFeatureValidator",
    "JobValidation",
    "PodResizeValidator",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
    "ResourceQuota",
)
"""AllOrderedPlugins of pkg/kubeapiserver/options/plugins.go, without those that are off by default and not here."""
UPSTREAM_DOES_IT_ELSEWHERE = {
    "CertificateRequester",
    "DeviceAdminAccess",
    "PolicyParameters",
    "RoleEscalation",
}


def test_plugins_are_asked_in_upstreams_order():
    names = [plugin.name for plugin in PLUGINS if plugin.name not in UPSTREAM_DOES_IT_ELSEWHERE]
    assert names == sorted(names, key=IN_UPSTREAMS_ORDER.index)


ZONE = {"topology.kubernetes.io/zone": "a"}


class TestTopologyLabels:
    def make_node(self, api):
        labels = {**ZONE, "kubernetes.io/hostname": "n"}
        api.post("/api/v1/nodes", {"metadata": {"name": "n", "labels": labels}})

    def test_a_pod_gets_its_nodes_zone_when_it_is_bound(self, api):
        self.make_node(api)
        post_pod(api)
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"name": "n"}}
        assert api.post(f"{PODS}/p/binding", binding).status == 201
        assert api.get(f"{PODS}/p").json["metadata"]["labels"] == ZONE

    def test_and_when_it_is_made_for_a_node(self, api):
        self.make_node(api)
        assert post_pod(api, nodeName="n").json["metadata"]["labels"] == ZONE
        assert "labels" not in post_pod(api, name="q", nodeName="nobody").json["metadata"]
