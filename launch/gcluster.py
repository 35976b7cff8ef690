"""Trains on TPU slices of a GKE cluster, as a workload that Cluster Toolkit's gcluster submits.

    python launch/gcluster.py --name pmp --cluster tpus --location us-west4-a --image IMAGE -- --config pmp_7b ...

The same as `codepmp gcluster`: see codepmp_jax/commands/gcluster.py.
"""

from codepmp_jax.commands import gcluster
from codepmp_jax.config import presets

if __name__ == "__main__":
    presets.run(gcluster.main)
