"""What a webhook is told, what its answer does, and what happens when it does not answer."""

from __future__ import annotations

import asyncio
import json

import pytest

from support.tls_server import http, reviewed

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


class TestReview:
    def test_a_webhook_is_told_of_the_request(self, hooks):
        async def story(hooks):
            await hooks.configure("validating", hooks.webhook(path="/check", timeoutSeconds=7))
            assert (await hooks.make("seen")).status == 201
            (call,) = hooks.server.calls
            assert (call.method, call.path) == ("POST", "/check?timeout=7s")
            assert call.headers["content-type"] == "application/json"
            review = call.review
            assert json.loads(call.body)["apiVersion"] == "admission.k8s.io/v1"
            assert (
                review["kind"] == review["requestKind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
            )
            assert review["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
            assert (review["name"], review["namespace"], review["operation"]) == ("seen", "default", "CREATE")
            assert review["userInfo"] == {
                "username": "admin",
                "groups": ["system:masters", "system:authenticated"],
            }
            assert review["object"]["data"] == {"a": "b"}
            assert (review["oldObject"], review["dryRun"]) == (None, False)
            assert "subResource" not in review

        hooks.run(reviewed, story)

    def test_an_update_has_both_objects_and_a_delete_the_old_one(self, hooks):
        async def story(hooks):
            await hooks.make()
            await hooks.configure("validating", hooks.webhook())
            body = {"metadata": {"name": "c"}, "data": {"a": "new"}}
            assert (await hooks.ask("PUT", f"{CONFIG_MAPS}/c", body)).status == 200
            assert (await hooks.ask("DELETE", f"{CONFIG_MAPS}/c")).status == 200
            update, delete = (call.review for call in hooks.server.calls)
            assert (update["operation"], delete["operation"]) == ("UPDATE", "DELETE")
            assert (update["oldObject"]["data"], update["object"]["data"]) == ({"a": "b"}, {"a": "new"})
            assert (delete["object"], delete["oldObject"]["data"]) == (None, {"a": "new"})

        hooks.run(reviewed, story)

    def test_connections_are_kept(self, hooks):
        async def story(hooks):
            await hooks.configure("validating", hooks.webhook())
            for index in range(3):
                await hooks.make(f"c{index}")
            assert [call.connection for call in hooks.server.calls] == [1, 1, 1]

        hooks.run(reviewed, story)

    def test_a_connection_that_the_server_has_closed_is_made_anew(self, hooks):
        async def story(hooks):
            await hooks.configure("validating", hooks.webhook())
            assert (await hooks.make("first")).status == 201
            assert (await hooks.make("second")).status == 201
            assert [call.connection for call in hooks.server.calls] == [1, 2]

        hooks.run(
            lambda call: reviewed(call).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1), story
        )

    def test_nothing_is_asked_once_the_configuration_is_gone(self, hooks):
        async def story(hooks):
            await hooks.configure("validating", hooks.webhook())
            await hooks.make("first")
            path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/hooks"
            assert (await hooks.ask("DELETE", path)).status == 200
            await hooks.make("second")
            assert len(hooks.server.calls) == 1

        hooks.run(reviewed, story)


class TestRefusal:
    @pytest.mark.parametrize(
        ("status", "code", "message", "reason"),
        [
            (None, 400, 'admission webhook "one.test.example" denied the request without explanation', None),
            (
                {"message": "not today", "code": 403, "reason": "Forbidden"},
                403,
                'admission webhook "one.test.example" denied the request: not today',
                "Forbidden",
            ),
            ({"reason": "Odd"}, 400, 'admission webhook "one.test.example" denied the request: Odd', "Odd"),
            (
                {"message": "fine", "code": 200, "status": "Success"},
                400,
                'admission webhook "one.test.example" denied the request: fine',
                None,
            ),
        ],
        ids=["silent", "with a status", "with a reason", "a success"],
    )
    def test_a_denial_is_told_in_the_webhooks_words(self, hooks, status, code, message, reason):
        async def story(hooks):
            await hooks.configure("validating", hooks.webhook())
            answer = await hooks.make()
            assert (answer.status, answer.message, answer.json.get("reason")) == (code, message, reason)
            assert answer.json["status"] == "Failure"
            assert (await hooks.ask("GET", f"{CONFIG_MAPS}/c")).status == 404

        extra = {} if status is None else {"status": status}
        hooks.run(lambda call: reviewed(call, allowed=False, **extra), story)

    def test_warnings_and_audit_annotations_are_passed_on(self, hooks):
        async def story(hooks):
            await hooks.configure("validating", hooks.webhook())
            answer = await hooks.make()
            assert answer.headers["Warning"] == '299 - "careful"'

        hooks.run(lambda call: reviewed(call, warnings=["careful"], auditAnnotations={"k": "v"}), story)


def says(text: str) -> str:
    return f'Internal error occurred: failed calling webhook "one.test.example": {text}'


class TestFailure:
    @pytest.mark.parametrize(
        ("answer", "why"),
        [
            (
                lambda call: http(b"", 500),
                'an error on the server ("unknown") has prevented the request from succeeding',
            ),
            (
                lambda call: http(b"gone", 404, "text/plain"),
                "the server could not find the requested resource",
            ),
            (
                lambda call: http(b"moved", 302),
                "the server responded with the status code 302 but did not return more information",
            ),
            (
                lambda call: http(b""),
                "0-length response with status code: 200 and content type: application/json",
            ),
        ],
        ids=["500", "404", "302", "empty"],
    )
    def test_a_bad_answer_refuses_the_request(self, hooks, answer, why):
        async def story(hooks):
            await hooks.configure("validating", hooks.webhook())
            refused = await hooks.make()
            assert (refused.status, refused.message) == (500, says(f"failed to call webhook: {why}"))
            assert refused.json["reason"] == "InternalError"

        hooks.run(answer, story)

    @pytest.mark.parametrize(
        ("review", "why"),
        [
            ({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}, "webhook response was absent"),
            (
                {
                    "apiVersion": "admission.k8s.io/v1beta1",
                    "kind": "AdmissionReview",
                    "response": {"allowed": True},
                },
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got "
                "admission.k8s.io/v1beta1, Kind=AdmissionReview",
            ),
            (
                {
                    "apiVersion": "admission.k8s.io/v1",
                    "kind": "AdmissionReview",
                    "response": {"allowed": True, "patch": "W10=", "patchType": "JSONPatch"},
                },
                "validating webhook may not return response.patch",
            ),
        ],
        ids=["no response", "another version", "a patch"],
    )
    def test_an_answer_that_breaks_the_rules_refuses_the_request(self, hooks, review, why):
        def answer(call):
            told = json.loads(json.dumps(review))
            if "response" in told:
                told["response"]["uid"] = call.review["uid"]
            return http(told)

        async def story(hooks):
            await hooks.configure("validating", hooks.webhook())
            assert (await hooks.make()).message == says(f"received invalid webhook response: {why}")

        hooks.run(answer, story)

    def test_an_answer_to_another_request_refuses_it(self, hooks):
        async def story(hooks):
            await hooks.configure("validating", hooks.webhook())
            answer = await hooks.make()
            uid = hooks.server.calls[0].review["uid"]
            why = f'received invalid webhook response: expected response.uid="{uid}", got "other"'
            assert answer.message == says(why)

        hooks.run(lambda call: reviewed(call, uid="other"), story)

    def test_one_that_is_not_trusted_refuses_the_request(self, hooks):
        async def story(hooks):
            webhook = hooks.webhook()
            webhook["clientConfig"]["caBundle"] = ""
            await hooks.configure("validating", webhook)
            url = hooks.server.url()
            why = "tls: failed to verify certificate: x509: certificate signed by unknown authority"
            assert (await hooks.make()).message == says(
                f'failed to call webhook: Post "{url}?timeout=10s": {why}'
            )
            assert hooks.server.calls == []

        hooks.run(reviewed, story)

    def test_one_that_listens_no_more_refuses_the_request(self, hooks):
        async def story(hooks):
            webhook = hooks.webhook()
            webhook["clientConfig"]["url"] = "https://127.0.0.1:1/x"
            await hooks.configure("validating", webhook)
            why = (
                'Post "https://127.0.0.1:1/x?timeout=10s": dial tcp 127.0.0.1:1: connect: connection refused'
            )
            assert (await hooks.make()).message == says(f"failed to call webhook: {why}")

        hooks.run(reviewed, story)

    def test_a_slow_one_is_waited_for_no_longer_than_it_says(self, hooks):
        async def never(call):
            await asyncio.Event().wait()

        async def story(hooks):
            await hooks.configure("validating", hooks.webhook(timeoutSeconds=1))
            url = hooks.server.url()
            why = f'Post "{url}?timeout=1s": context deadline exceeded'
            assert (await hooks.make()).message == says(f"failed to call webhook: {why}")

        hooks.run(never, story)

    @pytest.mark.parametrize("kind", ["mutating", "validating"])
    def test_a_failure_that_is_to_be_ignored_is(self, hooks, kind):
        async def story(hooks):
            await hooks.configure(kind, hooks.webhook(failurePolicy="Ignore"))
            assert (await hooks.make()).status == 201
            assert len(hooks.server.calls) == 1

        hooks.run(lambda call: http(b"", 500), story)

    def test_a_denial_is_never_ignored(self, hooks):
        async def story(hooks):
            await hooks.configure("validating", hooks.webhook(failurePolicy="Ignore"))
            assert (await hooks.make()).status == 400

        hooks.run(lambda call: reviewed(call, allowed=False), story)


class TestMutation:
    def test_a_patch_changes_what_is_stored(self, hooks):
        async def story(hooks):
            await hooks.configure("mutating", hooks.webhook())
            patched = await hooks.make()
            assert patched.json["data"] == {"a": "b", "added": "yes"}
            assert patched.json["metadata"]["labels"] == {"l": "v"}
            assert (await hooks.ask("GET", f"{CONFIG_MAPS}/c")).json["data"] == {"a": "b", "added": "yes"}

        patch = [
            {"op": "add", "path": "/data/added", "value": "yes"},
            {"op": "add", "path": "/metadata/labels", "value": {"l": "v"}},
            {"op": "add", "path": "/unknown", "value": 1},
        ]
        hooks.run(lambda call: reviewed(call, patch=patch), story)

    @pytest.mark.parametrize(
        ("patch", "why"),
        [
            (
                [{"op": "add", "path": "/data", "value": 5}],
                "json: cannot unmarshal number into Go struct field ",
            ),
            ([{"op": "remove", "path": "/data/none"}], ""),
        ],
        ids=["another type", "what is not there"],
    )
    def test_a_patch_that_does_not_fit_refuses_the_request(self, hooks, patch, why):
        async def story(hooks):
            await hooks.configure("mutating", hooks.webhook())
            answer = await hooks.make()
            assert answer.status == 500
            assert answer.message.startswith(f"Internal error occurred: {why}")

        hooks.run(lambda call: reviewed(call, patch=patch), story)

    def test_each_sees_what_those_before_it_made_in_the_order_of_names(self, hooks):
        def answer(call):
            name = call.path.split("?")[0].strip("/")
            return reviewed(call, patch=[{"op": "add", "path": f"/data/{name}", "value": "x"}])

        async def story(hooks):
            second = [hooks.webhook(f"{n}.test.example", f"/{n}") for n in ("three", "four")]
            await hooks.configure("mutating", *second, name="b")
            await hooks.configure("mutating", hooks.webhook("z.test.example", "/one"), name="a")
            await hooks.make()
            seen = [sorted(call.review["object"]["data"]) for call in hooks.server.calls]
            assert seen == [["a"], ["a", "one"], ["a", "one", "three"]]

        hooks.run(answer, story)

    def test_one_is_asked_again_where_a_later_one_has_changed_the_object(self, hooks):
        def answer(call):
            if call.path.startswith("/late"):
                return reviewed(call, patch=[{"op": "add", "path": "/data/late", "value": "x"}])
            return reviewed(call)

        async def story(hooks):
            again = {"reinvocationPolicy": "IfNeeded"}
            await hooks.configure(
                "mutating",
                hooks.webhook("a.test.example", "/again", **again),
                hooks.webhook("b.test.example", "/once"),
                hooks.webhook("c.test.example", "/late", **again),
                hooks.webhook("d.test.example", "/after", **again),
            )
            assert (await hooks.make()).json["data"] == {"a": "b", "late": "x"}
            assert [call.path.split("?")[0] for call in hooks.server.calls] == [
                "/again", "/once", "/late", "/after", "/again",
            ]  # fmt: skip

        hooks.run(answer, story)

    def test_a_patch_to_what_is_deleted_refuses_the_request(self, hooks):
        async def story(hooks):
            await hooks.make()
            await hooks.configure("mutating", hooks.webhook())
            answer = await hooks.ask("DELETE", f"{CONFIG_MAPS}/c")
            assert answer.message == (
                'Internal error occurred: admission webhook "one.test.example" attempted to modify the object, '
                "which is not supported for this operation"
            )

        hooks.run(lambda call: reviewed(call, patch=[{"op": "add", "path": "/data", "value": {}}]), story)


class TestDryRun:
    @pytest.mark.parametrize("kind", ["mutating", "validating"])
    def test_a_webhook_is_told_that_nothing_will_be_stored(self, hooks, kind):
        async def story(hooks):
            await hooks.configure(kind, hooks.webhook(sideEffects="NoneOnDryRun"))
            assert (await hooks.make(query="?dryRun=All")).status == 201
            assert hooks.server.calls[0].review["dryRun"] is True

        hooks.run(reviewed, story)


class TestService:
    def test_a_service_is_reached_at_a_ready_endpoint_and_known_by_its_name(self, hooks):
        async def story(hooks):
            await make_service(hooks, hooks.server.port)
            webhook = hooks.webhook()
            service = {"namespace": "ops", "name": "hook", "path": "/check", "port": 8443}
            webhook["clientConfig"] = {"service": service, "caBundle": hooks.authority.bundle}
            await hooks.configure("validating", webhook)
            assert (await hooks.make()).status == 201
            (call,) = hooks.server.calls
            assert (call.headers["host"], call.path) == ("hook.ops.svc:8443", "/check?timeout=10s")

        hooks.run(reviewed, story)

    @pytest.mark.parametrize(
        ("name", "why"),
        [("ghost", 'service "ghost" not found'), ("hook", 'no endpoints available for service "hook"')],
    )
    def test_a_service_that_leads_nowhere_refuses_the_request(self, hooks, name, why):
        async def story(hooks):
            await make_service(hooks, 0)
            webhook = hooks.webhook()
            webhook["clientConfig"] = {"service": {"namespace": "ops", "name": name, "port": 8443}}
            await hooks.configure("validating", webhook)
            said = f'failed to call webhook: Post "https://{name}.ops.svc:8443/?timeout=10s": {why}'
            assert (await hooks.make()).message == says(said)

        hooks.run(reviewed, story)


async def make_service(hooks, port):
    """A service ops/hook whose endpoint is the test's server; none with port 0."""
    await hooks.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "ops"}})
    ports = [{"name": "tls", "port": 8443, "protocol": "TCP"}]
    body = {"metadata": {"name": "hook"}, "spec": {"ports": ports}}
    assert (await hooks.ask("POST", "/api/v1/namespaces/ops/services", body)).status == 201
    if not port:
        return
    entry = "/registry/discovery.k8s.io/endpointslices/ops/hook-1"
    slice_ = {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": "hook-1", "namespace": "ops", "labels": {"kubernetes.io/service-name": "hook"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
        "ports": [{"name": "tls", "port": port, "protocol": "TCP"}],
    }  # fmt: skip
    await hooks.api.store.put(entry, lambda revision: json.dumps(slice_, separators=(",", ":")).encode())
