"""Messages are counted where devices take part in them that are not alone."""

from helptune.toys.messages import messages

PROGRAM = """
  %a = f32[8]{0} all-reduce(%x), channel_id=1, replica_groups=mesh['data'=8,'fsdp'=1] {'data'}, to_apply=%add
  %b = f32[8]{0} all-reduce(%x), channel_id=2, replica_groups=mesh['data'=8,'fsdp'=1] {'fsdp'}, to_apply=%add
  %c = (f32[4]{0}, f32[4]{0}) all-reduce(%x, %y), replica_groups=[4,2]<=[8], to_apply=%add
  %d = (f32[4]{0}, f32[8]{0}) all-gather-start(%x), replica_groups=[8,1]<=[8], dimensions={0}
  %e = f32[8]{0} all-gather(%x), replica_groups=mesh['data'=1,'tensor'=8] {'tensor':(1)2}, dimensions={0}
  %f = f32[8]{0} collective-permute(%x), source_target_pairs={{0,1},{1,0}}
  %g = f32[8]{0} add(%a, %b)
"""


def test_a_device_sends_nothing_to_itself():
    assert messages(PROGRAM) == {"all-reduce": 2, "all-gather": 1, "collective-permute": 1}
