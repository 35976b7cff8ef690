import pytest

from codepmp_jax.aot import hlo
from tests.aot.snippets import NESTED


def find(module, name):
    """(body, instruction) of that name."""
    (body,) = (body for body in module.computations.values() if name in body)
    return body, body[name]


def test_instructions_are_read_whole():
    module = hlo.parse(NESTED)
    assert module.entry == "main"
    _, fusion = find(module, "fusion")
    assert fusion.opcode == "fusion"
    assert fusion.operands == ("y", "w8")
    assert fusion.called == ["fused_dot"]
    assert fusion.cycles == 100
    assert fusion.op_name == "jit(step)/transpose(jvp())/while/body/dot_general"
    _, root = find(module, "next")
    assert root.opcode == "tuple"
    assert root.operands == ("n1", "fusion")
    assert module.roots["inner"] is root
    assert hlo.arrays(root.shape) == [(), (4, 8)]
    assert [part.name for part in module.inside(fusion)] == ["x", "w", "conv"]


def test_trip_counts_are_read_from_conditions_and_what_they_call():
    module = hlo.parse(NESTED)
    assert hlo.trip_count(module, *find(module, "while.1")) == 5
    assert hlo.trip_count(module, *find(module, "while.2")) == 3


@pytest.mark.parametrize(
    ("start", "step", "bound", "trips"), [(0, 1, 8, 8), (0, 2, 8, 4), (1, 1, 8, 7), (1, 3, 9, 3)]
)
def test_loops_count_from_their_start_by_their_step(start, step, bound, trips):
    text = f"""\
%condition (c: (f32[], u32[])) -> pred[] {{
  %bound = u32[]{{:T(128)}} constant({bound})
  %c = (f32[], u32[]{{:T(128)}}) parameter(0)
  %k = u32[]{{:T(128)}} get-tuple-element(%c), index=1
  ROOT %more = pred[] compare(%k, %bound), direction=LT
}}

%body (d: (f32[], u32[])) -> (f32[], u32[]) {{
  %seven = u32[]{{:T(128)}} constant(7)
  %step = u32[]{{:T(128)}} constant({step})
  %d = (f32[], u32[]{{:T(128)}}) parameter(0)
  %x = f32[] get-tuple-element(%d), index=0
  %i = u32[]{{:T(128)}} get-tuple-element(%d), index=1
  %other = u32[]{{:T(128)}} add(%i, %seven)
  %next = u32[]{{:T(128)}} add(%i, %step)
  ROOT %again = (f32[], u32[]{{:T(128)}}) tuple(%x, %next)
}}

ENTRY %main (arg: f32[]) -> (f32[], u32[]) {{
  %arg = f32[] parameter(0)
  %start = u32[]{{:T(128)}} constant({start})
  %first = (f32[], u32[]{{:T(128)}}) tuple(%arg, %start)
  ROOT %loop = (f32[], u32[]{{:T(128)}}) while(%first), condition=%condition, body=%body
}}
"""
    module = hlo.parse(text)
    assert hlo.trip_count(module, *find(module, "loop")) == trips


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("f32[]{:T(128)}", 4),
        ("bf16[4,8]{1,0:T(8,128)(2,1)S(1)}", 64),
        ("(s32[]{:T(128)}, bf16[4,8]{1,0}, /*index=2*/pred[3])", 4 + 64 + 3),
        ("s4[6]", 3),
        ("f8e4m3fn[5]", 5),
        ("token[]", 0),
    ],
)
def test_bytes(shape, expected):
    assert hlo.num_bytes(shape) == expected


def flops(left, right, out, attributes):
    body = {
        name: hlo.Instruction(name, shape, "parameter", (), "", "")
        for name, shape in (("l", left), ("r", right))
    }
    return hlo.matmul_flops(
        body, hlo.Instruction("c", out, "convolution", ("l", "r"), "", attributes)
    )


def test_matmul_flops():
    module = hlo.parse(NESTED)
    assert hlo.matmul_flops(*find(module, "dot")) == 2 * 4 * 16 * 8
    assert hlo.matmul_flops(*find(module, "conv")) == 2 * 4 * 8 * 8
    assert hlo.matmul_flops(*find(module, "dot")[:1], find(module, "zero")[1]) == 0
    # Heads on their own, [5, 7] @ [4, 7, 11]: a window of 4 over 1 place and padding, of which one falls on data.
    heads = "window={size=1x4 pad=0_0x3_3 rhs_reversal=0x1}, dim_labels=0bf1_i1o0->0b1f"
    assert flops("bf16[1,5,7,1]", "bf16[7,4,11,1]", "bf16[1,5,4,11]", heads) == 2 * 5 * 7 * 4 * 11
    # Heads and their width contracted together: [4, 7, 5] @ [4, 7, 11].
    both = "window={size=4}, dim_labels=0fb_0io->bf0"
    assert flops("bf16[4,7,5]", "bf16[4,7,11]", "bf16[5,11,1]", both) == 2 * 5 * 4 * 7 * 11
    # Every third place of the left side is data: of 7 places of the window's one element, 3.
    dilated = "window={size=1 lhs_dilate=3}, dim_labels=b0f_0io->b0f"
    assert flops("bf16[2,3,5]", "bf16[1,5,11]", "bf16[2,7,11]", dilated) == 2 * 2 * 3 * 5 * 11


def test_text_without_an_entry_is_a_bug():
    with pytest.raises(AssertionError, match="ENTRY"):
        hlo.parse("HloModule empty\n")
