"""A contestant of `train_step.py`: a process that trains on the same pairs as the others, when told to.

    python benchmarks/step_contestants.py NAME SETUP      (SETUP: JSON of a Setup)

It says a line of JSON when it is ready, and one after each line on stdin: `check` trains a step on a few pairs
and tells its losses, `turn` trains the next step. The end of stdin ends it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from codepmp_jax.config import (
    DataConfig,
    MeshConfig,
    ModelConfig,
    OptimizerConfig,
    PmpConfig,
    TrainConfig,
)
from codepmp_jax.config.objective import ObjectiveConfig
from codepmp_jax.config.presets import load_preset
from codepmp_jax.data.batch import Batch, concatenate
from codepmp_jax.data.layouts import layout_of
from codepmp_jax.data.packing import new_state, pack
from codepmp_jax.data.tokenized_pair import TokenizedPair, common_length
from codepmp_jax.text.lengths import draw_lengths

MAX_LENGTH = 1024
USEFUL = ("pairs", "useful_tokens", "useful_keys", "labels")
"""What the loader counts of a step's pairs."""

SIZES = {
    # To try the contest out.
    "tiny": ModelConfig(
        vocab_size=512,
        embed_dim=64,
        mlp_dim=128,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=16,
    ),
    "10m": ModelConfig(
        vocab_size=4096,
        embed_dim=256,
        mlp_dim=1024,
        num_layers=8,
        num_heads=4,
        num_kv_heads=2,
        head_dim=64,
    ),
    "1b5": load_preset("pmp_1b5").model,
}


@dataclasses.dataclass(frozen=True)
class Setup:
    """What all contestants have in common."""

    size: str
    device: Literal["cpu", "gpu"]
    step_pairs: int
    """Pairs of a step; of packed rows, about as many."""
    num_turns: int
    micro_tokens: int
    """Tokens of a micro batch (of the authors' 4 pairs: 8 * 1024)."""
    remat: Any
    """Of our step."""
    seed: int

    @property
    def model(self) -> ModelConfig:
        """Its rewards differ from 0 from the start, so that losses and gradients tell models apart."""
        return dataclasses.replace(
            SIZES[self.size],
            compute_dtype="float32" if self.device == "cpu" else "bfloat16",
            remat=self.remat,
            score_init_std=0.02,
        )


OPTIMIZER = OptimizerConfig(weight_decay_mask="all")


def draw_pairs(setup: Setup) -> list[TokenizedPair]:
    """Random tokens of realistic lengths, the pairs of a step after those of another.

    Each step has a pair of every class of lengths, so that steps are about equally long.
    """
    rng = np.random.default_rng(setup.seed)
    vocab = SIZES[setup.size].vocab_size
    lengths = draw_lengths(setup.step_pairs * setup.num_turns, MAX_LENGTH, setup.seed)
    classes = np.argsort(sum(lengths)).reshape(setup.step_pairs, setup.num_turns)
    steps = rng.permuted(rng.permuted(classes, axis=1).T, axis=1)
    pairs = []
    for i in steps.ravel():
        prompt, *responses = (rng.integers(1, vocab, column[i], np.int32) for column in lengths)
        chosen, rejected = (np.concatenate([prompt, response]) for response in responses)
        common = common_length(chosen, rejected)
        pairs.append(
            TokenizedPair(str(i), 0.0, chosen, rejected, (len(prompt), len(prompt)), common)
        )
    return pairs


def few_pairs(setup: Setup) -> list[TokenizedPair]:
    """Those that losses and gradients are compared on: few enough to fit one step in any layout."""
    return draw_pairs(setup)[: max(1, setup.step_pairs // 2)]


def useful(pairs: Sequence[TokenizedPair]) -> dict[str, int]:
    """USEFUL of these pairs."""
    *_, last = pack(
        ([pair] for pair in pairs), layout_of(DataConfig(max_length=MAX_LENGTH)), 0, new_state()
    )
    return {name: last.state[name] for name in USEFUL}


LOSSES = ("pair_loss", "lm_loss", "grad_norm")
Losses = dict[str, float]
"""LOSSES of a step."""


@dataclasses.dataclass(frozen=True)
class Contestant:
    """Steps that are prepared but for their way to the device."""

    device_kind: str
    version: str
    train: Callable[[Any], Losses]
    """Trains a step, to its end."""
    check: Any
    """The step of few_pairs."""
    turns: list[tuple[Any, dict[str, int]]]
    """Steps, each with its USEFUL."""
    peak_bytes: Callable[[], int]


def peak_rss() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def ours(
    setup: Setup,
    layout: Literal["padded", "packed", "shared"],
    loss: ObjectiveConfig = PmpConfig(),
    losses: Sequence[str] = LOSSES,
    prepared: Callable[[TokenizedPair], TokenizedPair] = lambda pair: pair,
) -> Contestant:
    """codepmp_jax's step in one of its layouts; `prepared` gives pairs what the loss needs with them."""
    import jax

    from codepmp_jax.devices import chips
    from codepmp_jax.devices.sharding import check_mesh, make_mesh
    from codepmp_jax.training import objectives
    from codepmp_jax.training import optimizer as optimizers
    from codepmp_jax.training.feed import to_devices
    from codepmp_jax.training.state import abstract_state, init_state
    from codepmp_jax.training.step import jit_train_step

    data = DataConfig(layout=layout, max_length=MAX_LENGTH)
    row_layout = objectives.build(TrainConfig(data=data, loss=loss)).layout()
    pairs = list(map(prepared, draw_pairs(setup)))
    rows = list(pack(([pair] for pair in pairs), row_layout, 0, new_state()))
    step_rows = len(rows) // setup.num_turns
    device, num_devices = jax.devices()[0], jax.device_count()
    # Of all devices, that is on a CPU of all cores.
    part_rows = (
        min(step_rows, setup.micro_tokens // row_layout.row_tokens) // num_devices * num_devices
    )
    assert part_rows > 0, "raise --step-pairs"
    parts = step_rows // part_rows
    step_rows = part_rows * parts
    chip = chips.chip_of(device.device_kind)
    config = TrainConfig(
        model=chips.resolve(setup.model, row_layout.config.max_length, chip),
        data=row_layout.config,
        loss=loss,
        optimizer=OPTIMIZER,
        mesh=MeshConfig(data=num_devices, fsdp=1),
        global_batch_rows=step_rows,
        accumulation_steps=parts,
        seed=setup.seed,
    )
    mesh = make_mesh(check_mesh(config.mesh, config.model, num_devices, part_rows=part_rows))
    optimizer = optimizers.build(config.optimizer, setup.num_turns)
    state = init_state(config, optimizer, mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(config, optimizer, mesh))
    options = chips.compiler_options(config, chip)
    step = jit_train_step(config, setup.num_turns, shardings, options)

    def stack(rows: Sequence[Batch]) -> Batch:
        return concatenate([*rows, row_layout.empty(step_rows - len(rows), 0)])

    def train(batch: Batch) -> Losses:
        nonlocal state
        with jax.set_mesh(mesh):
            state, metrics = step(state, to_devices(batch, mesh))
        jax.block_until_ready(state)
        return {name: float(metrics[name]) for name in losses}

    few = [
        packed.row
        for packed in pack(
            ([prepared(pair)] for pair in few_pairs(setup)), row_layout, 0, new_state()
        )
    ]
    assert len(few) <= step_rows, "raise --step-pairs"
    turns, before = [], dict.fromkeys(USEFUL, 0)
    for turn in range(setup.num_turns):
        group = rows[turn * step_rows : (turn + 1) * step_rows]
        counts = {name: group[-1].state[name] for name in USEFUL}
        done = {name: counts[name] - before[name] for name in USEFUL}
        turns.append((stack([packed.row for packed in group]), done))
        before = counts
    return Contestant(
        device_kind=device.device_kind,
        version=f"jax {jax.__version__}",
        train=train,
        check=stack(few),
        turns=turns,
        peak_bytes=lambda: (device.memory_stats() or {}).get("peak_bytes_in_use", peak_rss()),
    )


def in_torch(setup: Setup, name: str) -> Contestant:
    """A step of torch_step.py."""
    import torch
    from torch_step import AuthorsStep, PackedStep, Part

    from codepmp_jax.conversion.export import hf_tensors
    from codepmp_jax.models.preference import init_params

    torch.set_num_threads(os.cpu_count() or 1)
    model = setup.model
    tensors = hf_tensors(TrainConfig(model=model), init_params(model, setup.seed))
    on_gpu = setup.device == "gpu"
    options: dict[str, Any] = {
        "max_length": MAX_LENGTH,
        "device": torch.device("cuda" if on_gpu else "cpu"),
        "micro_tokens": setup.micro_tokens,
    }
    if name.startswith("authors"):
        step = AuthorsStep(model, OPTIMIZER, tensors, longest=name == "authors_longest", **options)
    else:
        compiled = name == "best_torch_compiled"
        step = PackedStep(model, OPTIMIZER, tensors, compiled=compiled, **options)

    def prepare(pairs: Sequence[TokenizedPair]) -> tuple[list[Part], int, int]:
        return step.parts(pairs), len(pairs), sum(pair.num_labels() for pair in pairs)

    pairs, size = draw_pairs(setup), setup.step_pairs
    steps = [pairs[i : i + size] for i in range(0, len(pairs), size)]
    return Contestant(
        device_kind=torch.cuda.get_device_name() if on_gpu else "cpu",
        version=f"torch {torch.__version__}",
        train=lambda prepared: step.step(*prepared),
        check=prepare(few_pairs(setup)),
        turns=[(prepare(group), useful(group)) for group in steps],
        peak_bytes=torch.cuda.max_memory_allocated if on_gpu else peak_rss,
    )


CONTESTANTS: dict[str, Callable[[Setup], Contestant]] = {
    "authors": lambda setup: in_torch(setup, "authors"),
    "authors_longest": lambda setup: in_torch(setup, "authors_longest"),
    "best_torch": lambda setup: in_torch(setup, "best_torch"),
    "best_torch_compiled": lambda setup: in_torch(setup, "best_torch_compiled"),
    "ours_padded": lambda setup: ours(setup, "padded"),
    "ours_packed": lambda setup: ours(setup, "packed"),
    "ours_shared": lambda setup: ours(setup, "shared"),
}


def serve(contestants: Mapping[str, Callable[[Setup], Contestant]]) -> None:
    """Answers until stdin ends, as the one of these that the command line names."""
    name, setup = sys.argv[1], Setup(**json.loads(sys.argv[2]))
    # What libraries print goes to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    contestant = contestants[name](setup)
    turns = iter(contestant.turns)
    answer(device_kind=contestant.device_kind, version=contestant.version)
    for line in sys.stdin:
        step, done = (contestant.check, {}) if line.strip() == "check" else next(turns)
        wall, cpu = time.perf_counter(), time.process_time()
        losses = contestant.train(step)
        answer(
            seconds=time.perf_counter() - wall,
            cpu_seconds=time.process_time() - cpu,
            peak_bytes=contestant.peak_bytes(),
            **losses,
            **done,
        )


if __name__ == "__main__":
    serve(CONTESTANTS)
