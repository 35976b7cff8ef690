import dataclasses

import pytest

from codepmp_jax.aot import hlo
from codepmp_jax.aot.replay import DCN_BANDWIDTH, phase, replay
from codepmp_jax.devices.chips import Chip
from tests.aot.snippets import COLLECTIVES, HEADER, NESTED, SLICES

# A cycle is a second, and so is a byte.
CHIP = Chip("slow", (), peak_flops=1e9, clock=1.0, ici_bandwidth=1.0)


def no_kernels(name, operands):
    raise AssertionError(name)


def run(text, chip=CHIP):
    return replay(hlo.parse(text), chip, no_kernels)


def test_cycles_and_flops_count_as_often_as_loops_run():
    profile = run(NESTED)
    assert profile.seconds == {"forward": 3 * 7, "backward": 3 * 5 * 100}
    assert profile.flops == 3 * (2 * 4 * 16 * 8 + 5 * 2 * 4 * 8 * 8)
    assert not profile.collectives


def test_collectives_and_what_hides_them():
    profile = run(COLLECTIVES)
    shown = [
        (c.transfer.kind, c.transfer.num_bytes, c.times, c.overlapped) for c in profile.collectives
    ]
    assert shown == [
        ("all-reduce", 1799, 1, False),
        ("all-gather", 3072, 3, False),  # a plain operation
        ("all-gather", 3072, 3, True),  # a fusion computes beside it
        ("all-gather", 3072, 3, False),  # awaited at once
        ("reduce-scatter", 768, 3, False),  # an all-reduce fused with its slice
        ("collective-permute", 1024, 3, True),  # a copy runs beside it
    ]
    # What is computed meanwhile, 1000 and 500 cycles, hides as much of the transfers.
    waiting = 1799 + 3 * (3072 + (3072 - 1000) + 3072 + 768 + (1024 - 500))
    assert profile.seconds == {"waiting": waiting, "forward": 3000, "optimizer": 1500}


def test_transfers_that_take_less_than_the_work_cost_nothing():
    fast = Chip("fast", (), peak_flops=1.0, clock=1.0, ici_bandwidth=10.0)
    profile = run(COLLECTIVES, fast)
    # Only what nothing is computed beside.
    assert profile.seconds["waiting"] == pytest.approx((1799 + 3 * (3072 + 3072 + 768)) / 10)


def test_transfers_between_slices_have_a_network_of_their_own():
    """Cycles as short as the network between slices is fast, so that the copy hides a part of the transfer."""
    chip = Chip("fast", (), peak_flops=1.0, clock=DCN_BANDWIDTH, ici_bandwidth=1.0)
    profile = run(SLICES, chip)
    (collective,) = profile.collectives
    assert collective.overlapped
    assert collective.seconds == 1024 / DCN_BANDWIDTH
    assert profile.seconds["waiting"] * DCN_BANDWIDTH == pytest.approx(1024 - 500)


def test_a_collective_carried_through_a_loop_counts_once():
    text = (
        HEADER
        + """\
%held (p: bf16[2,256]) -> bf16[8,256] {
  %p = bf16[2,256]{1,0} parameter(0)
  ROOT %g = bf16[8,256]{1,0} all-gather(%p), channel_id=1, replica_groups=[2,4]<=[8], dimensions={0}
}

%start (p1: bf16[2,256]) -> bf16[8,256] {
  %p1 = bf16[2,256]{1,0} parameter(0)
  %g1 = bf16[8,256]{1,0} all-gather(%p1), channel_id=1, replica_groups=[2,4]<=[8], dimensions={0}
  ROOT %s = bf16[8,256]{1,0} custom-call(%g1), custom_call_target="AsyncCollectiveStart"
}

%end (p2: bf16[2,256]) -> bf16[8,256] {
  %p2 = bf16[2,256]{1,0} parameter(0)
  %g2 = bf16[8,256]{1,0} all-gather(%p2), channel_id=1, replica_groups=[2,4]<=[8], dimensions={0}
  ROOT %e = bf16[8,256]{1,0} custom-call(%g2), custom_call_target="AsyncCollectiveDone"
}

%condition (c: (s32[], bf16[2,256])) -> pred[] {
  %trips = s32[] constant(4)
  %c = (s32[], bf16[2,256]{1,0}) parameter(0)
  %k = s32[] get-tuple-element(%c), index=0
  ROOT %more = pred[] compare(%k, %trips), direction=LT
}

%body (d: (s32[], bf16[2,256])) -> (s32[], bf16[2,256]) {
  %d = (s32[], bf16[2,256]{1,0}) parameter(0)
  %l = s32[] get-tuple-element(%d), index=0
  %v = bf16[2,256]{1,0} get-tuple-element(%d), index=1
  %work = bf16[8,256]{1,0} fusion(%v), kind=kOutput, calls=%held, metadata={op_name="jit(step)/jvp()/dot"}, backend_config={"estimated_cycles":"700"}
  ROOT %again = (s32[], bf16[2,256]{1,0}) tuple(%l, %v)
}

ENTRY %main (arg: bf16[2,256]) -> (s32[], bf16[2,256]) {
  %arg = bf16[2,256]{1,0} parameter(0)
  %zero = s32[] constant(0)
  %begin = bf16[8,256]{1,0} fusion(%arg), kind=kCustom, calls=%start
  %first = (s32[], bf16[2,256]{1,0}) tuple(%zero, %arg)
  %loop = (s32[], bf16[2,256]{1,0}) while(%first), condition=%condition, body=%body
  %finish = bf16[8,256]{1,0} fusion(%arg), kind=kCustom, calls=%end
  ROOT %out = (s32[], bf16[2,256]{1,0}) tuple(%zero, %arg)
}
"""
    )
    profile = run(text)
    (gather,) = profile.collectives
    assert (gather.times, gather.overlapped) == (1, True)
    assert profile.seconds == {"forward": 2800, "waiting": 3072 - 2800}
    assert not profile.matmul_seconds


def test_no_matmul_is_faster_than_the_peak():
    """Of a FLOP a second; the compiler's own estimates are 7 and 100 cycles of a second."""
    profile = run(NESTED, dataclasses.replace(CHIP, peak_flops=1.0))
    assert profile.seconds == {"forward": 3 * 2 * 4 * 16 * 8, "backward": 3 * 5 * 2 * 4 * 8 * 8}
    assert profile.matmul_seconds == profile.flops


@pytest.mark.parametrize(("peak_int8", "seconds"), [(None, 7680), (4.0, 1920)])
def test_int8_has_a_peak_of_its_own(peak_int8, seconds):
    """Where both inputs are int8."""
    whole = NESTED
    for name in ("%x = ", "%w = "):
        assert whole.count(name + "bf16[4,8]") + whole.count(name + "bf16[8,8]") == 1
        whole = whole.replace(name + "bf16", name + "s8")
    chip = dataclasses.replace(CHIP, peak_flops=1.0, peak_int8=peak_int8, clock=1e9)
    assert run(whole, chip).seconds["backward"] == seconds
    half = NESTED.replace("%x = bf16", "%x = s8")
    assert run(half, chip).seconds["backward"] == 7680


# A megabyte under way when a small sum, which everything waits for, is asked for.
_SHARED_LINK = (
    HEADER
    + """\
ENTRY %main (arg: bf16[1024,512], x: f32[2]) -> bf16[1024,512] {
  %arg = bf16[1024,512]{1,0} parameter(0)
  %x = f32[2]{0} parameter(1)
  %collective-permute-start.1 = (bf16[1024,512]{1,0}, bf16[1024,512]{1,0}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%arg), channel_id=1, source_target_pairs={{0,1},{1,0}}
  %all-reduce.1 = f32[2]{0} all-reduce(%x), channel_id=2, replica_groups={{0,1}}, to_apply=%add
  ROOT %collective-permute-done.1 = bf16[1024,512]{1,0} collective-permute-done(%collective-permute-start.1)
}
"""
)


def test_a_small_transfer_does_not_wait_for_a_large_one_under_way():
    """They share the network: the small one takes twice its own time, and all of it together as long as both."""
    profile = run(_SHARED_LINK)
    large, small = (c.seconds for c in profile.collectives)
    assert (large, small) == (2**20, 8)
    assert profile.seconds["waiting"] == pytest.approx(large + small)
    small_alone = run(_SHARED_LINK.replace("collective-permute-done(%coll", "bitcast(%coll"))
    assert small_alone.seconds["waiting"] == pytest.approx(2 * small)


def test_a_transfer_over_several_axes_is_so_much_faster():
    """All-reduces say it by colors, gathers by the name of the way that they take, in a fusion that holds them too."""
    config = ', backend_config={"collective_algorithm_config":{"emitter":"%s","debug":"%s"}}'
    nd = _SHARED_LINK.replace(
        "to_apply=%add", "to_apply=%add" + config % ("Pincer", "StrategyND{colors:2 phases:2}")
    )
    assert run(nd).collectives[1].seconds == 4
    both = nd.replace("StrategyND{colors:2", "UniDirectionNDRingStrategy{colors:4")
    assert run(both).collectives[1].seconds == 4
    gathers = COLLECTIVES.replace(
        "dimensions={0}, metadata",
        "dimensions={0}" + config % ("3DAllGatherOnMajorDim", "") + ", metadata",
    )
    assert [c.seconds for c in run(gathers).collectives][1] == 3072 / 3
    fused = COLLECTIVES.replace(
        "calls=%all-reduce-scatter.1",
        "calls=%all-reduce-scatter.1" + config % ("Fusion", "StrategyRing{colors:3}"),
    )
    assert [c.seconds for c in run(fused).collectives][4] == 768 / 3


def test_transfers_along_a_line_that_is_no_ring_are_slower():
    line = [(place, 0, 0) for place in range(8)]
    chip = dataclasses.replace(CHIP, ring_length=16)
    profile = replay(hlo.parse(COLLECTIVES), chip, no_kernels, line)
    plain = run(COLLECTIVES, chip)
    for slow, fast in zip(profile.collectives[:5], plain.collectives, strict=False):
        assert slow.seconds == 2 * fast.seconds


def test_what_has_no_cycles_is_counted_in_bytes():
    """A prefetch, a scatter of two rows, and a reshape that moves data; what only renames memory moves nothing."""
    text = (
        HEADER
        + """\
ENTRY %main (table: f32[100,8], rows: f32[2,8], index: s32[2]) -> f32[10,80] {
  %table = f32[100,8]{1,0} parameter(0)
  %rows = f32[2,8]{1,0} parameter(1)
  %index = s32[2]{0} parameter(2)
  %copy-start.1 = (f32[2,8]{1,0:S(1)}, f32[2,8]{1,0}, u32[]{:S(2)}) copy-start(%rows)
  %copy-done.1 = f32[2,8]{1,0:S(1)} copy-done(%copy-start.1)
  %slice-start.1 = ((f32[100,8]{1,0}), f32[10,8]{1,0:S(1)}, s32[]{:S(2)}) slice-start(%table), slice={[0:10], [0:8]}
  %slice-done.1 = f32[10,8]{1,0:S(1)} slice-done(%slice-start.1)
  %scatter.1 = f32[100,8]{1,0} scatter(%table, %index, %rows), to_apply=%add
  %bitcast.1 = f32[100,8]{1,0} bitcast(%scatter.1)
  %room = f32[100,8]{1,0} custom-call(), custom_call_target="AllocateBuffer"
  ROOT %reshape.1 = f32[10,80]{1,0} reshape(%bitcast.1)
}
"""
    )
    profile = run(text)
    assert profile.uncosted_bytes == 64 + 320 + 3 * 64 + 2 * 3200
    assert not profile.seconds


def test_kernels_run_at_a_share_of_the_peak():
    text = (
        HEADER
        + """\
ENTRY %main (arg: bf16[2,128,128]) -> bf16[2,128,128] {
  %arg = bf16[2,128,128]{2,1,0} parameter(0)
  ROOT %splash_fwd.7 = bf16[2,128,128]{2,1,0} custom-call(%arg), custom_call_target="tpu_custom_call"
}
"""
    )
    asked = []
    chip = dataclasses.replace(CHIP, kernel_efficiency={"_dq": 0.7, "_fwd": 0.5})
    profile = replay(hlo.parse(text), chip, lambda *kernel: asked.append(kernel) or 8.0)
    assert asked == [("splash_fwd", ["bf16[2,128,128]{2,1,0}"])]
    assert profile.kernel_calls == {"splash_fwd": 1}
    assert profile.kernel_flops == 8
    assert profile.seconds == {"attention": pytest.approx(8 / (0.5 * 1e9))}


@pytest.mark.parametrize(
    ("op_name", "expected"),
    [
        ("", "other"),
        ("jit(step)/jvp()/while/body/dot_general", "forward"),
        ("jit(step)/transpose(jvp())/while/body/checkpoint/dot_general", "backward"),
        ("jit(step)/transpose(jvp())/checkpoint/rematted_computation/mul", "recompute"),
        ("jit(step)/transpose(jvp(lm_loss))/checkpoint/rematted_computation/mul", "lm_loss"),
        ("jit(step)/add", "optimizer"),
    ],
)
def test_phases(op_name, expected):
    assert phase(op_name) == expected
