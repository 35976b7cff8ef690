"""Trains on a TPU slice that gcloud's queued resources give, and asks for it again when it is taken away.

    python launch/queued_resources.py --name pmp --spot -- --config pmp_7b --workdir gs://B/pmp ...

The same as `codepmp queued-resources`: see codepmp_jax/commands/queued_resources.py.
"""

from codepmp_jax.commands import queued_resources
from codepmp_jax.config import presets

if __name__ == "__main__":
    presets.run(queued_resources.main)
