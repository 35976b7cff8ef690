"""Programs that try to pass without passing: each is held, judged wrong, and leaves nothing behind."""

import contextlib
import os
import pathlib
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from codepmp_jax.evaluation.judges import pool
from codepmp_jax.evaluation.judges.pool import JudgePool
from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks.judges import execution

PROBLEM = Problem(
    "add",
    'def add(a, b):\n    """The sum."""\n',
    task="humaneval",
    reference={
        "entry_point": "add",
        "test": "import math\n\ndef check(candidate):\n"
        "    assert candidate(1, 2) == 3\n"
        "    assert math.isclose(abs(candidate(1, -3)), 2)\n",
    },
)
HONEST = "def add(a, b):\n    return a + b\n"
WRONG = "def add(a, b):\n    return 7\n"
# Always equal, whatever it is compared with.
AGREEABLE = (
    "    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = lambda s, o: True\n    __hash__ = None\n"
)

NEVER_ENDS = {
    "endless loop": "while True: pass",
    "endless sleep": "import time\ntime.sleep(1e6)",
    "output without end": "while True: print('x' * 100_000)",
    "errors without end": "import sys\nwhile True: sys.stderr.write('x' * 100_000)",
    "catches everything": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
}
REFUSED = {
    "fork": "import os\n[os.fork() for _ in range(6)]",
    "fork by another name": "import posix\n[posix.fork() for _ in range(6)]",
    "unaudited fork": "import _posixsubprocess\n_posixsubprocess.fork_exec()",
    "subprocess": "import subprocess\nsubprocess.Popen(['sleep', '77.5'])",
    "multiprocessing": "import multiprocessing\np = multiprocessing.get_context('spawn').Process()\np.start()",
    "shell": "import os\nos.system('sleep 77.5')",
    "kills its parent": "import os\nos.kill(os.getppid(), 9)",
    "kills its parent's group": "import os\nos.killpg(os.getpgid(os.getppid()), 9)",
    "kills its parent by a handle": "import os, signal\nsignal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9)",
    "socket": "import socket\nsocket.create_connection(('localhost', 9))",
    "writes elsewhere": "open({outside!r}, 'w')",
    "writes elsewhere by a link": "import os\nos.symlink('/', 'root')",
    "deletes": "import os\nos.remove({outside!r})",
    "deletes a tree": "import shutil\nshutil.rmtree(__import__('os').path.dirname({outside!r}))",
    "truncates": "import os\nos.truncate({outside!r}, 0)",
    "raises its limits": "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (99, 99))",
    "foreign memory": "import ctypes\nctypes.string_at(id(1), 8)",
    "reads its own memory": "open('/proc/self/mem', 'rb')",
    "looks for objects": "import gc\ngc.get_objects()",
    "looks into threads": "import sys\nsys._current_frames()",
    "traces the tests": "import sys\nsys.settrace(lambda *a: None)",
    "opens its report": "open(3, 'wb')",
    "writes elsewhere by a directory": "import os\nd = os.open('/', os.O_RDONLY)\nos.open('x', os.O_CREAT, dir_fd=d)",
    "makes a folder elsewhere": "import os\nos.mkdir({outside!r} + '-folder')",
    "moves elsewhere": "import os\nopen('x', 'w').close()\nos.rename('x', {outside!r})",
    "takes from elsewhere": "import os\nos.rename({outside!r}, 'x')",
    "goes elsewhere": "import os\nos.chdir('/')",
    "changes rights elsewhere": "import os\nos.chmod({outside!r}, 0)",
    "copies elsewhere": "import shutil\nopen('x', 'w').close()\nshutil.copy('x', {outside!r})",
    "another kind of socket": "import socket\nsocket.socket(socket.AF_INET)",
    "connects within the machine": "import socket\nsocket.socket(socket.AF_UNIX).connect('/x')",
}
ENDS_EARLY = {
    "os._exit": "import os\nos._exit(0)",
    "sys.exit": "import sys\nsys.exit(0)",
    "SystemExit": "raise SystemExit",
    "exit in the function": "def add(a, b):\n    import os\n    os._exit(0)",
    "SystemExit in the function": "def add(a, b):\n    raise SystemExit(0)",
    "interrupt": "raise KeyboardInterrupt",
    "ends its thread": "import _thread\n_thread.exit()",
    "crashes": "import signal\nsignal.raise_signal(signal.SIGSEGV)",
    "reports for itself": "import os\nfor n in range(3, 64):\n    try: os.write(n, b'correct')\n    except OSError: pass\nos._exit(0)",
    "fills the report": "import os\nwhile True: os.write(3, b'x' * 65536)",
    "echoes what it finds": "import os\nfor n in range(3, 64):\n    try:\n        os.set_blocking(n, False)\n"
    "        d = os.read(n, 999)\n    except OSError: d = b'x'\n    try: os.write(3, d)\n    except OSError: pass\nos._exit(0)",
}
OTHER = {
    "memory": ("x = bytearray(1 << 40)", "raised MemoryError"),
    "memory bit by bit": ("x = []\nwhile True: x.append(bytearray(1 << 24))", "raised MemoryError"),
    "a large file": ("f = open('x', 'wb')\nwhile True: f.write(bytes(1 << 20))", "raised OSError"),
    "ignores signals": ("import signal\nsignal.signal(15, signal.SIG_IGN)", "raised ValueError"),
    "waits for input": ("input()", "raised EOFError"),
    "recursion": ("def add(a, b): return add(a, b)", "raised RecursionError"),
    "error of its own": ("class E(Exception): pass\nraise E", "raised Exception"),
    "no code": ("def add(a, b) return", "not parsable"),
    "null": ("x = '\0'", "not parsable"),
    "agrees with everything": (
        f"class A:\n{AGREEABLE}\ndef add(a, b): return A()",
        execution.NOT_PLAIN,
    ),
    "agrees as a number": (
        f"class A(int):\n{AGREEABLE}\ndef add(a, b): return A(7)",
        execution.NOT_PLAIN,
    ),
    "agrees by its class": (
        f"class A:\n{AGREEABLE}\n    __class__ = int\nadd = lambda a, b: A()",
        execution.NOT_PLAIN,
    ),
    "is a class": (
        f"class add:\n{AGREEABLE}\n    def __init__(self, *a): pass",
        execution.NOT_PLAIN,
    ),
    "agrees within a list": (
        f"class A:\n{AGREEABLE}\ndef add(a, b): return [A()]",
        "wrong answer",  # a list, whatever is in it
    ),
    "another AssertionError": (
        f"import builtins\nbuiltins.AssertionError = int\n{WRONG}",
        "tampered",
    ),
    "another abs": (f"import builtins\nbuiltins.abs = lambda x: 2\n{WRONG}", "tampered"),
    "another isclose": (f"import math\nmath.isclose = lambda *a: True\n{WRONG}", "tampered"),
    "another check": (f"def check(candidate): pass\n{WRONG}", "wrong answer"),
    "another check in the function": (
        "def add(a, b):\n    globals()['check'] = lambda c: None\n    return 7",
        "wrong answer",
    ),
    "optimized": (f"import os, sys\nos.environ['PYTHONOPTIMIZE'] = '2'\n{WRONG}", "wrong answer"),
    "another os.write": (f"import os\nos.write = lambda *a: 1\n{WRONG}", "wrong answer"),
}


# For programs that end by themselves; no machine is so busy that it comes first.
LIMIT_SECONDS = 120.0


@pytest.fixture(scope="module")
def judges():
    with JudgePool(["humaneval"], 1, timeout=LIMIT_SECONDS, memory=512 << 20) as judges:
        yield judges


@pytest.fixture(scope="module")
def hasty_judges():
    with JudgePool(["humaneval"], 1, timeout=1.0, memory=512 << 20) as judges:
        yield judges


@pytest.fixture
def verdict(judges, tmp_path):
    """The verdict on a program that ends by itself."""
    with judging(judges, tmp_path) as judge:
        yield judge


@pytest.fixture
def hasty_verdict(hasty_judges, tmp_path):
    """The verdict on a program that does not."""
    with judging(hasty_judges, tmp_path) as judge:
        yield judge


@contextlib.contextmanager
def judging(judges: JudgePool, tmp_path: pathlib.Path) -> Iterator[Callable[[str], str]]:
    """Judges programs, after which nothing of them is left and the judge works on."""
    outside = tmp_path / "outside"
    outside.write_text("mine")
    temporary = pathlib.Path(os.environ.get("TMPDIR", "/tmp"))

    def judge(code: str) -> str:
        code = code.replace("{outside!r}", repr(str(outside)))
        before = set(temporary.glob("candidate-*"))
        found = judges.submit(PROBLEM, code).result()
        (worker,) = judges._workers
        assert worker._process is not None
        assert children(worker._process.pid) == []
        assert set(temporary.glob("candidate-*")) <= before
        assert outside.read_text() == "mine"
        assert found.is_correct == (found.verdict == "correct")
        return found.verdict

    yield judge
    assert list(tmp_path.iterdir()) == [outside]


def children(pid: int) -> list[str]:
    return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.parametrize(
    "code",
    [
        HONEST,
        f"Here it is:\n```python\n{HONEST}```\nIt adds.",
        f"```\n{HONEST}",
        "    return a + b\n",
        f"from __future__ import annotations\n{HONEST}",
        f"import subprocess, multiprocessing, socket, ctypes, threading\n{HONEST}",
        f"print('x' * 1000)\nopen('note', 'w').write('x')\nassert open('note').read() == 'x'\n{HONEST}",
        f"import collections\nP = collections.namedtuple('P', 'x y')\n{HONEST}",
        f"def check(x): raise ValueError\n{HONEST}",
        "add = lambda a, b: a + b",
        # What needs the class's module, threads, pairs of sockets, files, or no trace function.
        f"from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\nclass P:\n    x: int\n    p: P = None\n{HONEST}",
        f"import typing\nclass P:\n    p: 'P'\nassert typing.get_type_hints(P) == {{'p': P}}\n{HONEST}",
        f"import pickle\nclass P: pass\nassert type(pickle.loads(pickle.dumps(P()))) is P\n{HONEST}",
        f"import doctest\n{HONEST}doctest.testmod()",
        f"import unittest\n{HONEST}if __name__ == '__main__':\n    unittest.main()",
        "import asyncio\nasync def sum_of(a, b):\n    await asyncio.sleep(0)\n    return a + b\n"
        "def add(a, b): return asyncio.run(sum_of(a, b))",
        "import concurrent.futures\ndef add(a, b):\n    with concurrent.futures.ThreadPoolExecutor(2) as pool:\n"
        "        return sum(pool.map(int, (a, b)))",
        "import os, shutil, tempfile\ndef add(a, b):\n    with tempfile.TemporaryDirectory() as d, tempfile.NamedTemporaryFile() as f:\n"
        "        f.write(b'x')\n        os.makedirs(d + '/a/b')\n        shutil.copy(f.name, d + '/a')\n"
        "        os.rename(d + '/a/b', d + '/c')\n        os.chdir(d)\n        os.rmdir('c')\n        os.chdir('..')\n"
        "    return a + b",
        "import tempfile, os\ndef add(a, b):\n    handle, name = tempfile.mkstemp()\n    with os.fdopen(handle, 'w') as f: f.write('x')\n"
        "    os.remove(name)\n    return a + b",
        "import sys\nsys.stdin = open(0)\nassert sys.stdin.read() == ''\ndef add(a, b): return a + b",
        "import sys\nsys.setrecursionlimit(10**6)\ndef deep(n): return n and 1 + deep(n - 1)\n"
        "def add(a, b): return a + b + deep(50_000) - 50_000",
        f"from typing_extensions import TypedDict, override\n{HONEST}",
        "import numpy as np\ndef add(a, b): return np.add(a, b)",
        "import fractions\ndef add(a, b): return fractions.Fraction(a) + b",
    ],
)
def test_right_programs_are_correct(verdict, code):
    assert verdict(code) == "correct"


@pytest.mark.parametrize("name", NEVER_ENDS)
def test_programs_without_end_time_out(hasty_verdict, name):
    assert hasty_verdict(NEVER_ENDS[name]) == "timed out"


@pytest.mark.parametrize("name", REFUSED)
def test_what_reaches_outside_is_refused(verdict, name):
    assert verdict(f"{REFUSED[name]}\n{HONEST}") == "raised PermissionError"


@pytest.mark.parametrize("name", ENDS_EARLY)
def test_no_end_but_that_of_the_tests_counts(verdict, name):
    assert verdict(ENDS_EARLY[name]) == "exited before the tests ended"


@pytest.mark.parametrize("name", OTHER)
def test_other_attacks(verdict, name):
    code, expected = OTHER[name]
    assert verdict(code).startswith(expected)


def test_python_without_assertions_judges_alike(monkeypatch):
    monkeypatch.setitem(pool._ENVIRONMENT, "PYTHONOPTIMIZE", "2")
    with JudgePool(["humaneval"], 1, timeout=LIMIT_SECONDS, memory=512 << 20) as judges:
        assert judges.submit(PROBLEM, WRONG).result().verdict == "wrong answer"
        assert judges.submit(PROBLEM, HONEST).result().is_correct


def test_programs_do_not_depend_on_the_user():
    """The system counts processes, and threads, by user: neither others of the user's nor being root count."""
    code = (
        "import resource, threading, os\n"
        f"assert resource.getrlimit(resource.RLIMIT_NPROC) == {resource.getrlimit(resource.RLIMIT_NPROC)}\n"
        "assert os.environ['OPENBLAS_NUM_THREADS'] == '1'\n"
        "thread = threading.Thread(target=print)\nthread.start()\nthread.join()\n"
    )
    with JudgePool(["humaneval"], 1, timeout=LIMIT_SECONDS, memory=512 << 20) as judges:
        assert judges.submit(PROBLEM, code + HONEST).result().verdict == "correct"


def test_a_program_that_cannot_be_text_is_not_parsable(verdict):
    assert verdict("def add(a, b):\n    x = '\ud83d'\n    return a + b\n") == "not parsable"
    assert verdict(f"```python\n{HONEST}```\nDone \ud83d") == "correct"


def test_a_daemon_that_got_away_is_killed():
    """A grandchild in a session of its own, whose parents have ended: what the audit hook would refuse."""
    script = (
        "import os, subprocess, sys\n"
        "from codepmp_jax.tasks.judges import execution\n"
        "execution.adopt_orphans()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os.setsid()\n"
        "    daemon = 'import time; time.sleep(77.25)'\n"
        "    subprocess.Popen([sys.executable, '-c', daemon], start_new_session=True)\n"
        "    os._exit(0)\n"
        "os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # the daemon runs\n"
        "execution.kill_descendants(child)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=LIMIT_SECONDS)
    run = subprocess.run(["pgrep", "-f", r"^\S+ -c import time; time.sleep.77.25.$"], check=False)
    assert run.returncode == 1
