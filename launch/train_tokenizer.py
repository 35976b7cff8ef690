"""SourceFile shards -> tokenizer: `python launch/train_tokenizer.py --input CORPUS --output DIR`."""

from codepmp_jax.config import TokenizerConfig, presets
from codepmp_jax.corpus.tokenizer import train_tokenizer


def main() -> None:
    """Parses, trains, sums up."""
    config = presets.parse(TokenizerConfig, "Trains a byte-level BPE tokenizer on a corpus.")
    counts = train_tokenizer(config)
    print(
        f"{config.vocab_size} tokens from {counts['num_texts']} texts, "
        f"{counts['num_chars'] / counts['num_tokens']:.2f} characters a token -> {config.output}"
    )


if __name__ == "__main__":
    presets.run(main)
