"""The files that make a folder of shards a TFDS dataset.

`tfds.builder_from_directory(FOLDER).as_data_source(SPLIT)` then reads it, without TensorFlow. The values
are TFDS's protocol messages DatasetInfo and Feature in protobuf's JSON; TFDS itself is not needed.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from codepmp_jax.records.schema import Record

DATASET_INFO = "dataset_info.json"
FEATURES = "features.json"

_CLASSES = "tensorflow_datasets.core.features"
_TEXT = {"pythonClassName": f"{_CLASSES}.text_feature.Text", "text": {}}


def _scalar(dtype: str) -> dict[str, Any]:
    tensor = {"shape": {}, "dtype": dtype, "encoding": "none"}
    return {"pythonClassName": f"{_CLASSES}.scalar.Scalar", "tensor": tensor}


# By a field's annotation: how `Record.to_bytes` stores it.
_FEATURES = {
    "str": _TEXT,
    "dict[str, Any]": _TEXT,
    "float": _scalar("float32"),
    "int": _scalar("int64"),
    "bool": _scalar("bool"),
}


def features(record_type: type[Record]) -> dict[str, Any]:
    """The content of features.json: the record's fields; `lineage` is text that holds JSON."""
    by_name = {field.name: _FEATURES[str(field.type)] for field in dataclasses.fields(record_type)}
    return {
        "pythonClassName": f"{_CLASSES}.features_dict.FeaturesDict",
        "featuresDict": {"features": by_name},
    }


def dataset_info(
    record_type: type[Record], splits: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The content of dataset_info.json; `splits` as they stand in the manifest.

    Splits without records are left out: TFDS fails on them, and so on `as_data_source()` of all splits.
    """
    return {
        "name": re.sub(r"(?<!^)(?=[A-Z])", "_", record_type.__name__).lower(),
        "version": f"{record_type.schema_version}.0.0",
        "description": record_type.__doc__,
        "fileFormat": "array_record",
        "splits": [
            {
                "name": name,
                "filepathTemplate": "{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                # 64-bit integers are strings in protobuf's JSON.
                "shardLengths": [str(shard["num_records"]) for shard in split["shards"]],
                "numBytes": str(sum(shard["num_bytes"] for shard in split["shards"])),
            }
            for name, split in splits.items()
            if split["num_records"]
        ],
    }
