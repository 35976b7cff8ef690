"""Checks jaxtyping's shape annotations of the package at run time, under pytest only."""

import os

# Eight devices in one process, for the sharding tests; must be set before jax starts.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

install_import_hook("codepmp_jax", "beartype.beartype")
