"""Runs a program and its tests in a child process, and trusts nothing that the program says.

This is no security sandbox: it holds off what a language model writes by mistake or to please its judge, not
somebody who means harm. Run code from strangers in a container or a virtual machine. What it does:

- The child has a session, an empty folder, no input and no output, an environment of its own, and limits on
  time, memory, file size and open files. An audit hook (PEP 578) refuses processes, signals, connections, foreign
  memory, and changes to files outside the folder. Nothing depends on the user: there is no limit on the number of
  processes, which the system counts by user, threads included, and which root does not have.
- At the deadline, and after every program, the child, its group and whatever descends from them are killed,
  also what has left the session: the process that calls `run` adopts orphans (`adopt_orphans`).
- A program is correct where the child sends the token of this run, which it does once all tests have run. The
  tests are compiled with assertions whatever Python's flags say, run in a namespace of their own with the built-in
  functions as they were, and see only what cannot answer for itself (`results`). Builtins and modules of the tests
  that were changed are a verdict too.
- The program is the module `candidate`: not `__main__`, so that what stands under `if __name__ == "__main__"` is
  not run, as in the authors' harness. A program of contests is run for each of its cases (`cases`), in limits of time of
  each.

Where it ends: program and tests share a process. A program that walks the interpreter's frames up to its tests can
read the expected values there, or change the outcome. It does not find the token, which is in the frame of
another thread.
"""

from __future__ import annotations

import _posixsubprocess  # noqa: F401  # pyright: ignore[reportMissingImports]
import _thread
import ast
import builtins
import contextlib
import ctypes
import importlib
import os
import resource
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
import types
from collections.abc import Callable
from typing import Any, NamedTuple

from codepmp_jax.tasks.judges.cases import run_method, run_program
from codepmp_jax.tasks.judges.judge import CORRECT, WRONG
from codepmp_jax.tasks.judges.results import NotPlainError, checked

TIMED_OUT = "timed out"
NOT_PARSABLE = "not parsable"
EXITED = "exited before the tests ended"
TAMPERED = "tampered with the tests"
NOT_PLAIN = "result of no plain type"

_MODULE = "candidate"
# What remains of the environment: threads that libraries of linear algebra start.
_KEPT = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_MAX_FILE_BYTES = 16 << 20
_MAX_OPEN_FILES = 64
_MAX_REPORT_BYTES = 200
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36

# Refused to the program: processes, signals, connections, foreign memory, tracing, limits. Of `os.` all but what
# follows, and of `socket.` all but pairs within the process, which asyncio needs.
_REFUSED = (
    "os.",
    "subprocess.",
    "pty.",
    "socket.",
    "signal.",
    "fcntl.",
    "resource.",
    "ctypes.",
    "gc.",
    "mmap.",
    "sqlite3.",
    "_winapi.",
    "winreg.",
    "webbrowser.",
    "sys._current",
    "sys.settrace",
    "sys.setprofile",
    "sys.monitoring",
    "sys.remote",
)
_ALLOWED = frozenset(
    {"os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.putenv", "os.unsetenv"}
    | {"os.listxattr", "os.getxattr"}
)
# Changes that are allowed within the folder: event -> its paths, each with the directory that it is relative to, as
# places among the event's arguments.
_INSIDE: dict[str, tuple[tuple[int, int | None], ...]] = {
    "os.chdir": ((0, None),),
    "os.chmod": ((0, 2),),
    "os.mkdir": ((0, 2),),
    "os.remove": ((0, 1),),
    "os.rename": ((0, 2), (1, 3)),
    "os.rmdir": ((0, 1),),
    "os.truncate": ((0, None),),
    "os.utime": ((0, 3),),
}
# What Python does not audit.
_UNAUDITED = {
    "os": ("pidfd_open", "memfd_create"),
    "posix": ("pidfd_open", "memfd_create"),
    "signal": ("pidfd_send_signal",),
    "_signal": ("pidfd_send_signal",),
    "_posixsubprocess": ("fork_exec",),
}


class Program(NamedTuple):
    """A program and its tests."""

    setup: str
    """Code before both of them: imports, helpers."""
    tests: str
    functions: tuple[str, ...]
    """Names of the program's that the tests use, with results that are checked."""
    classes: tuple[str, ...]
    """Names of the program's classes that the tests use."""
    code: str = ""
    """The program that is judged."""
    head: str = ""
    """How the program begins, where a response may be its rest."""
    test_setup: str = ""
    """Code between the program and the tests, for both of them: values that need the program's classes."""
    test_imports: str = ""
    """Imports that only the tests need."""
    is_plain: bool = True
    """Whether tests see plain values only, and modules of theirs may not change: else values are seen as they are, and
    only the built-in functions may not change, for tests that look into figures and patch modules."""
    cases: tuple[tuple[str, str], ...] = ()
    """Inputs with their outputs, instead of tests."""
    method: str = ""
    """Of the one class of `functions`, or else the one function: what the cases are arguments and results of. Empty
    where they are standard input and output."""

    @property
    def num_limits(self) -> int:
        """How many times the limit of time it may take: each case may take it."""
        return max(1, len(self.cases))


def adopt_orphans() -> None:
    """Lets `run` find, and kill, processes that a program started and left (Linux)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def run(program: Program, timeout: float) -> str:
    """CORRECT where the program's tests pass within `timeout` seconds, or each of its cases does, else what happened.

    For a process that has one thread and no other children.
    """
    folder = tempfile.mkdtemp(prefix="candidate-")
    token = os.urandom(16).hex().encode()
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _run_in_child(program, os.path.realpath(folder), token, sender, timeout)
        finally:
            os._exit(1)
    os.close(sender)
    try:
        report = _read(receiver, time.monotonic() + timeout * program.num_limits)
    finally:
        os.close(receiver)
        kill_descendants(child)
        shutil.rmtree(folder, ignore_errors=True)
    if report is None:
        return TIMED_OUT
    if report == token:
        return CORRECT
    return _verdict(report)


def _read(receiver: int, deadline: float) -> bytes | None:
    """What the child sends until it ends, and no more than a report may hold; None past the deadline."""
    report = b""
    while len(report) <= _MAX_REPORT_BYTES:
        ready, _, _ = select.select([receiver], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        data = os.read(receiver, _MAX_REPORT_BYTES)
        if not data:
            break
        report += data
    return report


def _verdict(report: bytes) -> str:
    """A report as a verdict: one of those there are, since the program may have written it."""
    text = report.decode("ascii", "replace")
    raised = text.removeprefix("raised ")
    is_known = raised != text and isinstance(getattr(builtins, raised, None), type)
    known = (WRONG, NOT_PARSABLE, TAMPERED, NOT_PLAIN, TIMED_OUT)
    return text if is_known or text in known else EXITED


def kill_descendants(child: int) -> None:
    """Kills a child, its group, and all that descends from this process; returns when they are gone."""
    for kill in (os.killpg, os.kill):
        try:
            kill(child, signal.SIGKILL)
        except ProcessLookupError:
            continue
    while True:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if ended == 0:
            for orphan in _children():
                os.kill(orphan, signal.SIGKILL)
            time.sleep(0.0005)


def _children() -> list[int]:
    path = f"/proc/self/task/{os.getpid()}/children"
    if not os.path.exists(path):
        return []
    with open(path, encoding="ascii") as file:
        return [int(pid) for pid in file.read().split()]


# --- in the child ---------------------------------------------------------------------------------


def _run_in_child(program: Program, folder: str, token: bytes, sender: int, timeout: float) -> None:
    """Runs the program in a thread, whose frames do not lead to this one's, and sends the report."""
    send = os.write
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    os.chdir(folder)
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    os.environ.clear()
    os.environ.update(kept | {"TMPDIR": folder, "HOME": folder})
    tempfile.tempdir = folder
    null = os.open(os.devnull, os.O_RDWR)
    for target in (0, 1, 2):
        os.dup2(null, target)
    os.dup2(sender, 3)
    os.closerange(4, max(_MAX_OPEN_FILES, sender + 1, null + 1))
    watched = {name: dict(vars(sys.modules[name])) for name in _tests_modules(program)}
    outcome: list[str] = []
    begins = [time.monotonic()]
    ended = _thread.allocate_lock()
    ended.acquire()
    _thread.start_new_thread(_run_in_thread, (program, folder, timeout, outcome, begins, ended))
    while not ended.acquire(timeout=max(0.0, begins[-1] + timeout - time.monotonic())):
        if time.monotonic() - begins[-1] >= timeout:
            send(3, TIMED_OUT.encode())
            return
    for name, before in watched.items():
        after = vars(sys.modules[name])
        if not all(after.get(key) is value for key, value in before.items()):
            outcome = [TAMPERED]
    send(3, token if outcome == [CORRECT] else "".join(outcome).encode())


def _tests_modules(program: Program) -> list[str]:
    """Names of the modules that the tests use, imported."""
    names = {"builtins"}
    code = f"{program.setup}\n{_tests(program)}" if program.is_plain else ""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    for name in names:
        with contextlib.suppress(ImportError):  # the tests will say so
            importlib.import_module(name)
    return sorted(names & sys.modules.keys() - {"sys"})


def _run_in_thread(
    program: Program,
    folder: str,
    timeout: float,
    outcome: list[str],
    begins: list[float],
    ended: _thread.LockType,
) -> None:
    now = time.monotonic
    try:
        _limit(timeout * program.num_limits)
        _refuse(folder)
        outcome.append(_test(program, lambda: begins.append(now())))
    except BaseException as error:
        outcome.append(_describe(error))
    finally:
        ended.release()


def _tests(program: Program) -> str:
    return f"{program.test_imports}\n{program.test_setup}\n{program.tests}"


def _test(program: Program, begin: Callable[[], None]) -> str:
    """CORRECT where the tests pass. Raises what program or tests raise. `begin` is called before each case."""
    pristine = dict(vars(builtins))
    # Dataclasses, type hints and pickle look for the module of a class.
    module = sys.modules[_MODULE] = types.ModuleType(_MODULE)
    own = vars(module)
    try:
        code = _compile(program.code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return NOT_PARSABLE
    if program.cases and not program.method:
        passes = run_program(_compile(program.setup), code, program.cases, begin)
        return CORRECT if passes else WRONG
    exec(_compile(program.setup), own)
    exec(code, own)
    exec(_compile(program.test_setup), own)
    theirs: dict[str, Any] = {"__name__": "tests", "__builtins__": pristine}
    exec(_compile(program.setup), theirs)
    theirs |= {name: own[name] for name in program.classes if name in own}
    seen = checked if program.is_plain else lambda value: value
    theirs |= {name: seen(own[name]) for name in program.functions if name in own}
    if program.method:
        passes = run_method(_method(program, theirs), program.cases, begin)
        return CORRECT if passes else WRONG
    exec(_compile(_tests(program)), theirs)
    return CORRECT


def _method(program: Program, theirs: dict[str, Any]) -> Any:
    """What the cases are judged by. Raises NameError where the program defines none."""
    (name,) = program.functions
    if name not in theirs:
        raise NameError(name)
    return theirs[name] if name == program.method else getattr(theirs[name](), program.method)


def _compile(code: str) -> Any:
    return compile(code, "<candidate>", "exec", dont_inherit=True, optimize=0)


def _describe(error: BaseException) -> str:
    if isinstance(error, NotPlainError):
        return NOT_PLAIN
    if isinstance(error, AssertionError):
        return WRONG
    if not isinstance(error, Exception):
        return EXITED
    name = type(error).__name__
    return f"raised {name if getattr(builtins, name, None) is type(error) else 'Exception'}"


def _limit(timeout: float) -> None:
    """Limits of this process, which has all the threads that it needs."""
    seconds = int(timeout) + 2
    for name, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, _MAX_FILE_BYTES),
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(name, (most, most))


def _refuse(folder: str) -> None:
    """Makes the refused events raise PermissionError, for good, and takes away what is not audited."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("refused to a candidate")

    for module, names in _UNAUDITED.items():
        for name in names:
            if hasattr(sys.modules.get(module), name):
                setattr(sys.modules[module], name, refuse)
    # doctest and unittest restore the trace function, which is None: nothing to refuse.
    sys.settrace = lambda function: refuse() if function is not None else None
    changes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    # Bound before the program could replace them.
    inside, null, unix = folder + os.sep, os.devnull, socket.AF_UNIX
    realpath, join, isdir, readlink = os.path.realpath, os.path.join, os.path.isdir, os.readlink
    fsdecode, isinstance_ = os.fsdecode, isinstance

    def real(name: Any, directory: Any = None) -> str:
        """The real path of a name, perhaps relative to an open directory, or of an open file."""
        if isinstance_(name, int):
            return readlink(f"/proc/self/fd/{name}")
        is_open = isinstance_(directory, int) and directory >= 0
        return realpath(join(real(directory), fsdecode(name)) if is_open else fsdecode(name))

    def is_inside(path: str) -> bool:
        return f"{path}/".startswith(inside)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            name, _, flags = arguments
            path = real(name)
            if isinstance_(name, int) or (flags or 0) & changes:
                is_refused = path != null and not is_inside(path)
            else:  # a directory outside could be the one that changes are relative to
                is_refused = path.startswith("/proc/") or (isdir(path) and not is_inside(path))
            if is_refused:
                refuse()
        elif event in _INSIDE:
            for place, at in _INSIDE[event]:
                if not is_inside(real(arguments[place], None if at is None else arguments[at])):
                    refuse()
        elif event == "socket.__new__" and arguments[1] == unix:
            return
        elif event.startswith(_REFUSED) and event not in _ALLOWED:
            refuse()

    sys.addaudithook(hook)
