"""An output that grows line by line and survives a kill."""

import pathlib
import shutil
import threading

import pytest

from codepmp_jax.cli.errors import StoreError, UserError
from codepmp_jax.files.journal import open_journal


def test_the_output_appears_when_it_is_whole(tmp_path):
    output = tmp_path / "new" / "out.jsonl"
    with open_journal(str(output), {"a": 1}) as journal:
        assert journal.num_lines == 0
        journal.append(["1", "é"])
        journal.append([])
        journal.append(["3"])
        assert journal.num_lines == 3
        assert [line.rstrip("\n") for line in journal.lines()] == ["1", "é", "3"]
        assert not output.exists()
        journal.finish()
    assert output.read_text(encoding="utf-8") == "1\né\n3\n"
    assert [path.name for path in output.parent.iterdir()] == ["out.jsonl"]


@pytest.mark.parametrize("torn", ["", "4", '{"half": "li', "\ud800"])
def test_whole_lines_are_kept_and_a_torn_one_is_not(tmp_path, torn):
    output = tmp_path / "out.jsonl"
    with open_journal(str(output), {}) as journal:
        journal.append(["1", "2"])
    lines = tmp_path / "out.jsonl.partial" / "lines.jsonl"
    with open(lines, "ab") as file:
        file.write(torn.encode("utf-8", "surrogatepass"))
    with open_journal(str(output), {}) as journal:
        assert journal.num_lines == 2
        journal.append(["3"])
        journal.finish()
    assert output.read_text() == "1\n2\n3\n"


def test_other_settings_are_refused_once_there_are_lines(tmp_path):
    output = str(tmp_path / "out.jsonl")
    with open_journal(output, {"seed": 0}):
        pass
    with open_journal(output, {"seed": 1}) as journal:
        journal.append(["1"])
    with (
        pytest.raises(UserError, match=r"seed was 1, is 2\. Remedy: give another output"),
        open_journal(output, {"seed": 2}),
    ):
        pass


def test_an_output_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    output = tmp_path / "file" / "out.jsonl"
    with (
        pytest.raises(StoreError, match=rf"^{output}: cannot be written .*Remedy: "),
        open_journal(str(output), {}),
    ):
        pass


def test_lines_that_cannot_be_written_are_told(tmp_path):
    with open_journal(str(tmp_path / "out.jsonl"), {}) as journal:
        shutil.rmtree(tmp_path / "out.jsonl.partial")
        with pytest.raises(StoreError, match=r"lines\.jsonl: cannot be written .*Remedy: "):
            journal.append(["1"])


def test_a_second_one_of_the_same_output_begins_when_the_first_has_ended(tmp_path):
    output = str(tmp_path / "new" / "out.jsonl")

    def second():
        with open_journal(output, {"seed": 1}) as journal:
            assert journal.num_lines == 0
            journal.append(["2"])
            journal.finish()

    thread = threading.Thread(target=second)
    with open_journal(output, {"seed": 0}) as journal:
        journal.append(["1"])
        thread.start()
        thread.join(0.3)
        journal.finish()
        assert pathlib.Path(output).read_text() == "1\n"
    thread.join()
    assert pathlib.Path(output).read_text() == "2\n"
