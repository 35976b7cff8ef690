"""SourceFile shards -> tokenizer.

    python launch/train_tokenizer.py --input CORPUS --output DIR

The same as `codepmp train-tokenizer`: see codepmp_jax/commands/train_tokenizer.py.
"""

from codepmp_jax.commands import train_tokenizer
from codepmp_jax.config import presets

if __name__ == "__main__":
    presets.run(train_tokenizer.main)
