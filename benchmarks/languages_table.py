"""Languages: how often the language of a file whose type several languages share is found.

    python benchmarks/languages_table.py FOLDER

FOLDER holds the files of `SOURCES`, a folder a package: Debian's (`apt-get download NAME`, `dpkg -x NAME*.deb
FOLDER/NAME`) and those of the npm registry (`npm pack NAME`, unpacked). A file's language is that of its package.
Compared are the rules of `codepmp_jax.text.shared_types`, the file type alone, and enry and Magika where they are
installed. Writes `benchmarks/results/languages_table.md`.
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import random
import time
from collections.abc import Callable
from typing import Any

from page import Page

from codepmp_jax.text.languages import language_name, language_of
from codepmp_jax.text.shared_types import language_of_text

# (package, file type, language of all such files in it)
SOURCES = (
    ("linux-libc-dev", "h", "c"),
    ("libssl-dev", "h", "c"),
    ("libxml2-dev", "h", "c"),
    ("libcurl4-openssl-dev", "h", "c"),
    ("libfmt-dev", "h", "c++"),
    ("libeigen3-dev", "h", "c++"),
    ("libgtkmm-3.0-dev", "h", "c++"),
    ("qtbase5-dev", "h", "c++"),
    ("libopencv-core-dev", "h", "c++"),
    ("libgnustep-base-dev", "h", "objective-c"),
    ("libgnustep-gui-dev", "h", "objective-c"),
    ("octave-common", "m", "matlab"),
    ("swi-prolog-core", "pl", "prolog"),
    ("swi-prolog-core-packages", "pl", "prolog"),
    ("libimage-exiftool-perl", "pl", "perl"),
    ("perl-modules-5.36", "pl", "perl"),
    ("bioperl", "pl", "perl"),
    ("perl-modules-5.36", "pm", "perl"),
    ("libbio-perl-perl", "pm", "perl"),
    ("debhelper", "pm", "perl"),
    ("libcoq-stdlib", "v", "coq"),
    ("yosys", "v", "verilog"),
    ("gforth-common", "fs", "forth"),
    ("supercollider-common", "sc", "supercollider"),
    ("puppet-module-puppetlabs-stdlib", "pp", "puppet"),
    ("puppet-module-puppetlabs-apache", "pp", "puppet"),
    ("fpc-source-3.2.2", "pp", "pascal"),
    ("gdl-astrolib", "pro", "idl"),
    ("librust-regex-automata-dev", "rs", "rust"),
    ("librust-tokio-dev", "rs", "rust"),
    ("librust-serde-dev", "rs", "rust"),
    ("ocaml", "ml", "ocaml"),
    ("ocaml-nox", "ml", "ocaml"),
    ("texlive-latex-base", "cls", "tex"),
    ("texlive-latex-recommended", "cls", "tex"),
    ("typeorm", "ts", "typescript"),
    ("rxjs", "ts", "typescript"),
    ("zod", "ts", "typescript"),
)
# Packages that were not looked at when the rules were written.
UNSEEN = (
    ("libglib2.0-dev", "h", "c"),
    ("libsdl2-dev", "h", "c"),
    ("librsvg2-dev", "h", "c"),
    ("libabsl-dev", "h", "c++"),
    ("libprotobuf-dev", "h", "c++"),
    ("libjsoncpp-dev", "h", "c++"),
    ("libleveldb-dev", "h", "c++"),
    ("libpoppler-cpp-dev", "h", "c++"),
    ("octave-image", "m", "matlab"),
    ("octave-io", "m", "matlab"),
    ("octave-signal", "m", "matlab"),
    ("libcoq-mathcomp-ssreflect", "v", "coq"),
    ("lazarus-src-2.2", "pp", "pascal"),
    ("puppet-module-puppetlabs-mysql", "pp", "puppet"),
    ("puppet-module-puppetlabs-postgresql", "pp", "puppet"),
    ("sc3-plugins-language", "sc", "supercollider"),
    ("castle-game-engine-src", "fs", "glsl"),
    ("librust-syn-dev", "rs", "rust"),
    ("librust-rand-dev", "rs", "rust"),
    ("texlive-publishers", "cls", "tex"),
    ("date-fns", "ts", "typescript"),
)
# Names that the libraries give to what is one language here.
SAME = {
    "rocq-prover": "coq",
    "systemverilog": "verilog",
    "objectivec": "objective-c",
    "gcode": "",
    "cpp": "c++",
    "latex": "tex",
}


def read(
    folder: pathlib.Path, sources: tuple[tuple[str, str, str], ...], each: int
) -> list[tuple[str, str, str]]:
    """(path, text, language) of `each` files of a source at most."""
    draw = random.Random(0)
    found = []
    for package, file_type, language in sources:
        paths = sorted(
            path
            for path in (folder / package).rglob(f"*.{file_type}")
            if path.is_file() and not path.is_symlink()
        )
        for path in draw.sample(paths, min(each, len(paths))):
            text = path.read_text(encoding="utf-8", errors="replace")
            found.append((str(path), text, language))
    return found


def detectors() -> dict[str, Callable[[str, str], str | None]]:
    """Name -> (path, text) -> language."""
    found: dict[str, Callable[[str, str], str | None]] = {
        "file type": lambda path, _: language_of(path),
        "rules": language_of_text,
    }
    try:
        import enry  # type: ignore[import-not-found]

        found["enry"] = lambda path, text: language_name(
            enry.get_language(pathlib.Path(path).name, text.encode()) or ""
        )
    except ImportError:
        pass
    try:
        import magika  # type: ignore[import-not-found]

        model = magika.Magika()
        found["Magika"] = lambda _, text: language_name(
            model.identify_bytes(text.encode()).output.label
        )
    except ImportError:
        pass
    return found


def measure(
    files: list[tuple[str, str, str]], found: dict[str, Callable[[str, str], str | None]]
) -> tuple[list[str], dict[str, Any]]:
    """(a table's lines, figures)."""
    right: dict[tuple[str, str], collections.Counter[str]] = collections.defaultdict(
        collections.Counter
    )
    cost = {}
    for name, detect in found.items():
        start = time.perf_counter()
        languages = [detect(path, text) or "" for path, text, _ in files]
        cost[name] = (time.perf_counter() - start) / len(files) * 1e6
        for (path, _, language), guess in zip(files, languages, strict=True):
            key = (path.rpartition(".")[2], language)
            right[key][name] += SAME.get(guess, guess) == language
            right[key]["files"] += name == next(iter(found))
    total = collections.Counter[str]()
    rows = [f"| type | language | files | {' | '.join(found)} |", "|---" * (3 + len(found)) + "|"]
    for (file_type, language), counts in sorted(right.items()):
        cells = " | ".join(str(counts[name]) for name in found)
        rows.append(f"| .{file_type} | {language} | {counts['files']} | {cells} |")
        total.update(counts)
    rows.append(f"| all | | {len(files)} | {' | '.join(str(total[name]) for name in found)} |")
    rows.append(f"| µs a file | | | {' | '.join(f'{cost[name]:.0f}' for name in found)} |")
    del total["files"]
    kilobytes = sum(len(text) for _, text, _ in files) / len(files) / 1e3
    return rows, {"files": len(files), "right": dict(total), "us": cost, "kB": round(kilobytes, 1)}


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description="Measures the detection of languages.")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--each", type=int, default=100, help="files of a package and type")
    arguments = parser.parse_args()
    found = detectors()
    seen, figures = measure(read(arguments.folder, SOURCES, arguments.each), found)
    unseen, others = measure(read(arguments.folder, UNSEEN, arguments.each), found)
    note = (
        f"Files right. They have {figures['kB']} kB on average, {others['kB']} kB in the second table, whose "
        "packages were not looked at when the rules were written (but the one of `.fs` was mended after it). Most C++ and Objective-C headers that are "
        "taken for C hold nothing but macros and comments."
    )
    page = Page("languages_table", "Languages of shared file types")
    print(page.write(note, "\n".join([*seen, "", *unseen]), seen=figures, unseen=others))


if __name__ == "__main__":
    main()
