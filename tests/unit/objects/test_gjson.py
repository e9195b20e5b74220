"""Paths find what GJSON finds by them, and any text is a path or refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.objects.gjson import MISSING, find
from proa.objects.gjson_parser import BadPath, parse


def condition(type: str, status: str = "True", **more: Any) -> Any:
    return {"type": type, "status": status, **more}


RUN = {
    "status": {
        "phase": "Succeeded",
        "succeeded": 1,
        "share": 0.5,
        "done": True,
        "nothing": None,
        "a.b": "dotted",
        "conditions": [
            condition("Failed", "False"),
            condition("Complete", reason="AllDone", message="well done"),
        ],
        "steps": [{"pods": [{"n": 1}, {"n": 2}]}, {"pods": [{"n": 3}]}, {}],
        "names": ["b", "a"],
    }
}
FIRST, LAST = RUN["status"]["conditions"]
FOUND: dict[str, Any] = {
    'status.conditions.#(type=="Complete")#|#(status=="True")#': [LAST],
    'status.conditions.#(type=="Failed")#|#(status=="True")#': [],
    'status.[@this].#(phase=="Succeeded")#': [RUN["status"]],
    'status.[@this].#(phase=="Failed")#': [],
    "status.[@this].#(succeeded==1)": RUN["status"],
    "status.[@this].#(succeeded>1)": MISSING,
    "status.[@this].#(share<=0.5)#.phase": ["Succeeded"],
    "status.[@this].#(done==true).done": True,
    "status.[@this].#(done!=true)": MISSING,
    "status.[@this].#(nothing).phase": "Succeeded",
    "status.[@this].#(nothing!=1)": MISSING,
    "status.[@this].#(absent)": MISSING,
    "status.phase": "Succeeded",
    "status.phases": MISSING,
    "status.phase.x": MISSING,
    r"status.a\.b": "dotted",
    "status.conditions.#": 2,
    "status.conditions.#.type": ["Failed", "Complete"],
    "status.conditions.#.reason": ["AllDone"],
    "status.conditions.#.type|0": "Failed",
    "status.conditions.#.type|#": 2,
    "status.conditions.1.reason": "AllDone",
    "status.conditions.2": MISSING,
    "status.conditions.last": MISSING,
    'status.conditions.#( type == "Complete" ).status': "True",
    "status.conditions.#(type==Complete).status": "True",
    'status.conditions.#(type!="Complete")#': [FIRST],
    'status.conditions.#(type%"Com*")#': [LAST],
    'status.conditions.#(type!%"Com*")#': [FIRST],
    'status.conditions.#(type>"E").type': "Failed",
    'status.conditions.#(type=="Complete")#.reason': ["AllDone"],
    'status.conditions.#(type=="Complete")#|0.reason': "AllDone",
    "status.steps.#.pods.#.n": [[1, 2], [3]],
    "status.steps.#.pods.#": [2, 1],
    "status.steps.#(pods.#(n==3)).pods.0.n": 3,
    "status.steps.#(pods.#>1)#|#": 1,
    'status.names.#(=="a")': "a",
    'status.names.#(%"?")#': ["b", "a"],
    "status.names.@reverse.0": "a",
    "status.names|@this|1": "a",
    "status.steps.#.pods|@flatten|#": 3,
    "status.@keys.0": "phase",
    "status.cond*.0.type": "Failed",
    "status.p?ase": "Succeeded",
    "[status.phase,status.absent,status.done]": ["Succeeded", True],
    '{status.phase,"n":status.conditions.#}': {"phase": "Succeeded", "n": 2},
    "status.{phase,succeeded}.succeeded": 1,
}


@pytest.mark.parametrize(("path", "expected"), FOUND.items(), ids=FOUND)
def test_a_path_finds_what_gjson_does(path, expected):
    assert find(parse(path), RUN) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["a", "b", ""]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("ab0"), below, max_size=3),
    max_leaves=12,
)


@given(st.text(alphabet='ab0.|#()=!<>%"[]{},@*?\\ ', max_size=30), JSON)
def test_any_text_is_a_path_or_refused(text, value):
    try:
        path = parse(text)
    except BadPath:
        return
    find(path, value)


@given(st.lists(JSON, max_size=5), st.sampled_from(['#(a=="b")', "#(b>0)", "#(a)", "#(0!=a)"]))
def test_the_first_that_is_found_is_the_first_of_all(items, query):
    every = find(parse(f"{query}#"), items)
    first = find(parse(query), items)
    assert first is MISSING if not every else first == every[0]
