"""Programs in the compiler's words, cut down from modules of real training steps."""

HEADER = """\
HloModule jit_step, is_scheduled=true, num_partitions=8

%add (a: bf16[], b: bf16[]) -> bf16[] {
  %a = bf16[] parameter(0)
  %b = bf16[] parameter(1)
  ROOT %sum = bf16[] add(%a, %b)
}

"""

# A loop of 3 around a loop of 5, each with a matmul: [4, 16] @ [16, 8] outside, [4, 8] @ [8, 8] inside.
NESTED = (
    HEADER
    + """\
%inner_condition (p: (s32[], bf16[4,8])) -> pred[] {
  %bound = s32[]{:T(128)} constant(5)
  %p = (s32[]{:T(128)}, bf16[4,8]{1,0:T(8,128)(2,1)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i, %bound), direction=LT
}

%fused_dot (x: bf16[4,8], w: bf16[8,8]) -> bf16[4,8] {
  %x = bf16[4,8]{1,0:T(8,128)(2,1)} parameter(0)
  %w = bf16[8,8]{1,0:T(8,128)(2,1)} parameter(1)
  ROOT %conv = bf16[4,8]{1,0:T(8,128)(2,1)S(1)} convolution(%x, %w), dim_labels=bf_io->bf
}

%inner (q: (s32[], bf16[4,8])) -> (s32[], bf16[4,8]) {
  %q = (s32[]{:T(128)}, bf16[4,8]{1,0:T(8,128)(2,1)}) parameter(0)
  %n = s32[]{:T(128)} get-tuple-element(%q), index=0
  %y = bf16[4,8]{1,0:T(8,128)(2,1)} get-tuple-element(%q), index=1
  %w8 = bf16[8,8]{1,0:T(8,128)(2,1)} constant({...})
  %fusion = bf16[4,8]{1,0:T(8,128)(2,1)} fusion(%y, %w8), kind=kOutput, calls=%fused_dot, metadata={op_name="jit(step)/transpose(jvp())/while/body/dot_general"}, backend_config={"window_config":{"estimated_cycles":"100"}}
  %one = s32[]{:T(128)} constant(1)
  %n1 = s32[]{:T(128)} add(%n, %one)
  ROOT %next = (s32[]{:T(128)}, bf16[4,8]{1,0:T(8,128)(2,1)}) tuple(%n1, /*index=1*/%fusion)
}

%lt_fused (i2: s32[]) -> pred[] {
  %i2 = s32[]{:T(128)} parameter(0)
  %three = s32[]{:T(128)} constant(3)
  ROOT %lt2 = pred[]{:T(512)} compare(%i2, %three), direction=LT
}

%outer_condition (r: (s32[], bf16[4,16])) -> pred[] {
  %r = (s32[]{:T(128)}, bf16[4,16]{1,0}) parameter(0)
  %j = s32[]{:T(128)} get-tuple-element(%r), index=0
  ROOT %less = pred[]{:T(512)} fusion(%j), kind=kLoop, calls=%lt_fused
}

%outer (s: (s32[], bf16[4,16])) -> (s32[], bf16[4,16]) {
  %s = (s32[]{:T(128)}, bf16[4,16]{1,0}) parameter(0)
  %m = s32[]{:T(128)} get-tuple-element(%s), index=0
  %z = bf16[4,16]{1,0} get-tuple-element(%s), index=1
  %w16 = bf16[16,8]{1,0} constant({...})
  %dot = bf16[4,8]{1,0} dot(%z, %w16), lhs_contracting_dims={1}, rhs_contracting_dims={0}, metadata={op_name="jit(step)/jvp()/while/body/dot_general"}, backend_config={"window_config":{"estimated_cycles":"7"}}
  %init = (s32[]{:T(128)}, bf16[4,8]{1,0}) tuple(%m, %dot)
  %while.1 = (s32[]{:T(128)}, bf16[4,8]{1,0}) while(%init), condition=%inner_condition, body=%inner
  %unit = s32[]{:T(128)} constant(1)
  %m1 = s32[]{:T(128)} add(%m, %unit)
  ROOT %out = (s32[]{:T(128)}, bf16[4,16]{1,0}) tuple(%m1, %z)
}

ENTRY %main (arg: bf16[4,16]) -> (s32[], bf16[4,16]) {
  %arg = bf16[4,16]{1,0} parameter(0)
  %zero = s32[]{:T(128)} constant(0)
  %start = (s32[]{:T(128)}, bf16[4,16]{1,0}) tuple(%zero, %arg)
  ROOT %while.2 = (s32[]{:T(128)}, bf16[4,16]{1,0}) while(%start), condition=%outer_condition, body=%outer
}
"""
)

# Every form of a collective, over 8 devices in groups of 4, of arrays of 1024 bytes each.
COLLECTIVES = (
    HEADER
    + """\
%started (p0: bf16[2,256]) -> (bf16[2,256], bf16[8,256], u32[]) {
  %p0 = bf16[2,256]{1,0:T(8,128)(2,1)} parameter(0)
  %all-gather.1 = bf16[8,256]{1,0:T(8,128)(2,1)} all-gather(%p0), channel_id=11, replica_groups=[2,4]<=[8], dimensions={0}, use_global_device_ids=true
  ROOT %begin = (bf16[2,256]{1,0}, bf16[8,256]{1,0}, u32[]{:S(2)}) custom-call(%all-gather.1), custom_call_target="AsyncCollectiveStart"
}

%carried (p1: bf16[2,256]) -> bf16[8,256] {
  %p1 = bf16[2,256]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %all-gather.2 = bf16[8,256]{1,0:T(8,128)(2,1)} all-gather(%p1), channel_id=11, replica_groups=[2,4]<=[8], dimensions={0}, use_global_device_ids=true
}

%done (p2: bf16[2,256]) -> bf16[8,256] {
  %p2 = bf16[2,256]{1,0:T(8,128)(2,1)} parameter(0)
  %all-gather.3 = bf16[8,256]{1,0:T(8,128)(2,1)} all-gather(%p2), channel_id=11, replica_groups=[2,4]<=[8], dimensions={0}, use_global_device_ids=true
  ROOT %end = bf16[8,256]{1,0} custom-call(%p2, %all-gather.3), custom_call_target="AsyncCollectiveDone"
}

%all-reduce-scatter.1 (input: bf16[2,256]) -> bf16[1,128] {
  %input = bf16[2,256]{1,0:T(8,128)(2,1)} parameter(0)
  %all-reduce.1 = bf16[2,256]{1,0:T(8,128)(2,1)} all-reduce(%input), channel_id=12, replica_groups={{0,2,4,6},{1,3,5,7}}, to_apply=%add
  ROOT %dynamic-slice.1 = bf16[1,128]{1,0} dynamic-slice(%all-reduce.1), dynamic_slice_sizes={1,128}
}

%sparse (p3: bf16[2,256], t: token[]) -> bf16[8,256] {
  %p3 = bf16[2,256]{1,0} parameter(0)
  %t = token[] parameter(1)
  ROOT %all-gather.4 = bf16[8,256]{1,0} all-gather(%p3), channel_id=13, replica_groups=mesh['axis_0'=2,'axis_1'=4], device_ids=([4,2]T(1,0)) {'axis_1'}, dimensions={0}
}, execution_thread="sparsecore"

%condition (c: (s32[], bf16[2,256])) -> pred[] {
  %trips = s32[]{:T(128)} constant(3)
  %c = (s32[]{:T(128)}, bf16[2,256]{1,0}) parameter(0)
  %k = s32[]{:T(128)} get-tuple-element(%c), index=0
  ROOT %more = pred[]{:T(512)} compare(%k, %trips), direction=LT
}

%body (d: (s32[], bf16[2,256])) -> (s32[], bf16[2,256]) {
  %d = (s32[]{:T(128)}, bf16[2,256]{1,0}) parameter(0)
  %l = s32[]{:T(128)} get-tuple-element(%d), index=0
  %v = bf16[2,256]{1,0} get-tuple-element(%d), index=1
  %plain = bf16[8,256]{1,0} all-gather(%v), channel_id=14, replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_1'}, dimensions={0}, metadata={op_name="jit(step)/jvp()/while/body/dot_general"}
  %async-collective-start = (bf16[2,256]{1,0}, bf16[8,256]{1,0}, u32[]{:S(2)}) fusion(%v), kind=kCustom, calls=%started
  %with_gather = bf16[8,256]{1,0} fusion(%v), kind=kOutput, calls=%carried, metadata={op_name="jit(step)/jvp()/while/body/dot_general"}, backend_config={"window_config":{"estimated_cycles":"1000"}}
  %async-collective-done = bf16[8,256]{1,0} fusion(%v), kind=kCustom, calls=%done
  %call-start.1 = ((bf16[2,256]{1,0}, token[]), bf16[8,256]{1,0}) call-start(%v, %l), async_execution_thread="sparsecore", to_apply=%sparse
  %call-done.1 = bf16[8,256]{1,0} call-done(%call-start.1)
  %fusion.1 = bf16[1,128]{1,0} fusion(%v), kind=kCustom, calls=%all-reduce-scatter.1
  %collective-permute-start.1 = (bf16[2,256]{1,0}, bf16[2,256]{1,0}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%v), channel_id=15, source_target_pairs={{0,1},{1,2},{2,3},{3,0},{4,5},{5,6},{6,7},{7,4}}
  %copy = bf16[2,256]{1,0} copy(%v), metadata={op_name="jit(step)/mul"}, backend_config={"window_config":{"estimated_cycles":"500"}}
  %collective-permute-done.1 = bf16[2,256]{1,0} collective-permute-done(%collective-permute-start.1)
  %one = s32[]{:T(128)} constant(1)
  %l1 = s32[]{:T(128)} add(%l, %one)
  ROOT %again = (s32[]{:T(128)}, bf16[2,256]{1,0}) tuple(%l1, %v)
}

ENTRY %main (arg: bf16[2,256]) -> (s32[], bf16[2,256]) {
  %arg = bf16[2,256]{1,0} parameter(0)
  %zero = s32[]{:T(128)} constant(0)
  %all-reduce.2 = (bf16[2,256]{1,0}, f32[]{:T(128)}) all-reduce(%arg, %zero), channel_id=16, replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_0','axis_1'}, to_apply=%add
  %first = (s32[]{:T(128)}, bf16[2,256]{1,0}) tuple(%zero, %arg)
  ROOT %loop = (s32[]{:T(128)}, bf16[2,256]{1,0}) while(%first), condition=%condition, body=%body
}
"""
)

# A collective between slices: sent, while a copy runs received, and awaited.
SLICES = (
    HEADER
    + """\
ENTRY %main (arg: bf16[2,256]) -> bf16[2,256] {
  %arg = bf16[2,256]{1,0} parameter(0)
  %after-all.1 = token[] after-all(), frontend_attributes={MegascaleRendezvousKeyName="all-reduce.7_0"}
  %send.1 = (bf16[2,256]{1,0}, u32[], token[]) send(%arg, %after-all.1), channel_id=2, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime",_xla_host_transfer_rendezvous="all-reduce.7_0",_xla_megascale_reduce_operation="SUM",_xla_megascale_transfer_type="ALL_REDUCE"}
  %copy = bf16[2,256]{1,0} copy(%arg), metadata={op_name="jit(step)/mul"}, backend_config={"window_config":{"estimated_cycles":"500"}}
  %recv.1 = (bf16[2,256]{1,0}, u32[], token[]) recv(%after-all.1), channel_id=1, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime",_xla_host_transfer_rendezvous="all-reduce.7_0",_xla_megascale_reduce_operation="SUM",_xla_megascale_transfer_type="ALL_REDUCE"}
  %send-done.1 = token[] send-done(%send.1), channel_id=2, is_host_transfer=true
  %recv-done.1 = (bf16[2,256]{1,0}, token[]) recv-done(%recv.1), channel_id=1, is_host_transfer=true
  ROOT %sum = bf16[2,256]{1,0} get-tuple-element(%recv-done.1), index=0
}
"""
)
