"""Trains on TPU slices of a GKE cluster, as a workload that xpk submits and GKE starts again.

    python launch/xpk.py --name pmp --cluster tpus -- --config pmp_7b --workdir gs://B/pmp ...

The same as `codepmp xpk`: see codepmp_jax/commands/xpk.py.
"""

from codepmp_jax.commands import xpk
from codepmp_jax.config import presets

if __name__ == "__main__":
    presets.run(xpk.main)
