"""What is read off programs that the TPU's compiler made, where the answer is known."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from codepmp_jax.aot import check as checks
from codepmp_jax.aot import hlo, topology
from codepmp_jax.aot.check import CompilerError, check
from codepmp_jax.aot.replay import replay
from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DataConfig, MeshConfig, ModelConfig, TrainConfig
from codepmp_jax.devices import sharding

LAYERS, ROWS, DIM = 6, 64, 512

# Two layers of every part of the real step, each device with two rows of 256 tokens.
CONFIG = TrainConfig(
    model=ModelConfig(
        vocab_size=1024,
        embed_dim=256,
        mlp_dim=512,
        num_layers=2,
        num_heads=2,
        num_kv_heads=1,
        head_dim=128,
    ),
    data=DataConfig(layout="shared", max_length=128),
    global_batch_rows=8,
    num_steps=10,
)


def test_a_program_that_is_known():
    """A loop over sharded matrices, each gathered for one matmul with the device's own rows."""
    chip, devices = topology.describe("v5e:2x2")
    mesh = sharding.make_mesh((1, 4, 1), devices)

    def abstract(shape, *axes):
        sharding = NamedSharding(mesh, PartitionSpec(*axes))
        return jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=sharding)

    @functools.partial(jax.jit, out_shardings=NamedSharding(mesh, PartitionSpec("fsdp")))
    def program(x, stack):
        def layer(x, w):
            w = jax.lax.with_sharding_constraint(w, NamedSharding(mesh, PartitionSpec()))
            return jax.nn.relu(x @ w), None

        return jax.lax.scan(layer, x, stack)[0]

    with jax.set_mesh(mesh):
        compiled = (
            program.trace(
                abstract((4 * ROWS, DIM), "fsdp"), abstract((LAYERS, DIM, DIM), None, "fsdp")
            )
            .lower()
            .compile()
        )
    text = compiled.as_text()
    assert text is not None
    profile = replay(hlo.parse(text), chip, lambda *_: 0.0)
    assert profile.flops == LAYERS * 2 * ROWS * DIM * DIM
    gathers = [c for c in profile.collectives if c.transfer.kind == "all-gather"]
    assert sum(c.times for c in gathers) == LAYERS
    moved = sum(c.times * c.transfer.num_bytes for c in gathers)
    assert moved == LAYERS * DIM * DIM * 2 * 3 / 4


# What is computed in several steps, too dear for a matmul to compute again for each of its tiles.
_TRANSCENDENTAL = {"exponential", "logistic", "tanh"}


def compile_real_step(name, **model):
    """The report of the real step, with these settings of the model, and its program."""
    compile_step, programs = checks.compile_step, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            checks,
            "compile_step",
            lambda *args: programs.append(compile_step(*args)) or programs[-1],
        )
        of_model = dataclasses.replace(CONFIG.model, **model)
        report = check(dataclasses.replace(CONFIG, model=of_model), name)
    return report, hlo.parse(programs[0].as_text())


@pytest.fixture(scope="module")
def compiled():
    """By slice the report of the real step, and its program; on v5p the MLP's hidden layer is written to memory."""
    return {
        "v5e:2x2": compile_real_step("v5e:2x2", mlp_hidden="fused"),
        "v5p:2x2x1": compile_real_step("v5p:2x2x1", mlp_hidden="materialized"),
    }


@pytest.fixture(scope="module")
def reports(compiled):
    return {name: report for name, (report, _) in compiled.items()}


def instructions(module):
    """(computation, instruction) of all of them."""
    return [(body, one) for body in module.computations.values() for one in body.values()]


def test_gradients_of_tables_are_reduced_into_their_shards(compiled):
    """The embedding's and the LM head's, once each and in bfloat16; all-reduces have only what is small."""
    model, table = CONFIG.model, CONFIG.model.vocab_size * CONFIG.model.embed_dim
    for _, module in compiled.values():
        for _, one in instructions(module):
            if one.opcode.startswith("all-reduce"):
                # As part of the layers' reduce-scatters, matrices of a layer.
                largest = max(map(math.prod, hlo.arrays(one.shape)), default=0)
                assert largest <= model.embed_dim * model.mlp_dim < table, one
        scattered = [
            one.shape
            for _, one in instructions(module)
            if one.opcode.startswith("reduce-scatter")
            and max(map(math.prod, hlo.arrays(one.shape))) == table // 4
        ]
        assert len(scattered) == 2
        assert all(shape.startswith("bf16") for shape in scattered)


def test_no_matmul_is_cut_in_pieces_around_its_collective(compiled):
    """What is left of loops: the layers forward and backward; labels come in one chunk."""
    for _, module in compiled.values():
        opcodes = [one.opcode for _, one in instructions(module)]
        assert opcodes.count("while") == 2
        assert not any(opcode.startswith("collective-permute") for opcode in opcodes)


@pytest.mark.parametrize(("name", "expected"), [("v5e:2x2", 2), ("v5p:2x2x1", 0)])
def test_matmuls_do_not_compute_their_inputs_again(name, expected, compiled):
    """Of the layers' matmuls, where it is `fused`, down and its weight's gradient compute the hidden layer."""
    _, module = compiled[name]

    def opcodes(body, instruction):
        """Of all that it depends on in its computation, the parts of fusions too."""
        found = {instruction.opcode, *(part.opcode for part in module.inside(instruction))}
        return found.union(*(opcodes(body, body[one]) for one in instruction.operands))

    dear = [
        one
        for body, one in instructions(module)
        if hlo.matmul_flops(body, one) >= 2 * 512 * 256 * 128
        and "lm_loss" not in one.op_name
        and opcodes(body, one) & _TRANSCENDENTAL
    ]
    assert len(dear) == expected, [one.op_name for one in dear]


def test_what_was_saved_is_not_copied_to_another_layout():
    """Of the MLP's hidden layer, on v6e, where copies of it took a seventh of the step of pmp_7b."""
    report, module = compile_real_step("v6e:2x2", remat="save_mlp_attention")
    saved = report.rows_per_device * 256 * CONFIG.model.mlp_dim
    sizes = [
        math.prod(shape)
        for _, one in instructions(module)
        if one.opcode == "copy"
        for shape in hlo.arrays(one.shape)
    ]
    assert sizes
    assert max(sizes) < saved


@pytest.mark.parametrize(
    ("name", "peak_gib", "collective_gib"),
    # A tenth above what was measured, so that a regression is seen.
    [("v5e:2x2", 0.017, 0.0083), ("v5p:2x2x1", 0.0135, 0.0083)],
)
def test_the_real_step(name, peak_gib, collective_gib, reports):
    report = reports[name]
    assert report.fits
    assert report.mesh == {"data": 1, "fsdp": 4, "tensor": 1}
    assert report.rows_per_device == 2
    assert 0 < report.peak_hbm_gib < peak_gib
    assert report.headroom == pytest.approx(1 - report.peak_hbm_gib / report.hbm_gib)
    # With remat `full`, each of two layers runs attention again in the backward pass.
    assert report.kernel_calls == {"flash_forward": 4, "flash_backward": 2}
    assert 0.5 < report.useful_flop_fraction < 1
    assert 0 < report.mfu_ceiling_useful < report.useful_flop_fraction
    assert report.step_ms == pytest.approx(sum(report.phases_ms.values()))
    assert report.phases_ms["waiting"] <= report.collective_ms
    assert 0 < report.collective_gib < collective_gib
    assert report.collective_gib == pytest.approx(sum(c["gib"] for c in report.collectives))


def test_several_padded_rows_a_device_compile():
    """Texts of several blocks: libtpu fails on some ways to take the blocks of a row apart."""
    config = dataclasses.replace(
        CONFIG,
        model=dataclasses.replace(CONFIG.model, num_layers=1, attention_block=128),
        data=DataConfig(layout="padded", max_length=256),
        global_batch_rows=16,
    )
    report = check(config, "v5e:2x2")
    assert (report.fits, report.rows_per_device) == (True, 4)


def test_between_slices_go_only_sums_of_gradients(reports):
    """Within a slice a device receives three quarters of the gradients, from the other its own quarter."""
    config = dataclasses.replace(
        CONFIG, mesh=MeshConfig(data=2, fsdp=4), global_batch_rows=2 * CONFIG.global_batch_rows
    )
    report = check(config, "v5e:2x2", num_slices=2)
    assert report.fits
    assert (report.num_devices, report.mesh) == (8, {"data": 2, "fsdp": 4, "tensor": 1})
    assert report.rows_per_device == reports["v5e:2x2"].rows_per_device

    def moved(kind, overlapped):
        """GiB that a device receives."""
        chosen = (c for c in report.collectives if c["kind"] == kind)
        return sum(c["gib"] for c in chosen if c["overlapped"] in overlapped)

    within, between = moved("reduce-scatter", (True, False)), moved("all-reduce", (True,))
    # What is small, and replicated, is summed over all devices at once: norms, biases, numbers.
    assert moved("all-reduce", (False,)) < 0.03 * between
    assert between == pytest.approx(within / 3, rel=0.06)


@pytest.mark.parametrize("name", ["v5e:2x2", "v5p:2x2x1"])
def test_what_the_real_step_computes(name, reports):
    """By hand, for a device's two rows of 256 tokens with places for 128 labels."""
    tokens, labels = 2 * 256, 2 * 128
    down = 2 * 256 * 512 * tokens
    layer = 2 * 256 * (2 * 256 + 2 * 128) * tokens + 3 * down
    # Forward, again for the backward pass but for the last matmul, and twice in that pass.
    layers = 2 * (4 * layer - down)
    # Logits are computed again too.
    head = 4 * 2 * 256 * 1024 * labels
    # A row is two blocks of scores, both needed. Twice 2 matmuls over them, then 5.
    attention = 2 * 2 * (2 + 2 + 5) * 2 * tokens * 256 * 128
    # Three heads are rotated, three times, each by a matmul of its own.
    rotations = 2 * 3 * 3 * 2 * 128 * 128 * tokens
    computed = reports[name].computed_tflop * 1e12
    assert computed == pytest.approx(layers + head + attention + rotations, rel=1e-3)


def test_gathers_that_nothing_hides_are_counted(reports):
    """Without v5p's options every matrix is gathered before it is used: 7 of a layer forward, and backward one
    of them a second time."""
    chip, _ = topology.describe("v5p:2x2x1")
    off = tuple(f"{name}=false" for name, on in chip.compiler_options.items() if on == "true")
    plain = check(dataclasses.replace(CONFIG, compiler_options=off), "v5p:2x2x1")
    assert plain.sync_layer_gathers == 2 * (7 + 8)
    for report in reports.values():
        assert report.sync_layer_gathers <= 2 * 3


def test_a_step_that_does_not_fit_says_what_it_needs_and_what_to_change():
    large = dataclasses.replace(
        CONFIG,
        model=dataclasses.replace(CONFIG.model, remat="none"),
        global_batch_rows=2**17,
    )
    report = check(large, "v5e:2x2")
    assert not report.fits
    assert report.hbm_gib == 15.75
    assert report.peak_hbm_gib is not None
    assert report.peak_hbm_gib > 15.75
    assert "15.75G" in report.compiler_says
    assert "--model.remat full" in report.advice
    assert "--accumulation-steps 2" in report.advice
    text = report.text()
    assert f"NO: needs {report.peak_hbm_gib:.2f} GiB of 15.75 GiB" in text
    assert "--accumulation-steps 2" in text


def test_a_batch_in_parts_compiles_where_fsdp_is_the_whole_slice():
    parts = dataclasses.replace(CONFIG, accumulation_steps=2)
    report = check(parts, "v5e:2x2")
    assert report.fits
    assert report.mesh["fsdp"] == report.num_devices


def test_a_compiler_that_breaks_down_is_one_error(monkeypatch):
    def broken(*_):
        raise jax.errors.JaxRuntimeError("INTERNAL: RET_CHECK failure (some_pass.cc:1)\n\nstack")

    monkeypatch.setattr(checks, "compile_step", broken)
    with pytest.raises(CompilerError, match=r"failed: INTERNAL: .*\(some_pass.cc:1\)\. Remedy: "):
        check(CONFIG, "v5e:2x2")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("v5p-128", "v5p:"), ("v5e:3x3", "v5e:"), ("V6E", "v6e:"), ("h100:2x2", "v5e:2x2")],
)
def test_an_unknown_topology_names_the_nearest(name, nearest):
    with pytest.raises(UserError, match=r"topology = .*no such slice.*Remedy: ") as error:
        topology.describe(name)
    assert nearest in str(error.value)


def test_only_a_refused_name_is_an_unknown_topology(monkeypatch):
    def locked(*args, **kwargs):
        raise jax.errors.JaxRuntimeError("ABORTED: Internal error when accessing libtpu lockfile.")

    monkeypatch.setattr(topology.topologies, "get_topology_desc", locked)
    with pytest.raises(UserError, match=r"libtpu does not start: ABORTED.*Remedy: ") as error:
        topology.describe("v5e:2x2")
    assert "no such slice" not in str(error.value)


def test_mistakes_are_found_before_anything_is_compiled():
    with pytest.raises(UserError, match=r"mesh \(data, fsdp, tensor\) = \(1, 3, 1\)"):
        check(dataclasses.replace(CONFIG, mesh=MeshConfig(fsdp=3)), "v5e:2x2")
    blocked = dataclasses.replace(CONFIG.model, attention="blocked")
    with pytest.raises(UserError, match=r"model\.attention = 'blocked'"):
        check(dataclasses.replace(CONFIG, model=blocked), "v5e:2x2")


def test_an_option_that_the_compiler_does_not_know_is_named():
    config = dataclasses.replace(CONFIG, compiler_options=("xla_tpu_nonsense=1",))
    with pytest.raises(UserError, match=r"compiler_options = .*xla_tpu_nonsense.*Remedy: "):
        check(config, "v5e:2x2")
