"""Names of devices that are not here: what they stand for, and what is said when they cannot be compiled for."""

import importlib.util

import jax
import jax.numpy as jnp
import pytest

from helptune.errors import SettingError
from helptune.train import topology as topologies
from helptune.train.topology import GPUS, TPUS, compile_devices, parse_topology


@pytest.mark.parametrize(
    ("name", "platform", "count"),
    [
        ("cpu:8", "cpu", 8), ("cpu", "cpu", 1), ("h100", "gpu", 1), ("h100:8", "gpu", 8), ("H100:16", "gpu", 16),
        ("a100-40:2", "gpu", 2), ("v5e:2x4", "tpu", 8), ("v5p:2x2x1", "tpu", 4), ("v6e:1x1", "tpu", 1),
    ],
)  # fmt: skip
def test_a_name_gives_platform_and_number_of_devices(name, platform, count):
    found = parse_topology(name)
    assert (found.platform, found.count) == (platform, count)


@pytest.mark.parametrize("name", ["", "h1000", "h100:0", "h100:2x2", "cpu:2x4", "v5e:8", "v5p:2x2", "v5e", "h100:8 "])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(SettingError, match="is unknown") as error:
        parse_topology(name)
    assert all(kind in str(error.value) for kind in ("cpu", *GPUS, *TPUS))


def test_many_gpus_are_whole_hosts():
    with pytest.raises(SettingError, match="12 GPUs are not whole hosts of 8"):
        parse_topology("h100:12")


def test_cpu_devices_share_the_memory_of_the_host():
    one, eight = parse_topology("cpu:1"), parse_topology("cpu:8")
    assert one.memory // 8 == eight.memory


@pytest.mark.parametrize(("name", "extra"), [("h100:8", "plan-gpu"), ("v5e:2x4", "plan-tpu")])
def test_a_missing_compiler_names_the_extra_that_brings_it(name, extra, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SettingError, match=rf"pip install -e '\.\[{extra}\]'"):
        compile_devices(parse_topology(name))


def test_no_extra_is_needed_for_the_cpu():
    assert parse_topology("cpu:8").extra is None
    assert [device.platform for device in compile_devices(parse_topology("cpu:1"))] == ["cpu"]


def test_more_cpu_devices_than_jax_started_with_need_a_new_process():
    count = len(jax.devices("cpu")) + 1
    with pytest.raises(SettingError, match="use a new process"):
        compile_devices(parse_topology(f"cpu:{count}"))


@pytest.mark.parametrize("kind", GPUS)
def test_the_compiler_is_told_the_memory_that_the_plan_compares_with(kind):
    text = topologies._target_config(GPUS[kind])
    assert f"device_memory_size: {parse_topology(kind).memory} " in text
    assert text.count("{") == text.count("}")


def _argument_bytes(name: str) -> int:
    devices = compile_devices(parse_topology(name))
    place = jax.sharding.SingleDeviceSharding(devices[0])
    x = jax.ShapeDtypeStruct((1024, 1024), jnp.bfloat16, sharding=place)
    return jax.jit(jnp.matmul).lower(x, x).compile().memory_analysis().argument_size_in_bytes


@pytest.mark.parametrize("name", [*(f"{kind}:8" for kind in GPUS), "h100:16"])
def test_a_product_compiles_for_every_gpu(name):
    pytest.importorskip("jax_cuda12_plugin")
    assert len(compile_devices(parse_topology(name))) == parse_topology(name).count
    assert _argument_bytes(name) == 2 * 2 * 1024**2


@pytest.mark.parametrize("name", ["v5e:2x4", "v5p:2x2x1", "v6e:1x1"])
def test_a_product_compiles_for_every_tpu(name):
    pytest.importorskip("libtpu")
    assert len(compile_devices(parse_topology(name))) == parse_topology(name).count
    assert _argument_bytes(name) == 2 * 2 * 1024**2


def test_a_slice_that_does_not_exist_is_refused():
    pytest.importorskip("libtpu")
    with pytest.raises(SettingError, match="is no slice that v5e comes in"):
        compile_devices(parse_topology("v5e:3x5"))
