"""Laws of bottleneck adapters: the contract is LoRA's, the place and the shape are their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helptune.adapt.adapters import attach, init_adapters, leaf_shapes, parameter_count
from helptune.adapt.artifact import AdapterCard, load_adapter, save_adapter
from helptune.adapt.bottleneck import BottleneckConfig
from helptune.errors import AdapterError, SettingError
from helptune.gemma.base import site_shapes
from helptune.gemma.config import gemma3_270m, tiny

KEY = jax.random.key(2)
HOULSBY, PFEIFFER = BottleneckConfig(8, "houlsby"), BottleneckConfig(8, "pfeiffer")
both = pytest.mark.parametrize("config", [HOULSBY, PFEIFFER], ids=lambda config: config.placement)


@both
def test_a_new_bottleneck_changes_no_bit_of_the_hidden_states(tiny_base, hidden, config):
    adapters = init_adapters(config, tiny_base.config, KEY)
    np.testing.assert_array_equal(hidden(tiny_base, attach(adapters, config)), hidden(tiny_base))


@both
def test_a_trained_one_changes_them(tiny_base, hidden, trained, config):
    adapters = trained(config, tiny_base.config)
    assert float(jnp.abs(hidden(tiny_base, attach(adapters, config)) - hidden(tiny_base)).max()) > 0.01


def test_what_it_adds_is_up_of_gelu_of_down_of_the_output(trained):
    model = tiny(3)
    adapters = trained(PFEIFFER, model)
    layer = {name: np.asarray(leaf[1]) for name, leaf in adapters["down"].items()}
    y = np.asarray(jax.random.normal(KEY, (2, 5, model.width)))
    z = y @ layer["down"] + layer["down_bias"]
    gelu = 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))
    attached = attach(adapters, PFEIFFER)
    added = attached.delta(jax.tree.map(lambda leaf: leaf[1], attached.layers), "down", jnp.ones((2, 5, 64)), y)
    np.testing.assert_allclose(added, gelu @ layer["up"] + layer["up_bias"], rtol=1e-5, atol=1e-5)


def test_houlsby_follows_attention_and_mlp_and_pfeiffer_the_mlp_alone(trained):
    assert (HOULSBY.sites, PFEIFFER.sites) == (("o", "down"), ("down",))
    for config in (HOULSBY, PFEIFFER):
        attached = attach(trained(config, tiny(3)), config)
        layer = jax.tree.map(lambda leaf: leaf[0], attached.layers)
        for site, widths in site_shapes(tiny(3)).items():
            x, y = (jnp.ones((1, 1, width)) for width in widths)
            assert (attached.delta(layer, site, x, y) is None) == (site not in config.sites)


def test_its_parameters_are_two_matrices_and_two_biases_a_site():
    model, W = gemma3_270m(), 64
    shapes = jax.eval_shape(lambda key: init_adapters(BottleneckConfig(W, "houlsby"), model, key), KEY)
    assert parameter_count(shapes) == 2 * model.layers * (2 * model.width * W + W + model.width)


@both
def test_the_shapes_are_those_of_new_adapters(config):
    made = jax.tree.map(jnp.shape, init_adapters(config, tiny(3), KEY))
    assert made == leaf_shapes(config, tiny(3))


def test_it_comes_back_from_disk_bit_for_bit_and_as_what_it_is(tmp_path, trained):
    adapters, card = trained(HOULSBY, tiny(3)), AdapterCard("tiny-3", "a1", HOULSBY, step=3)
    save_adapter(tmp_path, adapters, card)
    loaded, found = load_adapter(tmp_path, tiny(3), "a1")
    assert found == card
    jax.tree.map(np.testing.assert_array_equal, loaded, adapters)


def test_one_of_another_width_is_refused(tmp_path, trained):
    save_adapter(tmp_path, trained(PFEIFFER, tiny(3)), AdapterCard("tiny-3", "a1", BottleneckConfig(4, "pfeiffer")))
    with pytest.raises(AdapterError, match=r"down\.down has shape \(4, 32, 8\), width 4 on tiny-3 needs \(4, 32, 4\)"):
        load_adapter(tmp_path, tiny(3), "a1")


@pytest.mark.parametrize(
    ("width", "placement", "message"), [(0, "pfeiffer", "width=0"), (8, "parallel", "choose one of houlsby, pfeiffer")]
)
def test_a_setting_that_cannot_be_is_refused(width, placement, message):
    with pytest.raises(SettingError, match=message):
        BottleneckConfig(width, placement)
