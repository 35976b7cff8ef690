"""What lies on disk between the stages, and how a record becomes bytes.

SourceFile, Completion and PreferencePair lie in ArrayRecord shards (`codepmp_jax.records.shards`), each serialized as a
`tf.train.Example`, the encoding that TFDS, SeqIO and Grain users share. Candidates and scores lie in
JSONL files. TensorFlow is not needed.
"""

from __future__ import annotations

import codecs
import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any, ClassVar, TypeVar

from codepmp_jax.cli.errors import UserError
from codepmp_jax.files.json_lines import json_line

RecordT = TypeVar("RecordT", bound="Record")

_NO_PROBLEM = "not a problem with problem_id, prompt and candidates"


def content_id(*parts: str) -> str:
    """A 128-bit id of texts: equal texts, equal id. Hexadecimal."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode(errors="surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()[:32]


@functools.cache
def _message_classes() -> dict[str, Any]:
    """The message classes of tf.train.Example by name, built from its published wire format.

    protobuf is imported here, as processes that only judge candidates need none. All classes are kept: protobuf itself
    keeps those of fields only while a message of theirs lives, and then the garbage collector of one thread may be
    clearing a class that another thread is about to use, which crashes the process.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(
        name="codepmp_jax/example.proto", package="tensorflow", syntax="proto3"
    )
    kinds = descriptor_pb2.FieldDescriptorProto

    def add(message: Any, name: str, number: int, kind: int, repeated: bool = False, **extra: Any):
        label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
        message.field.add(name=name, number=number, type=kind, label=label, **extra)

    lists = (("Bytes", kinds.TYPE_BYTES), ("Float", kinds.TYPE_FLOAT), ("Int64", kinds.TYPE_INT64))
    for name, kind in lists:
        add(file.message_type.add(name=f"{name}List"), "value", 1, kind, repeated=True)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, _) in enumerate(lists, start=1):
        add(
            feature,
            f"{name.lower()}_list",
            number,
            kinds.TYPE_MESSAGE,
            type_name=f".tensorflow.{name}List",
            oneof_index=0,
        )
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    add(entry, "key", 1, kinds.TYPE_STRING)
    add(entry, "value", 2, kinds.TYPE_MESSAGE, type_name=".tensorflow.Feature")
    add(
        features,
        "feature",
        1,
        kinds.TYPE_MESSAGE,
        repeated=True,
        type_name=".tensorflow.Features.FeatureEntry",
    )
    example = file.message_type.add(name="Example")
    add(example, "features", 1, kinds.TYPE_MESSAGE, type_name=".tensorflow.Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = (
        "Example",
        "Features",
        "Features.FeatureEntry",
        "Feature",
        *(f"{n}List" for n, _ in lists),
    )
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.{name}"))
        for name in names
    }


@dataclasses.dataclass(frozen=True)
class Record:
    """Base of the records in shards. Fields are str, int, float or bool; `lineage` is a JSON object."""

    schema_version: ClassVar[int] = 1

    def to_bytes(self) -> bytes:
        """The record as a serialized tf.train.Example; equal records, equal bytes."""
        example = _message_classes()["Example"]()
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            feature = example.features.feature[field.name]
            if isinstance(value, dict):
                value = json_line(value, sort_keys=True)
            if isinstance(value, str):
                feature.bytes_list.value.append(value.encode())
            elif isinstance(value, float):
                feature.float_list.value.append(value)
            else:
                feature.int64_list.value.append(int(value))
        return example.SerializeToString(deterministic=True)

    @classmethod
    def from_bytes(cls: type[RecordT], data: bytes) -> RecordT:
        """The record that `to_bytes` wrote. Raises ValueError where the bytes are no such record."""
        from google.protobuf.message import DecodeError

        example = _message_classes()["Example"]()
        try:
            example.ParseFromString(data)
        except DecodeError as error:
            raise ValueError(f"not a tf.train.Example: {error}") from error
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            if field.name not in example.features.feature:
                raise ValueError(f"{cls.__name__} record lacks the field {field.name!r}")
            feature = example.features.feature[field.name]
            (value,) = getattr(feature, feature.WhichOneof("kind")).value
            if field.type == "dict[str, Any]":
                value = json.loads(value)
            elif isinstance(value, bytes):
                value = value.decode()
            elif field.type == "bool":
                value = bool(value)
            values[field.name] = value
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class SourceFile(Record):
    """A piece of source code (a function, a class or a file) with what its author says of it."""

    schema_version: ClassVar[int] = 2

    source_id: str
    """`content_id(content)`: a hash of the text."""
    content: str
    """The code; without the docstring where that became the description."""
    description: str
    """What its author says the code does: its docstring, or its name where it has none; empty for a file."""
    name: str
    """Qualified name within the file, e.g. `Thread.join`; the file's name for a whole file."""
    kind: str
    """`function`, `class` or `file`."""
    language: str
    """Name of the language, e.g. `python`."""
    repository: str
    """Name of the repository: of the git remote, else of the folder; of a table, its column."""
    path: str
    """Path within the repository."""
    license: str
    """SPDX expression; of a table its column's, joined by commas. `unknown` where what is said is not clear, empty
    where nothing is said."""
    line: int
    """First line of the piece in the file, from 1."""
    stars: int = -1
    """Stars of the repository; -1 where they are not known."""


@dataclasses.dataclass(frozen=True)
class Completion(Record):
    """What a writer made of one request, or why it made nothing."""

    key: str
    """The request's."""
    text: str
    """What the writer wrote."""
    failure: str = ""
    """Why the text is of no use, e.g. `length not matched`; empty where it is of use."""
    detail: str = ""
    """What the writer said of the failure."""
    finish_reason: str = ""
    """`stop`, or `length` where the text was cut off; empty where the writer has no such limit. Where a server says
    neither, `facts` hold its word as `server_finish_reason`."""
    num_prompt_tokens: int = 0
    """Tokens of the request, as the writer counts them."""
    num_tokens: int = 0
    """Tokens of the text, as the writer counts them."""
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What else the pair's lineage says of it."""


@dataclasses.dataclass(frozen=True)
class PreferencePair(Record):
    """A prompt, a better and a worse response: TRL's preference format with lineage."""

    pair_id: str
    """`content_id(prompt, chosen, rejected)`: a hash of the texts."""
    prompt: str
    """The task; JSON messages in a conversation."""
    chosen: str
    """The better response."""
    rejected: str
    """The worse response."""
    is_conversation: bool = False
    """The three texts are JSON lists of {"role", "content"} messages."""
    margin: float = 0.0
    """How much better chosen is; the pair loss asks for at least this difference of rewards."""
    subset: str = ""
    """Group under which accuracy is reported, e.g. `rate 0.40`."""
    source_id: str = ""
    """The SourceFile behind the pair; empty for imported pairs."""
    lineage: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Where the pair comes from and how it was made."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One of the responses of a problem."""

    response: str
    """What the writer answered."""
    is_correct: bool | None = None
    """Whether the response solves the problem; None where nobody has judged."""
    answer: str | None = None
    """The final answer that a judge read from the response, in a form in which equal answers are equal
    strings: what majority votes count. None where there is none."""
    verdict: str = ""
    """The judge's finding in words, e.g. `correct`, `wrong answer`, `no answer`, `timed out`; before that, what
    is to be said of the writing: `cut off`, `not written: prompt too long`."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """A prompt with its candidates: one line of a problems or candidates file."""

    problem_id: str
    """Unique within the file."""
    prompt: str
    """The task, as the reward model sees it."""
    candidates: tuple[Candidate, ...] = ()
    """Empty before anybody has written some."""
    task: str = ""
    """The benchmark, which names the judge; empty where there is none."""
    subset: str = ""
    """Group under which Best-of-N is reported too, e.g. `level 5`."""
    reference: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What the task's judge compares responses with (JSON values)."""

    def to_json(self) -> str:
        """The problem as one line of JSON."""
        return json_line(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, line: str | bytes) -> Problem:
        """The problem in a line of JSON; a candidate is an object, or a string: its response.

        Raises ValueError that says what is wrong with the line.
        """
        try:
            return cls.from_row(json.loads(line))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{_NO_PROBLEM}: {error}") from error

    @classmethod
    def from_row(cls, row: Any) -> Problem:
        """The problem in a parsed line. Raises ValueError that says what is wrong with it."""
        try:
            if not isinstance(row, dict):
                raise TypeError("the line is no object")
            row = dict(row)
            entries = row.pop("candidates", ())
            if not isinstance(entries, list | tuple):
                raise TypeError("candidates must be a list")
            if not all(isinstance(entry, str | dict) for entry in entries):
                raise TypeError("a candidate must be a text or an object")
            candidates = tuple(
                Candidate(entry) if isinstance(entry, str) else Candidate(**entry)
                for entry in entries
            )
            problem = cls(**row, candidates=candidates)
            texts = (problem.problem_id, problem.prompt, problem.task, problem.subset)
            if not all(isinstance(text, str) for text in texts):
                raise TypeError("problem_id, prompt, task and subset must be texts")
            if not isinstance(problem.reference, dict):
                raise TypeError(f"reference must be an object, not {problem.reference!r:.80}")
            if not all(isinstance(candidate.response, str) for candidate in candidates):
                raise TypeError("the response of a candidate must be a text")
            return problem
        except (ValueError, TypeError) as error:
            raise ValueError(f"{_NO_PROBLEM}: {error}") from error


@dataclasses.dataclass(frozen=True)
class Score:
    """The reward of one text."""

    item_id: str
    """pair_id or problem_id."""
    index: int
    """0 for chosen and 1 for rejected; the candidate's place for a problem."""
    reward: float
    """Output of the score head on the text's last token."""
    num_tokens: int | None = None
    """Of the text as it was scored; None where it is not known."""


def read_problems(path: str) -> Iterator[Problem]:
    """Problems of a problems or candidates file; blank lines and a byte order mark are passed over.

    Raises UserError naming file, line and reason.
    """
    if not pathlib.Path(path).is_file():
        raise UserError(
            f"{path}: no such file. Remedy: give a JSONL file of problems, as launch/evaluate.py problems "
            "and launch/candidates.py write them."
        )
    seen: set[str] = set()
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if not line.strip():
                continue
            try:
                problem = Problem.from_json(line)
                if not problem.problem_id:
                    raise ValueError("problem_id is empty")
                if problem.problem_id in seen:
                    raise ValueError(f"problem_id {problem.problem_id!r} is not unique")
            except ValueError as error:
                raise UserError(f"{path}:{number}: {error}. Remedy: correct the line.") from error
            seen.add(problem.problem_id)
            yield problem
