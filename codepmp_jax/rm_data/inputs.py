"""Where rows come from: files of a disk, or a data set on the Hugging Face hub, one row at a time."""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib
import re
from collections.abc import Generator
from typing import Any

from codepmp_jax.cli.errors import StoreError, UserError, require
from codepmp_jax.cli.progress import progress
from codepmp_jax.config import RmDataConfig
from codepmp_jax.records.row_files import ALL_ENDINGS, Row, find_files, names_not_read, read_rows
from codepmp_jax.rm_data.entries import Source

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclasses.dataclass(frozen=True)
class Input:
    """The rows of the train or of the held-out side, before the split."""

    setting: str
    """The setting that names it."""
    place: str
    """The file or folder, or the name of the data set."""
    is_heldout: bool
    files: tuple[pathlib.Path, ...] = ()
    """Empty of a data set on the hub."""
    configuration: str | None = None
    split: str = ""

    def facts(self) -> dict[str, Any]:
        """What is read, as JSON: files with their sizes, or the data set."""
        if not self.files:
            return {
                "hub": self.place,
                "configuration": self.configuration,
                "split": self.split,
                "is_heldout": self.is_heldout,
            }
        return {
            "path": self.place,
            "files": {file.name: file.stat().st_size for file in self.files},
            "files_not_read": names_not_read(self.place, ALL_ENDINGS),
            "is_heldout": self.is_heldout,
        }

    def rows(self) -> Generator[tuple[str, Row]]:
        """(file or data set, row) of each row. Raises UserError where one cannot be read."""
        return self._of_files() if self.files else self._of_hub()

    def _of_files(self) -> Generator[tuple[str, Row]]:
        sizes = [file.stat().st_size for file in self.files]
        before = 0
        with progress(total=sum(sizes), desc="read", unit="B", unit_scale=True) as bar:
            for file, size in zip(self.files, sizes, strict=True):
                for row in read_rows(file):
                    bar.update(before + row.position - bar.n)
                    yield file.name, row
                before += size
            bar.update(before - bar.n)

    def _of_hub(self) -> Generator[tuple[str, Row]]:
        found = self._open_hub()
        splits = getattr(getattr(found, "info", None), "splits", None) or {}
        total = getattr(splits.get(self.split), "num_examples", None)
        where = f"{self.place}, split {self.split}"
        number = 0
        try:
            for value in progress(found, total=total, desc="read", unit="row"):
                number += 1
                yield where, Row(number, value, value, number)
        except UserError:
            raise
        except Exception as error:  # network, hub and formats raise errors of many types
            raise StoreError(
                f"{self.setting} = {self.place!r}: cannot be read after row {number} of split {self.split} "
                f"({type(error).__name__}: {error}). Remedy: run the same command again, or download the data set "
                "and give its files."
            ) from error

    def _open_hub(self) -> Any:
        require(
            importlib.util.find_spec("datasets") is not None,
            self.setting,
            self.place,
            "is read with the package datasets, which is not installed",
            "pip install datasets (extra `evaluation`), or give files",
        )
        import datasets

        try:
            return datasets.load_dataset(
                self.place, self.configuration, split=self.split, streaming=True
            )
        except Exception as error:  # network, hub and formats raise errors of many types
            named = f", configuration {self.configuration}" if self.configuration else ""
            raise UserError(
                f"{self.setting} = {self.place!r}: no such file or folder, and the Hugging Face hub does not give its "
                f"split {self.split}{named} ({type(error).__name__}: {error}). Remedy: correct the name, or download "
                "the data set and give its files."
            ) from error


def open_inputs(config: RmDataConfig, source: Source) -> list[Input]:
    """The inputs that the settings name, that of the held-out pairs first.

    Raises UserError where there is no such file, and where a setting of the hub is given for files.
    """
    place = config.input or source.hub
    require(
        place != "",
        "input",
        config.input,
        f"must be given: the source {config.source} has no data set of its own",
        "give a file, a folder or the name of a data set on the Hugging Face hub",
    )
    found = [_open("input", place, config.split, config, source, False)]
    if config.heldout_input is not None or config.heldout_split is not None:
        setting = "heldout_input" if config.heldout_input is not None else "input"
        heldout_place = config.heldout_input or place
        found.insert(0, _open(setting, heldout_place, config.heldout_split, config, source, True))
        one, other = (dataclasses.replace(each, is_heldout=False) for each in found)
        require(
            dataclasses.replace(one, setting=other.setting) != other,
            "heldout_split" if config.heldout_split else "heldout_input",
            config.heldout_split or config.heldout_input,
            "must not be what the train pairs come from",
            "give another one, or leave it out: a share of the problems is then held out",
        )
    return found


def _open(
    setting: str,
    place: str,
    split: str | None,
    config: RmDataConfig,
    source: Source,
    is_heldout: bool,
) -> Input:
    split_setting = "heldout_split" if is_heldout else "split"
    if pathlib.Path(place).exists():
        require(
            split is None,
            split_setting,
            split,
            f"is a split of a data set on the hub, and {place} is on a disk, and read whole",
            "leave it out, and give the split's files"
            + (" with --heldout-input" if is_heldout else ""),
        )
        files = _named(setting, lambda: find_files(place, ALL_ENDINGS))
        return Input(setting, place, is_heldout, tuple(files))
    require(
        _HUB_NAME.fullmatch(place) is not None and not place.endswith(ALL_ENDINGS),
        setting,
        place,
        "no such file or folder",
        f"give --{setting.replace('_', '-')}",
    )
    require(
        split is not None or not is_heldout,
        "heldout_split",
        split,
        f"must be given for the data set {place}",
        "e.g. --heldout-split validation",
    )
    is_own = place == source.hub
    configuration = config.configuration or (source.configuration if is_own else None)
    split = split or (source.split if is_own else "train")
    return Input(setting, place, is_heldout, (), configuration, split)


def _named(setting: str, find: Any) -> Any:
    """What `find` gives; an error that names `input` names `setting` instead."""
    try:
        return find()
    except UserError as error:
        raise UserError(str(error).replace("input = ", f"{setting} = ", 1)) from error
