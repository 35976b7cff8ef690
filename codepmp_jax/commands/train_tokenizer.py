"""SourceFile shards -> tokenizer: `codepmp train-tokenizer --input CORPUS --output DIR`."""

from codepmp_jax.config import TokenizerConfig, presets

COMMAND = (TokenizerConfig, "Trains a byte-level BPE tokenizer on a corpus.")


def main() -> None:
    """Parses, trains, sums up."""
    config = presets.parse(*COMMAND)
    from codepmp_jax.corpus.tokenizer import train_tokenizer

    counts = train_tokenizer(config)
    print(
        f"{config.vocab_size} tokens from {counts['num_texts']} texts, "
        f"{counts['num_chars'] / counts['num_tokens']:.2f} characters a token -> {config.output}"
    )
