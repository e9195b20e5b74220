"""Match conditions pick requests by CEL: false skips the webhook, a failure counts as failurePolicy has it."""

from __future__ import annotations

import pytest

from support.tls_server import reviewed


def conditions(*expressions):
    return [{"name": f"c{index}", "expression": text} for index, text in enumerate(expressions)]


@pytest.mark.parametrize(
    ("expressions", "called"),
    [
        (["object.metadata.name == 'c'"], True),
        (["object.metadata.name == 'other'"], False),
        (["true", "request.operation != 'CREATE'"], False),
        (["oldObject == null"], True),
        (["request.userInfo.username == 'admin' && request.namespace == 'default'"], True),
        (["request.resource.resource == 'configmaps' && request.kind.kind == 'ConfigMap'"], True),
        (["authorizer.group('').resource('pods').namespace('default').check('list').allowed()"], True),
        (["authorizer.requestResource.check('update').allowed()"], True),
        (["object.data.none == 'x'", "false"], False),
    ],
)
@pytest.mark.parametrize("kind", ["mutating", "validating"])
def test_a_webhook_is_called_where_all_conditions_hold(hooks, kind, expressions, called):
    async def story(hooks):
        await hooks.configure(kind, hooks.webhook(matchConditions=conditions(*expressions)))
        assert (await hooks.make()).status == 201
        assert len(hooks.server.calls) == called

    hooks.run(reviewed, story)


def test_a_condition_that_fails_refuses_the_request(hooks):
    async def story(hooks):
        await hooks.configure(
            "validating", hooks.webhook(matchConditions=conditions("object.data.none == 'x'"))
        )
        answer = await hooks.make()
        assert (answer.status, answer.message) == (
            403,
            "configmaps \"c\" is forbidden: expression 'object.data.none == 'x'' resulted in error: no such key: none",
        )
        assert hooks.server.calls == []

    hooks.run(reviewed, story)


def test_a_condition_that_fails_skips_a_webhook_whose_failures_do_not_count(hooks):
    async def story(hooks):
        webhook = hooks.webhook(matchConditions=conditions("object.data.none == 'x'"), failurePolicy="Ignore")
        await hooks.configure("validating", webhook)
        assert (await hooks.make()).status == 201
        assert hooks.server.calls == []

    hooks.run(reviewed, story)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            conditions("... [bad"),
            'matchConditions[0].expression: Invalid value: "... [bad": compilation failed: ',
        ),
        (
            conditions("'text'"),
            "matchConditions[0].expression: Invalid value: \"'text'\": must evaluate to bool",
        ),
        (conditions(""), "matchConditions[0].expression: Required value"),
        ([{"name": "", "expression": "true"}], "matchConditions[0].name: Required value"),
        ([{"name": "a", "expression": "true"}] * 2, 'matchConditions[1].name: Duplicate value: "a"'),
    ],
)
def test_conditions_that_are_wrong_are_refused(api, given, message):
    webhook = {
        "name": "a.b.c",
        "clientConfig": {"url": "https://x/"},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "matchConditions": given,
    }
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    answer = api.post(path, {"metadata": {"name": "x"}, "webhooks": [webhook]})
    assert answer.status == 422
    assert f"webhooks[0].{message}" in answer.message
