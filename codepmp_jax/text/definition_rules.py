"""Which node types of a tree-sitter grammar are functions and classes, by language."""

from __future__ import annotations

from typing import NamedTuple

from codepmp_jax.text import languages


class Rules(NamedTuple):
    """The node types of a grammar that matter."""

    functions: tuple[str, ...]
    """Functions and methods."""
    classes: tuple[str, ...] = ()
    """What qualifies the functions inside, and is a definition of its own."""
    values: tuple[str, ...] = ()
    """Functions without a name of their own: definitions where they are bound to one."""
    holders: tuple[str, ...] = ()
    """Values that qualify the functions inside where they are bound to a name."""
    wrappers: tuple[str, ...] = ()
    """Statements around a definition that belong to its text."""
    attributes: tuple[str, ...] = ()
    """Nodes before a definition that belong to its text."""
    needs_body: bool = False
    """Whether the node types of functions stand for declarations too."""


_SCRIPT = Rules(
    functions=(
        "function_declaration",
        "generator_function_declaration",
        "method_definition",
    ),
    classes=("class_declaration", "abstract_class_declaration"),
    values=("arrow_function", "function_expression", "generator_function"),
    holders=("object", "class"),
    wrappers=(
        "export_statement",
        "expression_statement",
        "variable_declaration",
        "lexical_declaration",
        "variable_declarator",
        "assignment_expression",
        "augmented_assignment_expression",
        "pair",
        "field_definition",
        "public_field_definition",
    ),
    attributes=("decorator",),
)
C_CLASSES = ("class_specifier", "struct_specifier", "union_specifier")
_C = Rules(("function_definition",), needs_body=True)
_CPP = Rules(
    functions=("function_definition", "inline_method_definition"),
    classes=C_CLASSES,
    values=("lambda_expression",),
    wrappers=("template_declaration", "declaration", "init_declarator"),
    needs_body=True,
)
RULES = {
    "c": _C,
    "c++": _CPP,
    "c-sharp": Rules(
        functions=(
            "method_declaration",
            "constructor_declaration",
            "destructor_declaration",
            "operator_declaration",
            "conversion_operator_declaration",
            "property_declaration",
            "indexer_declaration",
            "event_declaration",
            "local_function_statement",
        ),
        classes=(
            "class_declaration",
            "struct_declaration",
            "record_declaration",
            "interface_declaration",
        ),
        wrappers=("global_statement",),
        needs_body=True,
    ),
    "cuda": _CPP,
    "fortran": Rules(("function", "subroutine")),
    "go": Rules(
        functions=("function_declaration", "method_declaration"),
        values=("func_literal",),
        wrappers=("var_declaration", "var_spec"),
        needs_body=True,
    ),
    "java": Rules(
        functions=(
            "method_declaration",
            "constructor_declaration",
            "compact_constructor_declaration",
        ),
        classes=(
            "class_declaration",
            "enum_declaration",
            "record_declaration",
            "interface_declaration",
            "annotation_type_declaration",
        ),
        values=("lambda_expression",),
        wrappers=("field_declaration", "variable_declarator"),
        needs_body=True,
    ),
    "javascript": _SCRIPT,
    "julia": Rules(
        functions=("function_definition", "macro_definition", "assignment"),
        wrappers=("macrocall_expression", "macro_argument_list"),
    ),
    # Cells may hold lines for the shell; tree-sitter finds the functions beside them.
    languages.NOTEBOOK: Rules(
        ("function_definition",), ("class_definition",), wrappers=("decorated_definition",)
    ),
    "kotlin": Rules(
        functions=("function_declaration", "secondary_constructor", "property_declaration"),
        classes=("class_declaration", "object_declaration"),
        needs_body=True,
    ),
    "lua": Rules(
        functions=("function_declaration",),
        values=("function_definition",),
        holders=("table_constructor",),
        wrappers=("variable_declaration", "assignment_statement", "field"),
    ),
    "objective-c": Rules(("function_definition", "method_definition"), needs_body=True),
    "perl": Rules(
        functions=("subroutine_declaration_statement", "method_declaration_statement"),
        values=("anonymous_subroutine_expression",),
        wrappers=("expression_statement", "assignment_expression"),
    ),
    "php": Rules(
        functions=("function_definition", "method_declaration"),
        classes=(
            "class_declaration",
            "trait_declaration",
            "interface_declaration",
            "enum_declaration",
        ),
        values=("anonymous_function", "arrow_function"),
        wrappers=("expression_statement", "assignment_expression"),
        needs_body=True,
    ),
    "powershell": Rules(("function_statement",)),
    "ruby": Rules(
        functions=("method", "singleton_method"),
        classes=("class", "module"),
        values=("lambda",),
        wrappers=("call", "argument_list", "assignment"),
    ),
    "rust": Rules(
        functions=("function_item",),
        classes=("impl_item", "trait_item"),
        attributes=("attribute_item",),
    ),
    "scala": Rules(
        functions=("function_definition",),
        classes=(
            "class_definition",
            "object_definition",
            "trait_definition",
            "enum_definition",
        ),
        values=("lambda_expression",),
        wrappers=("val_definition",),
    ),
    "shell": Rules(("function_definition",)),
    "solidity": Rules(("function_definition",), ("contract_declaration",), needs_body=True),
    "swift": Rules(
        functions=(
            "function_declaration",
            "init_declaration",
            "deinit_declaration",
            "subscript_declaration",
            "property_declaration",
        ),
        classes=("class_declaration", "protocol_declaration"),
        needs_body=True,
    ),
    "tsx": _SCRIPT,
    "typescript": _SCRIPT,
}
# Children of a function that are its body, where the grammar gives it no field.
