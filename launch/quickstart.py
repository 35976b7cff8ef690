"""From source code to a scored preference model, every stage once.

    python launch/quickstart.py

The same as `codepmp quickstart`: see codepmp_jax/commands/quickstart.py.
"""

from codepmp_jax.commands import quickstart
from codepmp_jax.config import presets

if __name__ == "__main__":
    presets.run(quickstart.main)
