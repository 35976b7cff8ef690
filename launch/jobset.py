"""Prints the Kubernetes manifest of a training run on TPU slices of a GKE cluster.

    python launch/jobset.py --name pmp --image IMAGE -- --config pmp_7b --workdir gs://B/pmp ... | kubectl apply -f -

The same as `codepmp jobset`: see codepmp_jax/commands/jobset.py.
"""

from codepmp_jax.commands import jobset
from codepmp_jax.config import presets

if __name__ == "__main__":
    presets.run(jobset.main)
