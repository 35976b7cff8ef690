"""Log-probs by JAX, with the forward pass of the training step, on all devices of a pod."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Float32

from codepmp_jax.config import DpoConfig, LogProbsConfig, ModelConfig, TrainConfig
from codepmp_jax.conversion import load
from codepmp_jax.conversion.weights_digest import weights_digest
from codepmp_jax.data.batch import Batch
from codepmp_jax.devices import chips, sharding
from codepmp_jax.devices.gather import gather
from codepmp_jax.models.preference import Params, abstract_params
from codepmp_jax.text.tokenization import Tokenizer
from codepmp_jax.training import objectives
from codepmp_jax.training.state import in_dtype
from codepmp_jax.training.step import compute_outputs

_BATCH_TOKENS = 16384


class JaxBackend:
    """A model from a Hugging Face folder or a run, its parameters sharded over the devices of all hosts."""

    tokenizer: Tokenizer
    facts: dict[str, Any]

    def __init__(self, config: TrainConfig, params: Params, mesh: jax.sharding.Mesh):
        """`config` is of a policy without a reference, its model resolved for this machine."""
        objective = objectives.build(config)
        self.vocab_size = config.model.vocab_size
        self.num_rows = config.global_batch_rows
        self.is_main = jax.process_index() == 0
        self._mesh = mesh
        self._params = params
        graph, _, _ = abstract_params(config.model)

        def log_probs(params: Params, batch: Batch) -> Float[Array, "B C"]:
            model = nnx.merge(graph, in_dtype(params, config.model.compute_dtype))
            found = compute_outputs(model, batch, objective).log_probs
            return sharding.constrain(found, None, None)

        self._log_probs = jax.jit(log_probs)

    @classmethod
    def load(cls, config: LogProbsConfig) -> JaxBackend:
        """The model at config.model. All hosts must call it.

        Raises UserError where there is none, or it cannot be divided over the mesh.
        """
        data = config.data
        policy = load.resolve(
            TrainConfig(
                workdir=config.output,
                model=ModelConfig(init_from=config.model, compute_dtype=config.dtype, remat="none"),
                data=data,
                # Computes what DPO does, and reads no reference.
                loss=DpoConfig(loss_type="simpo", lm_chunk_tokens=config.chunk_tokens),
            )
        )
        chip = chips.chip_of_device(jax.devices()[0])
        model = chips.resolve(policy.model, data.max_length, chip)
        sizes = sharding.check_mesh(
            config.mesh, model, jax.device_count(), sharding.count_slices(jax.devices())
        )
        mesh = sharding.make_mesh(sizes)
        parts = sizes[0] * sizes[1]
        row_tokens = objectives.build(policy).layout().row_tokens
        rows = 1 if jax.default_backend() == "cpu" else max(1, _BATCH_TOKENS // row_tokens)
        policy = dataclasses.replace(
            policy, model=model, global_batch_rows=config.batch_rows or parts * rows
        )
        # Each device has equally many rows of a batch.
        policy = dataclasses.replace(
            policy, global_batch_rows=-(-policy.global_batch_rows // parts) * parts
        )
        _, shapes, axes = abstract_params(model)
        abstract = jax.tree.map(
            lambda shape, layout: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=layout),
            shapes,
            sharding.param_shardings(axes, mesh),
        )
        loader = load.params_loader(policy)
        assert loader is not None
        backend = cls(policy, loader(abstract), mesh)
        backend.tokenizer = Tokenizer.load(policy.data.tokenizer)
        assert model.init_from is not None
        backend.facts = {
            "weights": weights_digest(model.init_from),
            "attention": model.attention,
        }
        return backend

    def agreed(self, value: Any) -> Any:
        """As in Backend."""
        return gather(value)[0]

    def log_probs(self, batch: Batch) -> Float32[np.ndarray, "B C"]:
        """As in Backend."""
        layout = sharding.batch_sharding(self._mesh)

        def place(array: np.ndarray) -> Array:
            return jax.make_array_from_callback(array.shape, layout, lambda index: array[index])

        with jax.set_mesh(self._mesh):
            return np.asarray(self._log_probs(self._params, jax.tree.map(place, batch)))
