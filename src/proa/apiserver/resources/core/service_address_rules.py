"""Say what is wrong with a Service's addresses and their families, and which changes of them are not allowed.

Follows pkg/apis/core/validation ValidateServiceClusterIPsRelatedFields, validateUpgradeDowngradeClusterIPs and
validateUpgradeDowngradeIPFamilies.
"""

from __future__ import annotations

from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import all_invalid, duplicate, invalid, not_supported, required
from proa.objects.validation_addresses import legacy_ip

NONE_ADDRESS = "None"
FAMILIES = ("IPv4", "IPv6")
POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
FIELD = "spec.clusterIPs"
STAYS = "may not change once set"


def is_headless(spec: Object) -> bool:
    """Tell whether the service has no address, only names."""
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP")]
    return bool(addresses[0] == NONE_ADDRESS)


def validate_addresses(spec: Object) -> list[Cause]:
    """Check clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy of a service that is not an ExternalName."""
    primary, every = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    causes: list[Cause] = []
    if primary and not every:
        causes.append(required(FIELD))
    elif primary and every[0] != primary:
        causes.append(invalid(FIELD, every, "first value must match `clusterIP`"))
    elif not primary and every:
        causes.append(invalid(FIELD, every, "must be empty when `clusterIP` is not specified"))
    families = spec.get("ipFamilies") or []
    for index, family in enumerate(families):
        path = f"spec.ipFamilies[{index}]"
        if family not in FAMILIES:
            causes.append(not_supported(path, family, FAMILIES))
        if family in families[:index]:
            causes.append(duplicate(path, family))
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in POLICIES:
        causes.append(not_supported("spec.ipFamilyPolicy", policy, POLICIES))
    return causes + _validate_values(every, families)


def _validate_values(every: list[str], families: list[str]) -> list[Cause]:
    causes: list[Cause] = []
    is_wrong = False
    for index, address in enumerate(every):
        if index == 0 and address == NONE_ADDRESS:
            if len(every) > 1:
                is_wrong = True
                causes.append(invalid(FIELD, every, "'None' must be the first and only value"))
            continue
        problems = legacy_ip(address)
        is_wrong = is_wrong or bool(problems)
        causes += all_invalid(f"{FIELD}[{index}]", address, problems)
    if len(every) > 2:
        causes.append(invalid(FIELD, every, "may only hold up to 2 values"))
    if is_wrong or not every or every[0] == NONE_ADDRESS:
        return causes
    if len(every) > 1 and len({":" in address for address in every}) < 2:
        causes.append(invalid(FIELD, every, "may specify no more than one IP for each IP family"))
    for index, (address, family) in enumerate(zip(every, families, strict=False)):
        if family in FAMILIES and (":" in address) != (family == "IPv6"):
            detail = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
            causes.append(invalid(f"{FIELD}[{index}]", address, detail))
    return causes


def validate_address_change(mine: Object, theirs: Object) -> list[Cause]:
    """Check that addresses and families stay, but for a second one that comes or goes."""
    if "ExternalName" in (mine.get("type"), theirs.get("type")):
        return []
    is_headless_now, was_headless = is_headless(mine), is_headless(theirs)
    causes: list[Cause] = []
    if not (is_headless_now and was_headless):
        causes += _validate_address_change(mine, theirs)
    if not is_headless_now and not was_headless:
        causes += _validate_family_change(mine, theirs)
    return causes


def _validate_address_change(mine: Object, theirs: Object) -> list[Cause]:
    after, before = mine.get("clusterIPs") or [], theirs.get("clusterIPs") or []
    if len(after) == len(before):
        return [
            invalid(f"{FIELD}[{index}]", after, STAYS)
            for index, address in enumerate(before)
            if address != after[index]
        ]
    causes: list[Cause] = []
    if not after:
        causes.append(invalid(f"{FIELD}[0]", after or None, "primary clusterIP can not be unset"))
    elif before and after[0] != before[0]:
        causes.append(invalid(f"{FIELD}[0]", after, STAYS))
    if len(after) == 1 and len(before) > 1:
        causes += _validate_downgrade(mine, "secondary clusterIP")
    return causes


def _validate_family_change(mine: Object, theirs: Object) -> list[Cause]:
    after, before = mine.get("ipFamilies") or [], theirs.get("ipFamilies") or []
    field = "spec.ipFamilies[0]"
    if len(after) == len(before):
        pairs = zip(before, after, strict=True)
        return [invalid(field, after, STAYS) for old, new in pairs if old != new]
    causes: list[Cause] = []
    if len(after) < len(before) and not mine.get("clusterIPs"):
        causes.append(invalid(field, after or None, "primary ipFamily can not be unset"))
    if after and before and after[0] != before[0]:
        causes.append(invalid(field, mine.get("clusterIPs"), STAYS))  # upstream shows the addresses
    if len(after) == 1 and len(before) > 1:
        causes += _validate_downgrade(mine, "secondary ipFamily")
    return causes


def _validate_downgrade(spec: Object, what: str) -> list[Cause]:
    policy = spec.get("ipFamilyPolicy")
    if policy == "SingleStack":
        return []
    detail = f"must be set to 'SingleStack' when releasing the {what}"
    return [invalid("spec.ipFamilyPolicy", policy, detail)]
