"""Where rows come from: files in every form, and data sets of the hub, which are streamed."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from codepmp_jax.cli.errors import StoreError, UserError
from codepmp_jax.config import RmDataConfig
from codepmp_jax.records.row_files import ALL_ENDINGS
from codepmp_jax.rm_data.entries import find_source
from codepmp_jax.rm_data.inputs import open_inputs
from tests.rm_data.rows import RECLOR

ROWS = [RECLOR | {"id_string": f"train_{i}"} for i in range(5)]


def opened(**settings):
    config = RmDataConfig(**settings)
    return open_inputs(config, find_source(config.source))


def read(path, **settings):
    (one,) = opened(source="reclor", input=str(path), **settings)
    return [(where, row.number, row.value) for where, row in one.rows()]


def written(folder, ending):
    path = folder / f"rows{ending}"
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    text = json.dumps(ROWS, indent=1) if ".json" in ending and ".jsonl" not in ending else lines
    if ending == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif ending.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("ending", ALL_ENDINGS)
def test_every_form_of_file_gives_the_rows(tmp_path, ending):
    path = written(tmp_path, ending)
    assert read(path) == [(path.name, i, row) for i, row in enumerate(ROWS, start=1)]


def test_a_folder_is_read_in_the_order_of_names_and_names_the_rest(tmp_path):
    written(tmp_path, ".parquet")
    written(tmp_path, ".json")
    (tmp_path / "README.md").write_text("")
    assert [where for where, *_ in read(tmp_path)] == ["rows.json"] * 5 + ["rows.parquet"] * 5
    (one,) = opened(source="reclor", input=str(tmp_path))
    facts = one.facts()
    assert facts["files_not_read"] == ["README.md"]
    assert facts["files"]["rows.json"] == (tmp_path / "rows.json").stat().st_size


@pytest.fixture
def hub(monkeypatch):
    """Stands for the hub: what it is asked for, and rows; an error where it has none."""
    import datasets

    asked = []

    def load_dataset(name, configuration=None, *, split, streaming):
        asked.append((name, configuration, split, streaming))
        if split == "no":
            raise ValueError("Unknown split")

        def rows():
            yield from ROWS
            if split == "broken":
                raise ConnectionError("reset by peer")

        return datasets.IterableDataset.from_generator(rows)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def test_by_default_the_source_s_own_data_set_is_streamed(hub):
    (one,) = opened(source="reclor")
    assert [row.number for _, row in one.rows()] == [1, 2, 3, 4, 5]
    assert {where for where, _ in one.rows()} == {"tasksource/reclor, split train"}
    assert hub[0] == ("tasksource/reclor", None, "train", True)
    (one,) = opened(source="logiqa2")
    next(one.rows())
    assert hub[-1] == ("baber/logiqa2", "logiqa2", "train", True)
    (one,) = opened(source="rewardbench")
    assert one.split == "filtered"


def test_another_data_set_has_no_settings_of_the_source_s_own(hub):
    (one,) = opened(source="logiqa2", input="someone/copy")
    assert (one.configuration, one.split) == (None, "train")
    (one,) = opened(source="logiqa2", input="someone/copy", configuration="en", split="dev")
    assert (one.configuration, one.split) == ("en", "dev")


def test_held_out_pairs_come_from_another_split_or_place(tmp_path, hub):
    heldout, train = opened(source="reclor", heldout_split="validation")
    assert (heldout.place, heldout.split, heldout.is_heldout) == (
        "tasksource/reclor",
        "validation",
        True,
    )
    assert (train.split, train.is_heldout) == ("train", False)
    path = written(tmp_path, ".json")
    heldout, train = opened(source="reclor", heldout_input=str(path))
    assert (heldout.files, train.place) == ((path,), "tasksource/reclor")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "pairs"}, r"input = None: must be given: the source pairs has no data set"),
        ({"source": "reclor", "input": "/no/such/folder/at/all"}, r"input = '/no/.*no such file"),
        ({"source": "reclor", "input": "train.json"}, r"input = 'train.json': no such file"),
        ({"source": "reclor", "input": "data/train.json"}, r"input = 'data/train.json': no such"),
        (
            {"source": "reclor", "heldout_input": "/no/such/folder/x"},
            r"heldout_input = '/no/.*no such file or folder",
        ),
        (
            {"source": "reclor", "heldout_input": "a/b"},
            r"heldout_split = None: must be given for the data set a/b",
        ),
        (
            {"source": "reclor", "heldout_split": "train"},
            r"heldout_split = 'train': must not be what the train pairs come from",
        ),
    ],
)
def test_inputs_that_are_none(settings, message):
    with pytest.raises(UserError, match=message + r".*Remedy: "):
        opened(**settings)


@pytest.mark.parametrize("name", ["split", "heldout_split"])
def test_splits_are_of_data_sets(tmp_path, name):
    path = str(written(tmp_path, ".jsonl"))
    with pytest.raises(UserError, match=rf"{name} = 'dev': is a split of a data set on the hub"):
        opened(source="reclor", input=path, **{name: "dev"})


def test_an_empty_folder_of_held_out_rows_is_named_by_its_setting(tmp_path):
    with pytest.raises(UserError, match=r"^heldout_input = .*no file that ends in"):
        opened(source="reclor", heldout_input=str(tmp_path))


def test_a_hub_that_refuses_or_breaks_off(hub):
    (one,) = opened(source="reclor", split="no")
    with pytest.raises(UserError, match=r"input = 'tasksource/reclor': .*split no .*Unknown split"):
        next(one.rows())
    (one,) = opened(source="reclor", split="broken")
    with pytest.raises(StoreError, match=r"cannot be read after row 5 of split broken"):
        list(one.rows())


def test_without_the_package_files_are_the_remedy(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (one,) = opened(source="reclor")
    with pytest.raises(UserError, match=r"package datasets, which is not installed"):
        next(one.rows())
