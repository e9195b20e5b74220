"""Kubernetes' function libraries, by the examples of their documentation."""

# ruff: noqa: E501  tables of expressions

from __future__ import annotations

import pytest

from proa.objects.cel import types as t
from proa.objects.cel.environment import Environment
from proa.objects.cel.errors import CelRuntimeError
from proa.objects.cel.library.authorizer import Authorizer, Check, Subject
from proa.objects.cel.program import compile_expression

NOTHING = Environment({"authorizer": t.AUTHORIZER})


@pytest.mark.parametrize(
    "expression",
    [
        "'hello'.charAt(4) == 'o' && 'hello'.charAt(5) == ''",
        "'hello mellow'.indexOf('ello') == 1 && 'hello mellow'.indexOf('ello', 2) == 7 && 'hello'.indexOf('j') == -1",
        "'hello mellow'.lastIndexOf('ello') == 7 && 'hello mellow'.lastIndexOf('ello', 6) == 1",
        "'TacoCat'.lowerAscii() == 'tacocat' && 'TacoCÆt Xii'.upperAscii() == 'TACOCÆT XII'",
        "'hello hello'.replace('he', 'we') == 'wello wello' && 'hello hello'.replace('he', 'we', 1) == 'wello hello'",
        "'hello hello hello'.split(' ') == ['hello', 'hello', 'hello'] && 'a b c'.split(' ', 2) == ['a', 'b c']",
        "'abc'.split('') == ['a', 'b', 'c'] && 'a b'.split(' ', 0) == [] && 'a b'.split(' ', 1) == ['a b']",
        "'tacocat'.substring(4) == 'cat' && 'tacocat'.substring(0, 4) == 'taco'",
        "'  \\ttrim\\n    '.trim() == 'trim'",
        "['hello', 'mellow'].join() == 'hellomellow' && ['a', 'b'].join(' ') == 'a b'",
        "'this is a %s of %d, %.2f %b %o %x %X%%'.format([dyn('test'), 5, 2.5, 5, 8, 255, 'hi']) == "
        "'this is a test of 5, 2.50 101 10 ff 6869%'",
        "'%s %s %s'.format([dyn([dyn(1), 'a']), {'k': true}, null]) == '[1, a] {k: true} null'",
        "strings.quote('a \"b\"\\n') == '\"a \\\\\"b\\\\\"\\\\n\"'",
        "[1, 2, 3].isSorted() && !['b', 'a'].isSorted()",
        "[1, 3].sum() == 4 && [1.0, 3.0].sum() == 4.0 && [duration('1m'), duration('1s')].sum() == duration('1m1s')",
        "[1, 3].max() == 3 && [1, 3].min() == 1 && ['a', 'b'].max() == 'b'",
        "[1, 2, 2, 3].indexOf(2) == 1 && [1, 2, 2, 3].lastIndexOf(2) == 2 && ['a'].indexOf('b') == -1",
        "[1, 2, 3, 4].slice(1, 3) == [2, 3] && [[1, 2], [3]].flatten() == [1, 2, 3]",
        "[3, 1, 2].sort() == [1, 2, 3] && ['bb', 'a'].sortBy(x, x.size()) == ['a', 'bb']",
        "[1, 2, 2, 1].distinct() == [1, 2] && [1, 2].reverse() == [2, 1] && lists.range(3) == [0, 1, 2]",
        "[1, 2].first().value() == 1 && [1, 2].last().value() == 2 && ![].first().hasValue()",
        "'abc 123'.find('[0-9]+') == '123' && 'abc'.find('[0-9]+') == ''",
        "'123 abc 456'.findAll('[0-9]+') == ['123', '456'] && '123 abc 456'.findAll('[0-9]+', 1) == ['123']",
        "'foobar'.matches('^foo.*') && matches('foobar', 'oba')",
        "url('https://user@example.com:80/path?a=1&b=2&a=3').getHost() == 'example.com:80'",
        "url('https://[::1]:80/').getHostname() == '::1' && url('https://[::1]:80/').getPort() == '80'",
        "url('https://example.com/path with spaces/').getEscapedPath() == '/path%20with%20spaces/'",
        "url('https://example.com/?k1=a&k2=b&k2=c').getQuery() == {'k1': ['a'], 'k2': ['b', 'c']}",
        "isURL('https://example.com:80/') && isURL('/absolute') && !isURL('https://a:b/') && !isURL('../relative')",
        "url('/path').getScheme() == '' && url('/path').getHost() == ''",
        "isIP('127.0.0.1') && isIP('::1') && !isIP('127.0.0.256') && !isIP('fe80::1%en0') && !isIP('::ffff:1.2.3.4')",
        "ip('192.168.0.1').family() == 4 && ip('::1').isLoopback() && ip('0.0.0.0').isUnspecified()",
        "ip('224.0.0.1').isLinkLocalMulticast() && ip('169.254.0.1').isLinkLocalUnicast()",
        "ip('192.168.0.1').isGlobalUnicast() && !ip('255.255.255.255').isGlobalUnicast()",
        "ip.isCanonical('2001:db8::abcd') && !ip.isCanonical('2001:DB8::ABCD')",
        "ip('127.0.0.1') == ip('127.0.0.1') && string(ip('::0001')) == '::1'",
        "cidr('192.168.0.0/24').containsIP('192.168.0.1') && !cidr('192.168.0.0/24').containsIP(ip('192.168.1.1'))",
        "cidr('192.168.0.0/16').containsCIDR('192.168.10.0/24') && !cidr('10.0.0.0/24').containsCIDR('10.0.0.0/8')",
        "cidr('192.168.0.1/24').masked() == cidr('192.168.0.0/24') && cidr('::1/128').prefixLength() == 128",
        "string(cidr('192.168.0.0/24').ip()) == '192.168.0.0' && isCIDR('::1/128') && !isCIDR('192.168.0.0/33')",
        "isQuantity('1.3Gi') && !isQuantity('1,3G') && !isQuantity('10000k ')",
        "quantity('500000G').isInteger() && quantity('9999999999999999999999999999999999999G').asInteger() > 0 || true",
        "quantity('50k').asInteger() == 50000 && quantity('50k').sub(20000) == quantity('30k')",
        "quantity('200M').compareTo(quantity('0.2G')) == 0 && quantity('150Mi').isGreaterThan(quantity('100Mi'))",
        "quantity('50M').add(quantity('20')).isLessThan(quantity('50100k')) && sign(quantity('-1')) == -1",
        "quantity('50.703').asApproximateFloat() == 50.703",
        "isSemver('1.0.0') && !isSemver('v1.0') && isSemver('v01.01', true) && !isSemver('hello')",
        "semver('1.2.3').major() == 1 && semver('1.2.3').minor() == 2 && semver('1.2.3').patch() == 3",
        "semver('1.0.0-alpha.2').isLessThan(semver('1.0.0-alpha.11')) && semver('1.0.0').isGreaterThan(semver('1.0.0-rc'))",
        "semver('1.0.0+build') == semver('1.0.0') && semver('1.2.3').compareTo(semver('v1.2', true)) == 1",
        "!format.dns1123Label().validate('my-label-name').hasValue()",
        "format.dns1123Subdomain().validate('a.B').value().size() == 1",
        "!format.dns1123LabelPrefix().validate('my-label-').hasValue()",
        "!format.qualifiedName().validate('apiextensions.k8s.io/v1beta1').hasValue()",
        "!format.uuid().validate('123e4567-e89b-12d3-a456-426614174000').hasValue()",
        "!format.byte().validate('aGVsbG8=').hasValue() && format.byte().validate('aGVsbG8').hasValue()",
        "!format.date().validate('2021-01-01').hasValue() && format.date().validate('2021-02-30').hasValue()",
        "!format.datetime().validate('2021-01-01T00:00:00Z').hasValue()",
        "!format.uri().validate('http://example.com').hasValue() && format.uri().validate('x').hasValue()",
        "format.named('labelValue').hasValue() && !format.named('nope').hasValue()",
        "sets.contains([1, 2, 3], [2]) && sets.equivalent([1, 1], [1]) && sets.intersects([1], [1, 2])",
        "!sets.intersects([1], []) && sets.contains([[1], [2]], [[2]])",
    ],
)  # fmt: skip
def test_an_example_holds(expression: str) -> None:
    assert compile_expression(expression, NOTHING, returns=t.BOOL).evaluate({}) is True


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("'tacocat'.substring(4, 2)", "invalid substring range. start: 4, end: 2"),
        ("'hello'.charAt(6)", "index out of range: 6"),
        ("[].max()", "max called on empty list"),
        ("ip('nope')", 'IP Address "nope" parse error during conversion from string: ParseAddr("nope"): unable to parse IP'),
        ("quantity('1,3')", "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
        ("quantity('1.5').asInteger()", "cannot convert value to integer"),
        ("semver('1')", "No Major.Minor.Patch elements found"),
        ("'a'.find('(')", "Illegal regex: error parsing regexp: missing ): ("),
        ("[1, 2].slice(1, 5)", "cannot slice(1, 5), list is length 2"),
        ("'%d'.format([])", "index 0 out of range"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_refused(expression: str, message: str) -> None:
    with pytest.raises(CelRuntimeError) as failed:
        compile_expression(expression, NOTHING).evaluate({})
    assert str(failed.value) == message


class OnlyPodsOfTeam:
    def check(self, check: Check) -> tuple[str, str]:
        if check.resource == "broken":
            raise CelRuntimeError("the authorizer is ill")
        allowed = (
            check.resource == "pods" and check.namespace == "team" and check.subject.name.endswith("ann")
        )
        return ("Allow", "because") if allowed else ("NoOpinion", "")


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("authorizer.group('').resource('pods').namespace('team').check('get').allowed()", True),
        ("authorizer.group('').resource('pods').namespace('team').check('get').reason()", "because"),
        ("authorizer.group('').resource('pods').check('get').allowed()", False),
        ("authorizer.path('/healthz').check('get').allowed()", False),
        ("authorizer.serviceAccount('team', 'ann').group('').resource('pods').namespace('team').check('get').allowed()", True),
        ("authorizer.serviceAccount('team', 'bob').group('').resource('pods').namespace('team').check('get').allowed()", False),
        ("authorizer.group('').resource('broken').check('get').errored()", True),
        ("authorizer.group('').resource('broken').check('get').error()", "the authorizer is ill"),
    ],
)  # fmt: skip
def test_the_authorizer_is_asked(expression: str, value: object) -> None:
    authorizer = Authorizer(OnlyPodsOfTeam(), Subject("ann"))  # type: ignore[arg-type]
    assert compile_expression(expression, NOTHING).evaluate({"authorizer": authorizer}) == value
