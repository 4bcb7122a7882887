"""The quick look at a call, against Python's own idea of it."""

from inspect import signature

from hypothesis import given
from hypothesis import strategies as st

from reproq_django.signature import CallSignature

FUNCTIONS = [
    lambda: None,
    lambda a: None,
    lambda a, b=1: None,
    lambda a, /, b: None,
    lambda a=1, /, b=2: None,
    lambda a, *, b: None,
    lambda a, *, b=1, c: None,
    lambda *a: None,
    lambda a, **b: None,
    lambda a, /, **b: None,
    lambda a, *b, c=1, **d: None,
]
kwargs = st.dictionaries(st.sampled_from("abcd"), st.just(1))


@given(st.sampled_from(FUNCTIONS), st.integers(0, 4), kwargs)
def test_a_call_is_refused_where_python_refuses_it(function, count, keywords):
    def said_by(call):
        try:
            call()
        except TypeError as error:
            return str(error)

    args = (1,) * count
    assert said_by(lambda: CallSignature(function).check(args, keywords)) == said_by(
        lambda: signature(function).bind(*args, **keywords)
    )


def test_a_parameter_of_the_functions_own_is_no_option_of_the_enqueue():
    own, given = CallSignature(lambda priority, **others: None).split(
        {"priority": 1, "lock_key": "l", "run_after": None, "x": 2}
    )
    assert (own, given) == ({"priority": 1, "x": 2}, {"lock_key": "l"})
