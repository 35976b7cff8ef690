"""A reward model -> rewards over HTTP.

    python launch/serve.py --model MODEL

The same as `codepmp serve`: see codepmp_jax/commands/serve.py.
"""

from codepmp_jax.commands import serve
from codepmp_jax.config import presets

if __name__ == "__main__":
    presets.run(serve.main)
