"""Stage 1 of the corpus: a part of the input becomes texts with their hashes, in a file of its own.

work/plan.jsonl          the parts, a list of readers' items each
work/parts/000000.arrow  the texts of a part that passed every filter, in their order
work/parts/000000.json   its counts and rejects; written last: a part is there whole or not at all
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from codepmp_jax.cli import streams
from codepmp_jax.config import CorpusConfig
from codepmp_jax.corpus import readers, secrets, units
from codepmp_jax.corpus.files import File, Rejected
from codepmp_jax.corpus.filters import Filters
from codepmp_jax.corpus.headers import without_header
from codepmp_jax.corpus.samples import Samples, key_of, sample_of
from codepmp_jax.corpus.snippets import Dropped, Unparsable
from codepmp_jax.files import resume
from codepmp_jax.files.json_files import write_json
from codepmp_jax.records.schema import SourceFile, content_id
from codepmp_jax.text import languages, near_duplicates
from codepmp_jax.text.decontamination import Decontaminator
from codepmp_jax.text.tokenization import Tokenizer

SCHEMA = pa.schema(
    {
        "key": pa.uint64(),  # of the normalised text: equal for exact duplicates
        "id": pa.binary(16),  # source_id
        "signature": pa.binary(),  # for near-duplicates; empty where they are not searched for
        "is_heldout": pa.bool_(),
        "file": pa.int32(),  # number of the file in the part
        "kind": pa.string(),
        "language": pa.string(),
        "license": pa.string(),
        "num_chars": pa.int32(),
        "num_words": pa.int32(),  # that the author wrote as description
        "record": pa.binary(),  # the SourceFile
    }
)
_BATCH_BYTES = 1 << 20
# Of a dropped file, for the samples.
_SAMPLE_CHARS = 3000


def is_heldout(repository: str, path: str, config: CorpusConfig) -> bool:
    """Whether a file's texts are held out: they stay together, whatever else the input holds."""
    digest = hashlib.sha256(f"{config.seed}:{repository}:{path}".encode()).digest()
    return int.from_bytes(digest[:8]) < config.heldout_fraction * 2**64


def finished_part(work: pathlib.Path, index: int) -> pathlib.Path:
    """The path of a part's counts, which is there when the part is finished."""
    return work / "parts" / f"{index:06d}.json"


def text_reject(source: SourceFile, reason: str, detail: str) -> dict[str, Any]:
    """A line of rejects/texts.jsonl."""
    return {
        "id": source.source_id,
        "repository": source.repository,
        "path": source.path,
        "line": source.line,
        "name": source.name,
        "language": source.language,
        "reason": reason,
        "detail": detail,
    }


class _Table:
    """The texts of a part, written as they come."""

    def __init__(self, path: pathlib.Path):
        self._path = path
        # Its own name for each process: one that was left behind may still be writing.
        self._partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        self._writer = pa.ipc.new_file(str(self._partial), SCHEMA, options=options)
        self._rows: list[dict[str, Any]] = []
        self._num_bytes = 0

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        self._num_bytes += len(row["record"])
        if self._num_bytes >= _BATCH_BYTES:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()
        self._partial.replace(self._path)

    def _flush(self) -> None:
        self._writer.write_batch(pa.RecordBatch.from_pylist(self._rows, SCHEMA))
        self._rows, self._num_bytes = [], 0


class PartWriter:
    """Reads, cuts, filters, cleans and hashes parts. One in each process."""

    def __init__(self, config: CorpusConfig, source: readers.Input, work: pathlib.Path):
        self._config = config
        self._source = source
        self._work = work
        self._filters = Filters(config.filter)
        self._decontaminator = Decontaminator(config.decontamination)
        self._backend = Tokenizer.load("embedded").backend

    def write(self, index: int, offset: int) -> int:
        """Writes the part that stands at a byte of the plan; the number of its files."""
        with open(self._work / "plan.jsonl", encoding="utf-8") as file:
            file.seek(offset)
            items = [readers.Item(*item) for item in json.loads(file.readline())]
        entry = finished_part(self._work, index)
        table = _Table(entry.with_suffix(".arrow"))
        counts = self._write(readers.read(items, self._source, self._config), table)
        table.close()
        write_json(entry, counts)
        return counts["files"]

    def _write(self, found: Iterable[File | Rejected], table: _Table) -> dict[str, Any]:
        number = num_chars = num_texts = 0
        secrets_found: collections.Counter[str] = collections.Counter()
        drawn = Samples()
        rejected_files: list[dict[str, Any]] = []
        rejected_texts: list[dict[str, Any]] = []
        for number, file in enumerate(found, start=1):
            texts: list[units.Text | Dropped] = []
            language = languages.language_of(file.path) or "unknown"
            content = ""
            if isinstance(file, File):
                language, content = file.language, file.content
                num_chars += len(content)
                file, texts = self._cut(file)
            if isinstance(file, Rejected):
                rejected_files.append(file._asdict() | {"language": language})
                self._draw(drawn, rejected_files[-1] | {"line": 1, "name": ""}, content)
                continue
            heldout = is_heldout(file.repository, file.path, self._config)
            num_texts += len(texts)
            for text in texts:
                judged = self._judge(text, file, secrets_found)
                if isinstance(judged, dict):
                    rejected_texts.append(judged)
                    self._draw(drawn, judged, text.content)
                    continue
                source, key = judged
                num_words = text.num_words if isinstance(text, units.Text) else 0
                row = {"is_heldout": heldout, "file": number, "num_words": num_words}
                table.add(self._row(source, key) | row)
        return {
            "files": number,
            "characters": num_chars,
            "texts": num_texts,
            "secrets": dict(secrets_found),
            "rejected_files": rejected_files,
            "rejected_texts": rejected_texts,
            "samples": drawn.rows(),
        }

    def _draw(self, drawn: Samples, reject: dict[str, Any], content: str) -> None:
        """Draws what is dropped for the samples, without the secrets that the corpus must not hold."""

        def sample() -> dict[str, Any]:
            shown = content[:_SAMPLE_CHARS]
            kinds = self._config.secrets
            for kind in ("secrets", "emails"):
                if getattr(kinds, kind) == "drop":
                    kinds = dataclasses.replace(kinds, **{kind: "replace"})
            cleaned, _ = secrets.clean(shown, kinds)
            names = ("repository", "path", "line", "name", "detail")
            return sample_of(
                **{name: reject[name] for name in names}, description="", content=cleaned or ""
            )

        place = [reject[name] for name in ("repository", "path", "line", "name")]
        drawn.add(reject["language"], reject["reason"], key_of(*place), sample)

    def _count_tokens(self, text: str) -> int:
        (encoding,) = self._backend.encode_batch_fast([text], add_special_tokens=False)
        return len(encoding)

    def _cut(self, file: File) -> tuple[File | Rejected, list[units.Text | Dropped]]:
        """The file's texts, or why it has none. License and generator are the file's; other limits each text's."""
        reason = self._filters.file_reason(file)
        detail = ""
        if not reason:
            try:
                texts = list(units.texts_of(file, self._config, self._count_tokens))
                is_whole = texts[0].kind == "file"
                reason = self._filters.reason(file.content, file.language) if is_whole else None
                if not reason:
                    return file, texts
            except units.Unusable as error:
                reason = str(error)
            except Unparsable as error:
                reason, detail = "unparsable", str(error)
        return Rejected(file.path, reason, detail, file.repository), []

    def _judge(
        self, text: units.Text | Dropped, file: File, secrets_found: collections.Counter[str]
    ) -> tuple[SourceFile, str] | dict[str, Any]:
        """(source, normalised hash), or the line of the rejects."""

        def source(content: str, description: str) -> SourceFile:
            return SourceFile(
                source_id=content_id(content) if content else "",
                content=content,
                description=description,
                name=text.name,
                kind=text.kind,
                language=file.language,
                repository=file.repository,
                path=file.path,
                license=file.license,
                line=text.line,
                stars=file.stars,
            )

        if isinstance(text, Dropped):
            return text_reject(source("", ""), text.reason, "")
        before = source(text.content, text.description)
        reason = None
        if text.kind != "file":
            reason = self._filters.reason(text.content, file.language)
        if reason:
            return text_reject(before, reason, "")
        content, found = secrets.clean(text.content, self._config.secrets)
        description, more = secrets.clean(text.description, self._config.secrets)
        secrets_found.update(found + more)
        if content is None or description is None:
            return text_reject(before, "secrets", ", ".join(sorted(found + more)))
        for part in (content, description):
            match = self._decontaminator.match(part)
            if match:
                detail = f"{match.item_id}: {match.ngram}"
                return text_reject(before, f"contaminated: {match.benchmark}", detail)
        is_same = content == text.content
        return source(content, description), (
            text.normal_hash if is_same else units.layout_hash(content)
        )

    def _row(self, source: SourceFile, normal_hash: str) -> dict[str, Any]:
        return {
            "key": int(normal_hash[:16], 16),
            "id": bytes.fromhex(source.source_id),
            "signature": self._signature(source) if self._config.dedup.near else b"",
            "kind": source.kind,
            "language": source.language,
            "license": source.license,
            "num_chars": len(source.content),
            "record": source.to_bytes(),
        }

    def _signature(self, source: SourceFile) -> bytes:
        """Of a whole file without its header: one license makes no two files alike."""
        is_whole = source.kind == "file"
        text = without_header(source.content, source.language) if is_whole else source.content
        return near_duplicates.signature(text, self._config.dedup)


# --- processes ------------------------------------------------------------------------------------

_writer: PartWriter | None = None


def start_process(config: CorpusConfig, source: readers.Input, work: pathlib.Path) -> None:
    """Makes this process ready for `write_part`; it ends when the process that started it does."""
    global _writer
    _writer = PartWriter(config, source, work)
    streams.guard()
    resume.end_with_parent()


def write_part(index: int, offset: int) -> int:
    """`PartWriter.write` in a process that `start_process` made ready."""
    assert _writer is not None
    return _writer.write(index, offset)
