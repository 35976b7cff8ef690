import dataclasses

from codepmp_jax.aot.report import Report

FITS = Report(
    topology="v5e:2x2",
    num_slices=1,
    num_devices=4,
    mesh={"data": 1, "fsdp": 4},
    layout="shared",
    remat="full",
    attention="splash",
    accumulation_steps=1,
    rows_per_device=2,
    compiler_options={},
    fits=True,
    hbm_gib=15.75,
    compile_seconds=1.0,
    peak_hbm_gib=8.0,
    headroom=0.5,
    step_ms=1000.0,
    mfu_ceiling_useful=0.6,
    uncosted_gib=80.0,
    uncosted_ms=105.0,
    useful_flop_fraction=0.9,
    sync_layer_gathers=0,
    collective_gib=1.0,
    collective_ms=10.0,
    tokens_per_second_per_chip=10.0,
    computed_tflop=1.0,
)


def test_a_bound_stands_beside_what_to_expect():
    calibrated = dataclasses.replace(
        FITS, expected_ms=1400.0, expected_mfu_useful=0.6 / 1.4, calibrated_by="a run: its source"
    )
    text = calibrated.text()
    assert "1000.0 ms or more" in text
    assert "1400 ms, MFU 42.9%: 1.40 times the bound, as a run: its source" in text
    assert "80.0 GiB" in text
    assert "expected    not known" in FITS.text()


def test_a_step_is_told_apart_into_matmuls_and_the_rest():
    phases = {"forward": 300.0, "backward": 550.0, "attention": 50.0, "waiting": 100.0}
    costed = dataclasses.replace(FITS, phases_ms=phases, matmul_ms=800.0, matmul_rate=0.75)
    assert "800.0 ms at 75.0% of the peak, and 50.0 ms of other operations" in costed.text()
    # An earlier version's report.
    assert "matmuls" not in FITS.text()


def test_scratch_memory_is_not_reported_as_the_devices():
    short = dataclasses.replace(FITS, fits=False, short_of="VMEM", advice=["another limit"])
    text = short.text()
    assert "scratch memory (VMEM)" in text
    assert "GiB a device" not in text
    assert "another limit" in text
    assert "needs 8.00 GiB of 15.75" in dataclasses.replace(short, short_of="HBM").text()
