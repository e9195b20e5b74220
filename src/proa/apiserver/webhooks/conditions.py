"""Tell whether a request meets a webhook's match conditions: webhook/matchconditions/matcher.go.

One that is false is enough, whatever else fails. Else a failure counts as the webhook's failurePolicy has it.
"""

from __future__ import annotations

from proa.apiserver.admission.matching import Match, requested_resource
from proa.apiserver.admission.mutation import view
from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.refusals import forbidden
from proa.apiserver.webhooks.configurations import Webhook


async def meets_conditions(webhook: Webhook, attributes: Attributes, match: Match) -> bool:
    """Tell whether no condition is false; raise Forbidden where one cannot be judged and failures count."""
    if not webhook.match_conditions:
        return True
    from proa.apiserver.admission.expressions import bind, compile_condition, new_budget
    from proa.objects.cel.errors import CelError

    variables = bind(attributes, match, await view(attributes, match))
    budget = new_budget()
    errors = []
    for condition in webhook.match_conditions:
        expression = condition["expression"]
        try:
            if not compile_condition(expression).evaluate(variables, budget):
                return False
        except CelError as error:
            errors.append(f"expression '{expression}' resulted in error: {error}")
    if not errors:
        return True
    if webhook.ignores_failure:
        return False
    unique = list(dict.fromkeys(errors))
    why = unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]"
    raise forbidden(requested_resource(attributes), attributes.name, why)
