"""The embedded writer of mutants: the author's Python with a few mistakes in its syntax tree.

Mistakes are those that programmers make and mutation testing looks for (Jia and Harman, IEEE TSE 37(5), 2011,
section 3): another comparison or operator, off by one, exchanged operands, arguments or variables, a negated
condition, a dropped statement or call, another value returned. Author's code and mutants are both laid out by
`ast.unparse`, without comments and docstrings, so that layout tells nothing. Some mutants are equivalent to
the author's code: only running the tests tells.
"""

from __future__ import annotations

import ast
import functools
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from codepmp_jax.config import MutantConfig
from codepmp_jax.records.schema import Completion, content_id
from codepmp_jax.synthesis.writers.sampler import Request, Sampler

# Part of the settings that a resumed run compares: raise it with any change of what is written.
_VERSION = 1
# Draws before a request is given up that gives the author's code, or code that does not parse, each time.
_DRAWS = 8

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
_OPERATORS: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub, ast.Mult),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Add, ast.Pow),
    ast.Div: (ast.FloorDiv, ast.Mult),
    ast.FloorDiv: (ast.Div, ast.Mod),
    ast.Mod: (ast.FloorDiv, ast.Div),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitXor: (ast.BitOr,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
}
# Names that are taken for one another.
_CONFUSED = {
    name: other
    for pair in (
        ("min", "max"),
        ("any", "all"),
        ("sum", "len"),
        ("sorted", "list"),
        ("abs", "int"),
        ("lower", "upper"),
        ("append", "extend"),
        ("find", "rfind"),
        ("floor", "ceil"),
        *(
            ("startswith", "endswith"),
            ("isupper", "islower"),
            ("lstrip", "rstrip"),
            ("keys", "values"),
        ),
    )
    for name, other in (pair, pair[::-1])
}


class Mutation(NamedTuple):
    """One mistake that can be made in a tree."""

    kind: str
    apply: Callable[[], None]
    """Makes it, in the tree that it was found in."""


class MutantSampler(Sampler):
    """Mutants of each source: a request draws how many mistakes, their kinds and their places."""

    def __init__(self, config: MutantConfig, seed: int):
        self._config = config
        self._seed = seed

    def settings(self) -> dict[str, Any]:
        """Version, seed and numbers of mistakes."""
        return {
            "sampler": "mutant",
            "version": _VERSION,
            "seed": self._seed,
            "num_mistakes": list(self._config.num_mistakes),
        }

    def sample(self, requests: Sequence[Request]) -> list[Completion]:
        """A mutant of each source, or its own code in their layout; it fails where the source is no Python, or has
        nothing to mistake."""
        return [self._complete(request) for request in requests]

    def _complete(self, request: Request) -> Completion:
        rng = random.Random(int(content_id(str(self._seed), request.key), 16))
        try:
            author = normal_form(request.source.content)
        except (SyntaxError, ValueError, RecursionError) as error:
            return Completion(request.key, "", "not parsable", str(error))
        if self._config.is_author:
            facts = {"sampler": "mutant", "seed": self._seed, "mistakes": []}
            return Completion(request.key, author, facts=facts)
        for _ in range(_DRAWS):
            num_mistakes = rng.choice(self._config.num_mistakes)
            tree = ast.parse(author)
            kinds = [kind for _ in range(num_mistakes) if (kind := mutate(tree, rng))]
            text = ast.unparse(tree)
            if text != author and _parses(text):
                facts = {"sampler": "mutant", "seed": self._seed, "mistakes": kinds}
                return Completion(request.key, text, facts=facts)
        return Completion(request.key, "", "nothing to mistake")


@functools.lru_cache(maxsize=64)
def normal_form(code: str) -> str:
    """Python code as `ast.unparse` lays it out, without comments and docstrings. Raises SyntaxError."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
            if not node.body and not isinstance(node, ast.Module):
                node.body = [ast.Pass()]
    return ast.unparse(tree)


def mutate(tree: ast.Module, rng: random.Random) -> str:
    """Makes one mistake in the tree; its kind, drawn first of those there are. Empty where there is none."""
    by_kind: dict[str, list[Mutation]] = {}
    for mutation in mutations(tree):
        by_kind.setdefault(mutation.kind, []).append(mutation)
    if not by_kind:
        return ""
    kind = rng.choice(list(by_kind))
    rng.choice(by_kind[kind]).apply()
    return kind


def mutations(tree: ast.Module) -> Iterator[Mutation]:
    """Every mistake that can be made in the functions of a tree."""
    for function in _outermost(tree):
        names = sorted(_variables(function))
        for parent in ast.walk(function):
            if isinstance(parent, ast.arguments | ast.arg):
                continue
            for field, value in ast.iter_fields(parent):
                if field in ("decorator_list", "returns", "annotation"):
                    continue
                if isinstance(value, list):
                    yield from _of_statements(value)
                    for place, node in enumerate(value):
                        yield from _of_node(node, _setter(value, place), names)
                elif isinstance(value, ast.AST):
                    yield from _of_node(value, _attribute_setter(parent, field), names)


def _outermost(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions below a node that stand in no other."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
        else:
            yield from _outermost(child)


_Put = Callable[[Any], None]


def _setter(nodes: list[Any], place: int) -> _Put:
    return lambda node: nodes.__setitem__(place, node)


def _attribute_setter(parent: ast.AST, field: str) -> _Put:
    return lambda node: setattr(parent, field, node)


def _of_statements(nodes: list[Any]) -> Iterator[Mutation]:
    """Dropping a statement, or exchanging it with the next one."""
    for place, node in enumerate(nodes):
        if not isinstance(node, ast.stmt) or isinstance(
            node, ast.Pass | ast.FunctionDef | ast.Import
        ):
            continue
        if len(nodes) > 1:
            yield Mutation("dropped statement", lambda p=place: nodes.__delitem__(p))
        following = nodes[place + 1 : place + 2]
        if (
            following
            and type(following[0]) is type(node)
            and isinstance(node, ast.Assign | ast.AugAssign)
        ):
            yield Mutation("exchanged statements", lambda p=place: _exchange(nodes, p, p + 1))


def _exchange(nodes: list[Any], one: int, other: int) -> None:
    nodes[one], nodes[other] = nodes[other], nodes[one]


def _of_node(node: Any, put: _Put, names: list[str]) -> Iterator[Mutation]:
    """The mistakes that replace a node, or change it where it stands."""
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            for other in _COMPARISONS[type(operator)]:
                yield _new("comparison", _setter(node.ops, place), other())
    elif isinstance(node, ast.BinOp | ast.AugAssign):
        for other in _OPERATORS.get(type(node.op), ()):
            yield _new("operator", _attribute_setter(node, "op"), other())
        if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.Mult):
            yield _new("exchanged operands", put, ast.BinOp(node.right, node.op, node.left))
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield _new("operator", _attribute_setter(node, "op"), other)
        yield from (_new("dropped operand", put, value) for value in node.values)
    elif isinstance(node, ast.UnaryOp):
        yield _new("dropped operator", put, node.operand)
    elif isinstance(node, ast.Constant):
        yield from (_new("constant", put, ast.Constant(value)) for value in _constants(node.value))
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        others = [name for name in names if name != node.id] if node.id in names else []
        yield from (_new("variable", put, ast.Name(name, ast.Load())) for name in others)
    elif isinstance(node, ast.Call):
        for place in range(len(node.args) - 1):
            yield Mutation("exchanged arguments", lambda p=place: _exchange(node.args, p, p + 1))
        field = "attr" if isinstance(node.func, ast.Attribute) else "id"
        other = _CONFUSED.get(getattr(node.func, field, ""))
        if other is not None:
            yield _new("function", _attribute_setter(node.func, field), other)
        inner = node.func.value if isinstance(node.func, ast.Attribute) else None
        if inner is None and len(node.args) == 1:
            inner = node.args[0]
        if inner is not None and not isinstance(inner, ast.Starred):
            yield _new("dropped call", put, inner)
        if isinstance(node.func, ast.Name) and node.func.id == "range":
            for place, bound in enumerate(node.args):
                yield from _off_by_one(bound, _setter(node.args, place))
    elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        if isinstance(node.slice, ast.Slice):
            for field in ("lower", "upper"):
                bound = getattr(node.slice, field)
                if bound is not None:
                    yield from _off_by_one(bound, _attribute_setter(node.slice, field))
                    yield _new("dropped bound", _attribute_setter(node.slice, field), None)
    elif isinstance(node, ast.If | ast.While | ast.IfExp):
        yield _new("negated condition", _attribute_setter(node, "test"), _not(node.test))
    elif isinstance(node, ast.Break):
        yield _new("jump", put, ast.Continue())
    elif isinstance(node, ast.Continue):
        yield _new("jump", put, ast.Break())
    elif isinstance(node, ast.Return) and node.value is not None:
        yield from (
            _new("returned value", _attribute_setter(node, "value"), v)
            for v in _returned(node.value)
        )


def _new(kind: str, put: _Put, node: Any) -> Mutation:
    return Mutation(kind, lambda: put(node))


def _not(test: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), test)


def _off_by_one(bound: ast.expr, put: _Put) -> Iterator[Mutation]:
    for operator in (ast.Add(), ast.Sub()):
        if not isinstance(bound, ast.Constant):  # constants are changed themselves
            yield _new("off by one", put, ast.BinOp(bound, operator, ast.Constant(1)))


def _constants(value: Any) -> tuple[Any, ...]:
    """Constants that are taken for another one."""
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        return (value + 1, *((value - 1,) if value > 0 else ()))
    if isinstance(value, float):
        return (value + 1.0, value / 2)
    if isinstance(value, str):
        return (value[1:], value + " ") if value else (" ",)
    return ()


def _returned(value: ast.expr) -> tuple[ast.expr, ...]:
    """What is returned for a value by mistake."""
    if isinstance(value, ast.Compare | ast.BoolOp):
        return (_not(value),)
    if isinstance(value, ast.Constant):
        return ()
    one = ast.Constant(1)
    return (ast.Constant(None), ast.BinOp(value, ast.Add(), one), ast.BinOp(value, ast.Sub(), one))


def _variables(function: ast.AST) -> set[str]:
    """Names of the arguments and variables of a function, and of those within it."""
    names = set()
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def _parses(text: str) -> bool:
    try:
        with warnings.catch_warnings(action="ignore", category=SyntaxWarning):
            compile(text, "<mutant>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
