"""What Envoy is told costs each request no more than it has to."""

from __future__ import annotations

import pytest

from proa.network.gateway.envoy import count_workers
from proa.network.gateway.envoy_routes import make_routes
from proa.network.gateway.model import Door, DoorKey, PathMatch, Route, ValueMatch, make_order

MATCHES = [
    pytest.param("^application/grpc.*", {"prefix": "application/grpc"}, id="a beginning"),
    pytest.param("application/grpc.*$", {"prefix": "application/grpc"}, id="the whole value is meant anyway"),
    pytest.param("^v1.2.*", {"safe_regex": {"regex": "^v1.2.*"}}, id="any character within"),
    pytest.param("(a|b).*", {"safe_regex": {"regex": "(a|b).*"}}, id="alternatives"),
    pytest.param("a.*b", {"safe_regex": {"regex": "a.*b"}}, id="an end"),
    pytest.param("ab*.*", {"safe_regex": {"regex": "ab*.*"}}, id="a repetition"),
    pytest.param(".*", {"safe_regex": {"regex": ".*"}}, id="anything"),
]


@pytest.mark.parametrize(("asked", "told"), MATCHES)
def test_a_header_that_begins_with_something_is_no_regular_expression(asked, told):
    path = PathMatch("prefix", "/")
    order = make_order(path, owner="r", created="", rule=0, match=0)
    route = Route("r", order, path, headers=(ValueMatch("x-v", asked, is_regex=True),))
    routes = make_routes("http-80", Door(DoorKey(80, "HTTP"), {"": (route,)}), {})
    assert routes["virtual_hosts"][0]["routes"][0]["match"]["headers"] == [
        {"name": "x-v", "string_match": told}
    ]


def test_envoy_leaves_cores_to_what_it_sends_requests_to():
    assert [count_workers(cores) for cores in (1, 2, 3, 4, 6, 64)] == [1, 1, 1, 2, 3, 4]
