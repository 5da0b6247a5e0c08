"""The one spelling: grammar, errors, round trips."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmeter import parts
from lightmeter.errors import LightmeterError, MissingExtraError, SpecError, UnknownNameError
from lightmeter.parts import Call, Spelled, build, parse, render


@dataclass(frozen=True)
class Tea(Spelled):
    threshold: float = 0.1


@dataclass(frozen=True)
class Recipe(Spelled):
    steps: int
    name: str = "plain"
    shift: float | None = None
    compiled: bool = False
    format: Literal["q6_k", "fp8"] = "q6_k"
    folder: Path = Path("models")
    cache: Tea = field(default_factory=Tea)
    sizes: tuple[int, ...] = ()
    teas: tuple[Tea, ...] = ()


TOYS = {"recipe": f"{__name__}:Recipe", "tea": f"{__name__}:Tea"}


@pytest.fixture(autouse=True)
def toy_tables(monkeypatch):
    monkeypatch.setattr(parts, "KINDS", {"toy": f"{__name__}:TOYS"})
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _this_module())
    parts._name_of.cache_clear()
    yield
    parts._name_of.cache_clear()


def _this_module():
    import types

    module = types.ModuleType(__name__)
    module.__dict__.update(globals())
    return module


def test_a_spec_builds_a_part():
    made = build("recipe/steps=8,cache=(tea/threshold=1),sizes=[1,2],folder=/a/b.c,name='a, b'")
    assert made == Recipe(8, name="a, b", cache=Tea(1.0), sizes=(1, 2), folder=Path("/a/b.c"))


def test_whitespace_is_free_and_empty_brackets_are_lists():
    assert build(" recipe / steps = 8 , sizes = [ ] , shift = none ") == Recipe(8)


def test_the_spec_names_every_option_in_order():
    assert Recipe(4).spec == (
        "recipe/steps=4,name=plain,shift=none,compiled=false,format=q6_k,folder='models',"
        "cache=(tea/threshold=0.1),sizes=[],teas=[]"
    )


texts = st.text(max_size=30)
teas = st.builds(Tea, st.floats(allow_nan=False))
recipes = st.builds(
    Recipe,
    st.integers(),
    name=texts,
    shift=st.none() | st.floats(allow_nan=False),
    compiled=st.booleans(),
    format=st.sampled_from(["q6_k", "fp8"]),
    folder=texts.filter(lambda t: "\0" not in t).map(Path),
    cache=teas,
    sizes=st.lists(st.integers(), max_size=3).map(tuple),
    teas=st.lists(teas, max_size=3).map(tuple),
)


@given(recipes)
def test_build_of_spec_is_the_part(recipe):
    assert build(recipe.spec) == recipe


@given(st.text(max_size=60))
def test_any_text_parses_or_is_refused_by_name(text):
    try:
        call = parse(text)
    except SpecError:
        return
    assert parse(render(call)[1:-1]) == call or "nan" in text


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("", "expected a name at the end"),
        ("recipe/", "expected an option's name"),
        ("recipe/steps", "expected '='"),
        ("recipe/steps=", "expected a value"),
        ("recipe/steps=8 9", "expected the spec to end at '9'"),
        ("recipe/steps=8,steps=9", "given twice"),
        ("recipe/name='open", "expected a closing '"),
        ("recipe/steps=" + "[" * 40, "nests at most 20 deep"),
        ("recipe/steps=1.5", "recipe/steps must be a whole number, got 1.5"),
        ("recipe/steps=true", "recipe/steps must be a whole number, got true"),
        ("recipe/steps=(tea)", "recipe/steps must be a whole number, got (tea)"),
        ("recipe/steps=1,sizes=3", "must be a [list], got 3"),
        ("recipe/steps=1,format=q5", "must be one of q6_k, fp8, got q5"),
        ("recipe", "recipe needs steps: write recipe/steps=…"),
        ("recipe/steps=1,cache=7", "recipe/cache must be a (nested spec), got 7"),
    ],
)
def test_bad_specs_say_what_must_be(spec, says):
    with pytest.raises(SpecError) as caught:
        build(spec)
    assert says in str(caught.value)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'recipe'"):
        build("recpie/steps=1")
    with pytest.raises(UnknownNameError, match="did you mean 'steps'"):
        build("recipe/stesp=1")
    with pytest.raises(UnknownNameError, match="no kind of part"):
        build("recipe", kind="nonsense")


def test_a_class_in_no_table_has_no_spec():
    @dataclass(frozen=True)
    class Stray(Spelled):
        pass

    with pytest.raises(UnknownNameError, match="stands in no table"):
        _ = Stray().spec


def test_plug_ins_join_by_entry_point(monkeypatch):
    from importlib.metadata import EntryPoint

    entry = EntryPoint(name="green-tea", value=f"{__name__}:Tea", group="lightmeter.toy")
    found = {"lightmeter.toy": [entry]}
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: found.get(group, []))
    monkeypatch.setattr(parts, "_plugins", parts._plugins.__wrapped__)  # as read by a process that begins
    assert build("green-tea/threshold=2") == Tea(2.0)


def test_a_missing_extra_names_its_command():
    with pytest.raises(MissingExtraError, match=r"pip install 'lightmeter\[nothing\]'"):
        parts.need("no_such_module_anywhere", "nothing")


def test_constants_and_numbers():
    assert parse("a/b=true,c=none,d=-1e3,e=007,f=inf").options == {
        "b": True, "c": None, "d": -1000.0, "e": 7, "f": float("inf"),
    }  # fmt: skip
    assert parse("a/x='true'").options == {"x": "true"}
    assert render("true") == "'true'"
    assert render(Call("a", {})) == "(a)"


def test_every_error_is_also_a_builtin():
    from lightmeter import errors

    ours = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, LightmeterError)]
    for error in ours:
        bases = [base for base in error.__mro__[1:-3] if base.__module__ == "builtins" and base is not Exception]
        assert error is LightmeterError or bases
