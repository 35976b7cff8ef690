import dataclasses

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import ModelConfig, TrainConfig
from codepmp_jax.devices import chips


def test_every_device_kind_names_one_chip():
    kinds = [kind for chip in chips.CHIPS.values() for kind in chip.device_kinds]
    assert len(kinds) == len(set(kinds))
    for chip in chips.CHIPS.values():
        assert all(chips.chip_of(kind) is chip for kind in chip.device_kinds)
    assert chips.chip_of("TPU v5 lite").name == "v5e"
    assert chips.chip_of("TPU v5").name == "v5p"


def test_an_unknown_device_has_no_peak_and_attention_that_runs_anywhere():
    chip = chips.chip_of("Abacus 3000")
    assert (chip.peak_flops, chip.attention, dict(chip.compiler_options)) == (None, "xla", {})


def test_a_gpu_of_another_name_runs_as_its_compute_capability_with_rates_unknown():
    chip = chips.chip_of("NVIDIA H100 NVL", "9.0")
    assert (chip.attention, chip.attention_block) == ("xla", 64)
    assert (chip.peak_flops, chip.hbm_gib, chip.hbm_bandwidth) == (None, None, None)
    assert chips.chip_of("NVIDIA H200", "9.0").peak_flops == 989e12
    assert chips.chip_of("NVIDIA GeForce RTX 4090", "8.9").attention == "xla"


def test_resolve_fills_what_is_left_open_and_nothing_else():
    resolved = chips.resolve(ModelConfig(), 1024, chips.CHIPS["v5p"])
    assert (resolved.attention, resolved.attention_block) == ("flash", None)
    assert resolved.mlp_hidden == "fused"
    assert chips.resolve(ModelConfig(), 1024, chips.CHIPS["v6e"]).mlp_hidden == "materialized"
    chosen = ModelConfig(attention="xla", attention_block=256, mlp_hidden="materialized")
    assert chips.resolve(chosen, 1024, chips.CHIPS["v5p"]) == chosen


CAPPED = ModelConfig(family="gemma2", attention_soft_cap=50.0)
SLIDING = ModelConfig(family="mistral", sliding_window=100)


@pytest.mark.parametrize("model", [CAPPED, SLIDING], ids=["capped", "sliding"])
def test_the_kernels_for_gpus_are_refused_where_they_lack_what_the_model_has(model):
    for chip in ("h100", "v5p"):
        assert chips.resolve(model, 101, chips.CHIPS[chip]).attention in ("xla", "flash")
    asked = dataclasses.replace(model, attention="pallas_gpu")
    with pytest.raises(
        UserError, match=r"model\.attention = 'pallas_gpu': supports neither .*Remedy: "
    ):
        chips.resolve(asked, 101, chips.CHIPS["h100"])


def test_a_window_that_no_text_leaves_changes_nothing():
    asked = dataclasses.replace(SLIDING, attention="pallas_gpu")
    assert chips.resolve(asked, 100, chips.CHIPS["h100"]).attention == "pallas_gpu"


def test_options_of_the_config_go_over_the_chips():
    chip = chips.CHIPS["v5p"]
    assert chips.compiler_options(TrainConfig(), chip) == chip.compiler_options
    name = next(iter(chip.compiler_options))
    config = TrainConfig(compiler_options=(f"{name}=false", "xla_new=a=b"))
    merged = chips.compiler_options(config, chip)
    assert merged == {**chip.compiler_options, name: "false", "xla_new": "a=b"}
    assert chip.compiler_options[name] == "true"


@pytest.mark.parametrize("option", ["xla_flag", "--xla_flag=1", "flag=1", "xla_a=1 xla_b=2"])
def test_an_option_of_another_form_is_refused(option):
    with pytest.raises(UserError, match=r"compiler_options\.0 = .*must be NAME=VALUE.*Remedy: "):
        TrainConfig(compiler_options=(option,))


def test_several_slices_have_options_of_their_own():
    chip = chips.CHIPS["v5e"]
    alone, together = (chips.compiler_options(TrainConfig(), chip, slices) for slices in (1, 2))
    assert alone == chip.compiler_options
    assert together["xla_tpu_enable_data_parallel_all_reduce_opt"] == "true"
    own = TrainConfig(compiler_options=("xla_tpu_enable_data_parallel_all_reduce_opt=false",))
    assert (
        chips.compiler_options(own, chip, 2)["xla_tpu_enable_data_parallel_all_reduce_opt"]
        == "false"
    )


@pytest.mark.parametrize(("name", "has_pass"), [("v5e", False), ("h100", True), ("cpu", True)])
def test_a_batch_in_parts_leaves_out_a_pass_on_tpus(name, has_pass):
    chip = chips.CHIPS[name]
    whole, parts = (
        chips.compiler_options(TrainConfig(accumulation_steps=number), chip) for number in (1, 2)
    )
    assert "xla_disable_hlo_passes" not in whole
    assert ("xla_disable_hlo_passes" not in parts) == has_pass


@pytest.mark.parametrize("kind", ["all_gather", "reduce_scatter", "all_reduce"])
def test_a_kind_of_collective_is_offloaded_or_fused(kind):
    """Both at once contradict each other, and offloading takes the SparseCores' own options."""
    for chip in chips.CHIPS.values():
        options = chip.compiler_options
        if f"xla_tpu_enable_sparse_core_collective_offload_{kind}" in options:
            assert options[f"xla_tpu_enable_async_collective_fusion_fuse_{kind}"] == "false"
            assert options["xla_sc_disable_megacore_partitioning"] == "true"


def test_flags_of_libtpu_are_added_to_those_that_are_given():
    added = chips.libtpu_init_args("--xla_a=1 --xla_sc_disjoint_spmem=true").split()
    assert added[:2] == ["--xla_a=1", "--xla_sc_disjoint_spmem=true"]
    assert added[2:] == ["--megascale_grpc_premap_memory_bytes=17179869184"]
    assert chips.libtpu_init_args(" ".join(added)).split() == added


def test_every_option_of_every_chip_is_shown():
    lines = chips.describe_options()
    for chip in chips.CHIPS.values():
        for option, value in chip.compiler_options.items():
            assert f"  {chip.name}: {option}={value}" in lines
    assert any(line.startswith("  TPUs, accumulation_steps > 1: xla_disable") for line in lines)
    assert "  several slices: xla_tpu_enable_megascale_barrier=true" in lines
    assert "  --xla_sc_disjoint_spmem=false" in lines
