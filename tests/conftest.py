"""Checks jaxtyping's shape annotations of the package at run time, under pytest only."""

import os

# Eight devices in one process, for the sharding tests; and programs that compile fast rather than run
# fast, since the tests run each of them a few times only. Must be set before jax starts.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 "
    "--xla_llvm_disable_expensive_passes=true",
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

install_import_hook("codepmp_jax", "beartype.beartype")
