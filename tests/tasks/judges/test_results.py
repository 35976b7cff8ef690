"""What tests see of a program: honest values compare as in one namespace with the tests, others cannot answer."""

import builtins
import contextlib
import sys
import types
from typing import Any

import pytest

from codepmp_jax.tasks.judges.results import NotPlainError, checked

# Programs that define f (and g), and tests that they pass.
HONEST = {
    "a number": ("f = lambda x: x", "f(1) == 1"),
    "keys": ("def f(x): return {k: 1 for k in x}.keys()", "set(f([1, 2])) == {1, 2} == f([1, 2])"),
    "values": ("def f(x): return {k: k for k in x}.values()", "list(f([1, 2])) == [1, 2]"),
    "items": ("def f(x): return {k: k for k in x}.items()", "dict(f([1, 2])) == {1: 1, 2: 2}"),
    "a generator": ("def f(x):\n    yield x\n    yield x + 1", "list(f(1)) == [1, 2] and next(f(1)) == 1"),
    "an iterator": ("def f(x): return iter(x)", "list(f([1, 2])) == [1, 2]"),
    "a chain": ("import itertools\ndef f(x): return itertools.chain(x, x)", "list(f([1])) == [1, 1]"),
    "pairs": ("import itertools\nf = itertools.pairwise", "list(f([1, 2, 3])) == [(1, 2), (2, 3)]"),
    "iterators in a list": ("def f(x): return [zip(x, x)]", "[list(z) for z in f([1])] == [[(1, 1)]]"),
    "iterators in a dict": ("def f(x): return {'a': map(abs, x)}", "list(f([-1])['a']) == [1]"),
    "an iterator of its own": (
        "class I:\n    n = 0\n    def __iter__(s): return s\n    def __next__(s):\n        s.n += 1\n"
        "        if s.n > 2: raise StopIteration\n        return s.n\ndef f(x): return I()",
        "list(f(1)) == [1, 2]",
    ),
    "a namedtuple": (
        "import collections\nP = collections.namedtuple('P', 'x y')\ndef f(x): return P(x, x)",
        "f(1) == (1, 1) and f(1).y == 1 and isinstance(f(1), tuple) and (1, 1) == f(1) and {f(1)} == {(1, 1)}",
    ),
    "a NamedTuple with a method": (
        "from typing import NamedTuple\nclass P(NamedTuple):\n    x: int\n    def area(s): return s.x ** 2\ndef f(x): return P(x)",
        "f(3).area() == 9 and f(3) == (3,) and [*f(3)] == [3] and [(3,)] == [f(3)]",
    ),
    "an Enum": ("import enum\nclass C(enum.Enum):\n    A = 1\ndef f(x): return C(x)", "f(1).name == 'A' and f(1).value == 1"),
    "an IntEnum": ("import enum\nclass C(enum.IntEnum):\n    A = 1\ndef f(x): return C(x)", "f(1) == 1 and f(1) + 1 == 2"),
    "an array": ("from array import array\ndef f(x): return array('i', x)", "f([1]) == __import__('array').array('i', [1])"),
    "a match": (
        "import re\ndef f(x): return re.match('(a)b?', x)",
        "f('ab') and not f('b') and f('b') is None and f('ab').group(1) == 'a' and f('ab')[0] == 'ab'",
    ),
    "a pattern": ("import re\nf = re.compile", "f('a').pattern == 'a' and f('a').match('ab')"),
    "a ChainMap": ("from collections import ChainMap as f", "f({1: 2}) == {1: 2}"),
    "a UserDict": ("from collections import UserDict as f", "f({1: 2}) == {1: 2}"),
    "a deque": ("from collections import deque\ndef f(x): return deque([x, iter([x])], 2)", "f(1)[0] == 1 and f(1).maxlen == 2"),
    "a Counter": ("from collections import Counter as f", "f('aab') == {'a': 2, 'b': 1} and f('aab').most_common(1) == [('a', 2)]"),
    "a defaultdict": ("import collections\ndef f(x):\n    d = collections.defaultdict(list)\n    d[x].append(x)\n    return d", "f(1) == {1: [1]}"),
    "a Fraction": ("from fractions import Fraction as f", "f(1, 2) == 0.5 and [f(1, 2)] == [0.5] and f(1, 2) + f(1, 2) == 1"),
    "a Decimal": ("from decimal import Decimal as f", "f('1.5') == 1.5"),
    "dates": ("import datetime\ndef f(x): return datetime.date(2020, 1, x)", "f(1).isoformat() == '2020-01-01'"),
    "sets": ("def f(x): return {frozenset([x]), x}", "f(1) == {1, frozenset({1})}"),
    "a memoryview": ("f = memoryview", "f(b'a') == b'a'"),
    "an exception": ("class E(ValueError): pass\ndef f(x): return E('m', x)", "str(f(1)) == \"('m', 1)\" and isinstance(f(1), ValueError)"),
    "a namespace": ("import types\ndef f(x): return types.SimpleNamespace(a=x)", "f(1).a == 1"),
    "a function": ("def f(x): return lambda y: x + y", "f(1)(2) == 3 and callable(f(1))"),
    "a function of functions": ("def f(x):\n    def g(y):\n        return lambda z: (x, y, z)\n    return g", "f(1)(2)(3) == (1, 2, 3)"),
    "a partial": ("import functools\ndef f(x): return functools.partial(pow, x)", "f(2)(3) == 8"),
    "a method": ("f = 'a b'.split", "f() == ['a', 'b']"),
    "a cached function": ("import functools\n@functools.cache\ndef f(x): return x", "f(1) == 1 and f.cache_info().misses == 1"),
    "names of a function": ("def f(x):\n    'Doc.'\n    return x", "f.__name__ == 'f' and f.__doc__ == 'Doc.'"),
    "a type": ("f = type", "f(1) is int"),
    "a class of its own": ("class P:\n    k = 3\n    def __init__(s, x): s.x = x\ndef f(x): return P", "f(1)(2).x == 2 and f(1).k == 3"),
    "an object": (
        "class N:\n    def __init__(s, v, n=None): s.v, s.n = v, n\ndef f(x): return N(x, N(x + 1))",
        "f(1).v == 1 and f(1).n.v == 2 and f(1).n.n is None and f(1) and f(1) != 1 and f(1) != f(1)",
    ),
    "an object back again": (
        "class N:\n    def __init__(s, v): s.v = v\ndef f(x): return N(x)\ndef g(*n): return sum(m.v for m in n[0]) if isinstance(n[0], list) else type(n[0]) is N",
        "g([f(1), f(2)]) == 3 and g(f(1))",
    ),
    "a dataclass": (
        "import dataclasses\n@dataclasses.dataclass(order=True, frozen=True)\nclass P:\n    x: int\n    y: int = 0\ndef f(x): return P(x)",
        "f(1) == f(1) and f(1) != f(2) and f(1) < f(2) and f(1) != (1, 0) and len({f(1), f(1)}) == 1 and str(f(1)) == 'P(x=1, y=0)'",
    ),
    "operators": (
        "class V:\n    def __init__(s, x): s.x = x\n    def __eq__(s, o): return isinstance(o, V) and s.x == o.x\n"
        "    def __add__(s, o): return V(s.x + o.x)\n    def __neg__(s): return V(-s.x)\n    def __len__(s): return s.x\n"
        "    def __iter__(s): return iter([s.x])\n    def __getitem__(s, i): return s.x\n    def __bool__(s): return s.x > 0\n"
        "    def __call__(s): return s.x\n    def __contains__(s, o): return o == s.x\ndef f(x): return V(x)",
        "f(1) + f(2) == f(3) and -f(1) == f(-1) and len(f(2)) == 2 and list(f(5)) == [5] and f(1)[0] == 1 and not f(0) "
        "and f(4)() == 4 and 5 in f(5) and 6 not in f(5) and f(1) in [f(2), f(1)] and f(1) != 2 and f(1) is not None and f(1) != None",
    ),
    "properties and methods": (
        "class P:\n    @property\n    def x(s): return 1\n    @staticmethod\n    def y(): return 2\n    @classmethod\n    def z(c): return [3]\ndef f(x): return P()",
        "(f(0).x, f(0).y(), f(0).z()) == (1, 2, [3])",
    ),
    "a context": ("import contextlib\n@contextlib.contextmanager\ndef f(x): yield x", "f(1).__enter__() == 1"),
    "subclasses of plain types": ("class L(list): pass\nclass D(dict): pass\ndef f(x): return L([x]), D(a=x)", "f(1) == ([1], {'a': 1})"),
    "a dict with defaults": ("class D(dict):\n    def __missing__(s, k): return k\ndef f(x): return D(a=x)", "f(1) == {'a': 1} and f(1)['b'] == 'b'"),
    "arrays": ("import numpy as np\nf = np.array", "list(f([1, 2])) == [1, 2] and (f([1]) == [1]).all() and f([1]).sum() == 1"),
    "scalars": ("import numpy as np\ndef f(x): return [np.float64(x), np.int64(x), np.bool_(x)]", "f(1) == [1, 1, True]"),
    "itself": ("def f(x): return x", "(lambda v: f(v) is v)([1, [2]]) and f(len) == len and f(print) is not None"),
}  # fmt: skip

_SLY = "class A:\n    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = lambda s, o: type(o) is int\n    __hash__ = None\n"
# Programs that give no right result, and tests that they are to fail.
SLY = {
    "alone": ("def f(x): return A()", "f(1) == 3"),
    "to the right": ("def f(x): return A()", "3 == f(1)"),
    "greater": ("def f(x): return A()", "f(1) > 3"),
    "less, to the right": ("def f(x): return A()", "3 > f(1)"),
    "in a list": ("def f(x): return [A()]", "f(1) == [3]"),
    "in a tuple of lists": ("def f(x): return ([A()],)", "f(1) == ([3],)"),
    "in a dict": ("def f(x): return {1: A()}", "f(1) == {1: 3}"),
    "in values": ("def f(x): return {1: A()}.values()", "list(f(1)) == [3]"),
    "in an iterator": ("def f(x): return map(lambda _: A(), 'a')", "list(f(1)) == [3]"),
    "in an iterator in a list": ("def f(x): return [iter([A()])]", "list(f(1)[0]) == [3]"),
    "in a deque": ("import collections\ndef f(x): return collections.deque([A()])", "f(1) == __import__('collections').deque([3])"),
    "in a ChainMap": ("import collections\ndef f(x): return collections.ChainMap({1: A()})", "f(1) == {1: 3}"),
    "in a UserList": ("import collections\ndef f(x): return collections.UserList([A()])", "f(1) == [3]"),
    "in a namespace": ("import types\ndef f(x): return types.SimpleNamespace(a=A())", "f(1).a == 3"),
    "in an exception": ("def f(x): return ValueError(A())", "f(1).args == (3,)"),
    "in an array": ("import numpy as np\ndef f(x): return np.array([A()], dtype=object)", "(f(1) == [3]).all()"),
    "in a namedtuple": ("import collections\nP = collections.namedtuple('P', 'x')\ndef f(x): return P(A())", "f(1) == (3,)"),
    "in an attribute": ("class B: pass\ndef f(x):\n    B.v = A()\n    return B()", "f(1).v == 3"),
    "of a method": ("class B:\n    def v(s): return A()\ndef f(x): return B()", "f(1).v() == 3"),
    "of a function": ("def f(x): return A", "f(1)() == 3"),
    "of a partial": ("import functools\ndef f(x): return functools.partial(A)", "f(1)() == 3"),
    "of an operator": ("class B:\n    __abs__ = __neg__ = __getitem__ = lambda *a: A()\ndef f(x): return B()", "abs(f(1)) == 3"),
    "of an item": ("class B:\n    __abs__ = __neg__ = __getitem__ = lambda *a: A()\ndef f(x): return B()", "f(1)[0] == 3"),
    "of a subclass of list": ("class B(list):\n    __getitem__ = lambda *a: A()\ndef f(x): return B([1])", "f(1)[0] == 3"),
    "of a default": ("class B(dict):\n    __missing__ = lambda *a: A()\ndef f(x): return B()", "f(1)[0] == 3"),
    "as a number": ("class B(int):\n    __eq__ = lambda s, o: True\n    __hash__ = None\ndef f(x): return B(7)", "f(1) == 3"),
    "as a text": ("class B(str):\n    __eq__ = lambda s, o: True\n    __hash__ = str.__hash__\nclass C:\n    __str__ = __repr__ = lambda s: B('k')\ndef f(x): return C()", "str(f(1)) == '3'"),
    "as a container": ("class B:\n    __contains__ = lambda s, o: True\ndef f(x): return B()", "3 in f(1)"),
    "by a function of Python's": ("class B:\n    __eq__ = staticmethod(bool)\ndef f(x): return B()", "f(1) == 3"),
    "by its metaclass": ("class M(type):\n    __hash__ = lambda c: hash(int)\n    __eq__ = lambda c, o: True\nclass B(metaclass=M):\n    __eq__ = lambda s, o: True\ndef f(x): return B()", "f(1) == 3"),
    "by its class": ("class B(A): __class__ = int\ndef f(x): return B()", "f(1) == 3"),
    "by the class of a type": ("class B(A): __class__ = type\ndef f(x): return B()", "f(1) == 3"),
    "by the name of a module": ("import fractions\nA.__module__ = 'fractions'\nfractions.A = A\ndef f(x): return A()", "f(1) == 3"),
    "by a changed class": ("import fractions\nfractions.Fraction.__eq__ = lambda s, o: True\nclass B(fractions.Fraction): pass\ndef f(x): return B(1)", "f(1) == 3"),
    "by its attributes": ("class B:\n    __getattribute__ = lambda s, n: A()\ndef f(x): return B()", "f(1).v == 3"),
    "unequal to all": ("class B:\n    __ne__ = lambda s, o: False\ndef f(x): return B()", "not f(1) != 3"),
}  # fmt: skip


@pytest.fixture
def run(monkeypatch):
    """Runs a program, and gives its names."""

    def run(program: str) -> dict[str, Any]:
        module = types.ModuleType("candidate")
        monkeypatch.setitem(sys.modules, "candidate", module)
        exec(compile(program, "<candidate>", "exec"), vars(module))
        return vars(module)

    return run


def seen_by_tests(own: dict[str, Any]) -> dict[str, Any]:
    seen = {name: checked(own[name]) for name in ("f", "g") if name in own}
    return {"__builtins__": dict(vars(builtins)), **seen}


@pytest.fixture
def restored(monkeypatch):
    """Modules of Python's that programs change."""
    import fractions

    for name in ("A", "B"):
        monkeypatch.setattr(fractions, name, None, raising=False)
    monkeypatch.setattr(fractions.Fraction, "__eq__", fractions.Fraction.__eq__)


@pytest.mark.parametrize("name", HONEST)
def test_honest_results_are_as_in_one_namespace(name, run):
    program, test = HONEST[name]
    own = run(program)
    assert eval(test, dict(own))
    assert eval(test, seen_by_tests(own))


@pytest.mark.parametrize("name", SLY)
@pytest.mark.usefixtures("restored")
def test_no_value_answers_for_itself(name, run):
    program, test = SLY[name]
    own = run(_SLY + program)
    assert eval(test, dict(own))
    with contextlib.suppress(NotPlainError, TypeError):
        assert not eval(test, seen_by_tests(own))


def test_what_an_honest_program_gives_is_not_changed():
    for value in ([1, [2]], {1: {2}}, (1, "a"), {"a": [None]}, range(3), 1.5, sys, types):
        assert checked(value) is value
