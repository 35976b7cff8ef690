"""Outputs held by one command at a time, and errors of the disk as one line."""

import errno
import threading

import pytest

from codepmp_jax.cli.errors import StoreError, UserError, disk_error
from codepmp_jax.files import output, storage


@pytest.mark.parametrize("hold", [output.folder, output.file, output.beside])
def test_others_wait_and_nothing_is_left(hold, tmp_path):
    order = []

    def second():
        with hold(tmp_path / "new" / "out"):
            order.append("second")

    thread = threading.Thread(target=second)
    with hold(tmp_path / "new" / "out") as path:
        assert path == tmp_path / "new" / "out"
        thread.start()
        thread.join(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert [file for file in tmp_path.rglob("*") if not file.is_dir()] == []


def test_many_take_turns(tmp_path):
    """No two hold it, although each removes the lock's file at its end."""
    counts = [0, 0]

    def work():
        for _ in range(5):
            with output.file(tmp_path / "out"):
                counts[0] += 1
                assert counts[0] == 1
                counts[1] += 1
                counts[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [0, 30]


@pytest.mark.parametrize("hold", [output.folder, output.file, output.beside])
@pytest.mark.parametrize("path", ["", "gs://bucket/out"])
def test_what_is_no_path_on_a_disk_is_refused(hold, path):
    with pytest.raises(UserError, match=r"^output = .*Remedy: "), hold(path):
        pass


def test_errors_of_a_disk_are_named_and_others_stay():
    full = disk_error(OSError(errno.ENOSPC, "No space left on device"), "runs/out")
    assert str(full).startswith("runs/out: cannot be written (No space left on device). Remedy: ")
    own = disk_error(OSError(errno.EACCES, "Permission denied", "runs/out/a"), "runs/out")
    assert str(own).startswith("runs/out: cannot be written (Permission denied: runs/out/a). ")
    read = disk_error(OSError(errno.EACCES, "Permission denied", "/in/a"), "runs/out")
    assert str(read).startswith("/in/a: cannot be read or written (Permission denied). ")
    assert disk_error(ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "runs/out") is None
    with pytest.raises(StoreError), output.errors_of("out"):
        raise OSError(errno.EROFS, "Read-only file system")
    for error in (BrokenPipeError(errno.EPIPE, "x"), OSError("no errno"), KeyError("x")):
        with pytest.raises(type(error)), output.errors_of("out"):
            raise error


def test_a_file_that_cannot_take_its_place_goes_and_the_old_one_stays(tmp_path):
    path = tmp_path / "out"
    path.write_text("old")

    def write():
        with storage.replaced(path) as partial:
            partial.write_text("new")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="left") as error:
        write()
    assert error.value.filename == str(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
