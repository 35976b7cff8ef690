import pytest

from codepmp_jax.aot import collectives, hlo
from tests.aot.snippets import COLLECTIVES, HEADER, SLICES


@pytest.fixture(scope="module")
def module():
    return hlo.parse(COLLECTIVES)


def read(module, name):
    (body,) = (body for body in module.computations.values() if name in body)
    return collectives.transfer(module, body, body[name])


def moved(module, name):
    """The collective that there is."""
    found = read(module, name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "kind", "num_bytes"),
    [
        # 1024 bytes a device, in groups of 4: three others' are received.
        ("plain", "all-gather", 3 * 1024),
        ("async-collective-start", "all-gather", 3 * 1024),
        ("call-start.1", "all-gather", 3 * 1024),
        ("fusion.1", "reduce-scatter", 3 / 4 * 1024),
        ("collective-permute-start.1", "collective-permute", 1024),
        # Over all 8 devices, of an array and a number.
        ("all-reduce.2", "all-reduce", 2 * 7 / 8 * (1024 + 4)),
    ],
)
def test_what_a_device_receives(module, name, kind, num_bytes):
    found = moved(module, name)
    assert (found.kind, found.num_bytes) == (kind, num_bytes)


def test_other_instructions_move_nothing(module):
    assert read(module, "copy") is None
    assert read(module, "loop") is None


@pytest.mark.parametrize(
    ("written", "group"),
    [
        ("replica_groups={{0,2,4},{1,3,5}}, x=1", (0, 2, 4)),
        ("replica_groups=[2,4]<=[8], x=1", (0, 1, 2, 3)),
        ("replica_groups=[2,3]<=[3,2]T(1,0)", (0, 2, 4)),
        ("replica_groups=mesh['a'=2,'b'=3] {'a'}, x=1", (0, 3)),
        ("replica_groups=mesh['a'=2,'b'=3], device_ids=([3,2]T(1,0)) {'b'}", (0, 2, 4)),
        ("replica_groups=mesh['a'=2,'b'=3] {'a','b'}", (0, 1, 2, 3, 4, 5)),
        ("replica_groups=mesh['a'=12,'b'=5] {'a':(2)3}", (0, 10, 20)),
        ("replica_groups=mesh['a'=12,'b'=5] {'a':(2)2,'b'}", (*range(5), *range(15, 20))),
    ],
)
def test_groups_in_every_notation(written, group):
    """An all-gather over n devices receives n - 1 arrays of what a device holds."""
    text = (
        HEADER
        + f"""\
ENTRY %main (x: bf16[5]) -> bf16[5] {{
  %x = bf16[5]{{0}} parameter(0)
  ROOT %g = bf16[5]{{0}} all-gather(%x), channel_id=1, {written}
}}
"""
    )
    found = moved(hlo.parse(text), "g")
    assert found.group == group
    assert found.num_bytes == 10 * (len(group) - 1)


def test_between_slices():
    module = hlo.parse(SLICES)
    found = moved(module, "send.1")
    assert (found.kind, found.network, found.num_bytes) == ("all-reduce", "dcn", 1024)
    assert read(module, "recv.1") is None
    (body,) = (body for body in module.computations.values() if "send.1" in body)
    assert collectives.rendezvous(body["send.1"]) == collectives.rendezvous(body["recv.1"])


def test_copies_to_the_host():
    """A slice of 4 x 8 numbers of 2 bytes, into the host's memory (space 5) and back; a copy within the device."""
    text = (
        HEADER
        + """\
ENTRY %main (stack: bf16[28,4,8], x: bf16[1,4,8]) -> bf16[1,4,8] {
  %stack = bf16[28,4,8]{2,1,0:S(5)} parameter(0)
  %x = bf16[1,4,8]{2,1,0} parameter(1)
  %zero = s32[] constant(0)
  %out = ((bf16[28,4,8]{2,1,0:S(5)}, bf16[1,4,8]{2,1,0}, s32[]), bf16[28,4,8]{2,1,0:S(5)}, u32[]{:S(2)}) dynamic-update-slice-start(%stack, %x, %zero)
  %kept = bf16[28,4,8]{2,1,0:S(5)} dynamic-update-slice-done(%out)
  %in = ((bf16[28,4,8]{2,1,0:S(5)}, s32[]), bf16[1,4,8]{2,1,0}, u32[]{:S(2)}) dynamic-slice-start(%kept, %zero)
  ROOT %back = bf16[1,4,8]{2,1,0} dynamic-slice-done(%in)
  %near = (bf16[1,4,8]{2,1,0:S(1)}, bf16[1,4,8]{2,1,0}, u32[]{:S(2)}) copy-start(%x)
}
"""
    )
    module = hlo.parse(text)
    for name in ("out", "in"):
        found = moved(module, name)
        assert (found.kind, found.network, found.num_bytes) == ("host", "host", 64)
    assert read(module, "near") is None


def test_beginnings_and_ends(module):
    (body,) = (body for body in module.computations.values() if "plain" in body)
    begun = {name for name, one in body.items() if collectives.begins(module, one)}
    assert begun == {"async-collective-start", "call-start.1", "collective-permute-start.1"}
    ended = {name for name, one in body.items() if collectives.ends(module, one)}
    assert ended == {"async-collective-done", "call-done.1", "collective-permute-done.1"}
