"""The function libraries that Kubernetes gives every expression, in upstream's order."""

from proa.objects.cel.library import (
    addresses,
    authorizer,
    formats,
    lists,
    optionals,
    quantities,
    regex,
    semvers,
    sets,
    standard,
    strings,
    times,
    urls,
)

LIBRARIES = (
    standard.FUNCTIONS,
    times.FUNCTIONS,
    optionals.FUNCTIONS,
    urls.FUNCTIONS,
    regex.FUNCTIONS,
    lists.FUNCTIONS,
    authorizer.FUNCTIONS,
    quantities.FUNCTIONS,
    strings.FUNCTIONS,
    sets.FUNCTIONS,
    addresses.FUNCTIONS,
    formats.FUNCTIONS,
    semvers.FUNCTIONS,
)
