import pytest

from codepmp_jax.aot import hlo
from codepmp_jax.aot.replay import DCN_BANDWIDTH, KERNEL_EFFICIENCY, phase, replay
from codepmp_jax.devices.chips import Chip
from tests.aot.snippets import COLLECTIVES, HEADER, NESTED, SLICES

# A cycle is a second, and so is a byte.
CHIP = Chip("slow", (), peak_flops=1.0, clock=1.0, ici_bandwidth=1.0)


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


def test_kernels_run_at_an_assumed_share_of_the_peak():
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
    profile = replay(hlo.parse(text), CHIP, lambda *kernel: asked.append(kernel) or 8.0)
    assert asked == [("splash_fwd", ["bf16[2,128,128]{2,1,0}"])]
    assert profile.kernel_calls == {"splash_fwd": 1}
    assert profile.kernel_flops == 8
    assert profile.seconds == {"attention": pytest.approx(8 / KERNEL_EFFICIENCY)}


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
