"""Converts between training runs and Hugging Face folders, a piece of the model in memory at a time.

    python launch/convert.py to-hf --run WORKDIR --output FOLDER --verify
    python launch/convert.py to-peft --run LORA_WORKDIR --output FOLDER --verify
    python launch/convert.py from-hf --input FOLDER --output WORKDIR
    python launch/convert.py from-gguf --input FILE --output FOLDER

The same as `codepmp convert`: see codepmp_jax/commands/convert.py.
"""

from codepmp_jax.commands import convert
from codepmp_jax.config import presets

if __name__ == "__main__":
    presets.run(convert.main)
