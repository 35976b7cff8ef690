"""Reads pair shards through SeqIO, in the environment that has it, and prints what it found as JSON.

.venv-seqio/bin/python tests/data/seqio_reader.py FOLDER OTHER_FOLDER
"""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

import itertools
import json
import pickle
import sys

import seqio
import tensorflow as tf

from codepmp_jax.cli.errors import UserError
from codepmp_jax.data import seqio_tasks

FOLDER, OTHER = sys.argv[1:]
LENGTHS = {"inputs": 16, "targets": 12, "rejected_inputs": 16, "rejected_targets": 12}


def rows(dataset, count=None):
    """The elements as JSON values."""

    def plain(value):
        return value.decode() if isinstance(value, bytes) else value.tolist()

    elements = itertools.islice(dataset.as_numpy_iterator(), count)
    return [{name: plain(value) for name, value in element.items()} for element in elements]


def ids(dataset):
    return [row["pair_id"] for row in rows(dataset)]


def refusal(call, *arguments, **options):
    try:
        call(*arguments, **options)
    except UserError as error:
        return str(error)
    return ""


task = seqio_tasks.register_pairs("pairs", FOLDER)
with_eos = seqio_tasks.register_pairs("pairs_eos", FOLDER, append_eos=True)
seqio_tasks.register_pairs("other_pairs", OTHER)
mixture = seqio_tasks.register_mixture("mixture", {"pairs": 1.0, "other_pairs": 3.0})
byte_task = seqio_tasks.register_pairs(
    "pairs_bytes",
    FOLDER,
    vocabulary=seqio.ByteVocabulary(),
    append_eos=True,
    sides="chosen",
)
chosen_task = seqio_tasks.register_pairs("pairs_chosen", FOLDER, sides="chosen")
vocabulary = task.output_features["inputs"].vocabulary
text = 'def f(x):\n    return "日本" + x  # 🙂'
tokens = vocabulary.encode(text)

found = {
    "splits": {split: task.num_input_examples(split) for split in task.splits},
    "files": [path.rsplit("/", 1)[-1] for path in task.source.list_shards("train")],
    "plain": rows(task.get_dataset(None, "train", shuffle=False)),
    "eos": rows(with_eos.get_dataset(None, "train", shuffle=False)),
    "validation": ids(task.get_dataset(None, "validation", shuffle=False)),
    "cut": rows(task.get_dataset(LENGTHS, "train", shuffle=False)),
    "bytes": rows(byte_task.get_dataset(None, "train", shuffle=False)),
    "shares": [
        ids(
            task.get_dataset(
                None, "train", seed=7, shard_info=seqio.ShardInfo(index, 5), num_epochs=1
            )
        )
        for index in range(5)
    ],
    "shuffled": [ids(task.get_dataset(None, "train", seed=seed)) for seed in (7, 7, 8, None)],
    # The source alone: the task puts a small split into memory and shuffles it there.
    "epochs": ids(task.source.get_dataset("train", shuffle=True, seed=7).repeat(2)),
    "unshuffled_share": ids(
        task.source.get_dataset("train", shuffle=False, shard_info=seqio.ShardInfo(1, 3))
    ),
    "mixture": rows(mixture.get_dataset(None, "train", seed=1, num_epochs=None), 600),
    "mixture_features": sorted(mixture.output_features),
    "t5x": {
        name: rows(
            seqio.get_dataset(
                "pairs_chosen",
                {"inputs": 24, "targets": 24},
                converter(pack=False),
                shuffle=False,
            ),
            3,
        )
        for name, converter in (
            ("encoder-decoder", seqio.EncDecFeatureConverter),
            ("prefix", seqio.PrefixLMFeatureConverter),
        )
    },
    "vocabulary": {
        "size": vocabulary.vocab_size,
        "pad": vocabulary.pad_id,
        "eos": vocabulary.eos_id,
        "same in TensorFlow": vocabulary.encode_tf(tf.constant(text)).numpy().tolist() == tokens,
        "decoded": vocabulary.decode([*tokens, vocabulary.eos_id, 5]) == text,
        "decoded in TensorFlow": [
            value.decode() == text
            for value in vocabulary.decode_tf(tf.constant([tokens] * 2)).numpy()
        ],
        "pickled": pickle.loads(pickle.dumps(vocabulary)) == vocabulary,
        "another": vocabulary == seqio.ByteVocabulary(),
    },
    "refusals": [
        refusal(seqio_tasks.register_pairs, "x", FOLDER, splits={"train": "dev"}),
        refusal(seqio_tasks.register_pairs, "x", "/no/where"),
        refusal(seqio_tasks.register_pairs, "x", FOLDER, tokenizer="/no/where"),
        refusal(seqio_tasks.register_mixture, "x", {"no_task": 1.0}),
        refusal(seqio_tasks.register_mixture, "x", {"pairs": 0.0}),
        refusal(seqio_tasks.register_mixture, "x", {}),
    ],
}
print(json.dumps(found))
# The iterator lives on, its threads run ahead: the process must end all the same.
endless = iter(task.get_dataset(None, "train", num_epochs=None))
next(endless)
