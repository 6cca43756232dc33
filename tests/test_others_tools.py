"""Others' tools reach every layer: hooks, adapters (peft), quantisation (torch's and torchao's), pruning."""

import copy

import pytest
import references
import torch
from torch import nn
from torch.nn.utils import parametrize, prune
from torch.utils.flop_counter import FlopCounterMode

from deit_edu.attention import MultiHeadSelfAttention
from deit_edu.model import create_model

SMALL = dict(embed_dim=32, depth=2, num_heads=2, num_classes=5)


def model():
    torch.manual_seed(0)
    network = create_model("deit_nano_patch7_28", True, **SMALL)
    nn.init.normal_(network.blocks[-1].attention.qkv.bias)
    return network


def pictures():
    return torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(1))


def layers(network):
    return {name: part for name, part in network.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)}


@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
def test_a_hook_fires_once_at_every_layer_and_changes_no_number(kind):
    network, fired = model(), []
    plain = network(pictures())
    for name, layer in layers(network).items():
        register = getattr(layer, f"register_{kind}_hook")
        register(lambda *given, name=name: fired.append(name))
    said = network(pictures())
    (said.class_logits.sum() + said.distillation_logits.sum()).backward()
    assert sorted(fired) == sorted(layers(network))
    assert references.relative_error(said.class_logits, plain.class_logits) < 1e-5


def test_a_global_hook_sees_every_layer():
    network, fired = model(), set()
    handle = nn.modules.module.register_module_forward_hook(lambda layer, given, said: fired.add(layer))
    try:
        network(pictures())
    finally:
        handle.remove()
    assert fired >= set(layers(network).values())


def test_a_hook_that_changes_the_answer_is_obeyed_in_the_last_block():
    network = model()
    before = network(pictures()).class_logits
    network.blocks[-1].attention.qkv.register_forward_hook(lambda layer, given, said: 0 * said)
    assert not torch.allclose(before, network(pictures()).class_logits)


def test_an_adapter_of_peft_gets_a_gradient_in_every_block():
    peft = pytest.importorskip("peft")
    network = model()
    plain = network(pictures())
    names = [name for name in layers(network) if "head" not in name]
    adapted = peft.get_peft_model(network, peft.LoraConfig(r=2, target_modules=names, init_lora_weights=False))
    said = adapted(pictures())
    assert not torch.allclose(said.class_logits, plain.class_logits)
    (said.class_logits.sum() + said.distillation_logits.sum()).backward()
    grown = {name: p.grad for name, p in adapted.named_parameters() if "lora_" in name}
    assert len(grown) == 2 * len(names)
    assert [name for name, grad in grown.items() if grad is None or not grad.any()] == []
    merged = adapted.merge_and_unload()  # plain layers again, and the shorter way again: the same answer
    assert references.relative_error(merged(pictures()).class_logits, said.class_logits) < 1e-4


def test_torchs_dynamic_quantisation_takes_every_linear_layer():
    network = model().eval()
    quantised = torch.ao.quantization.quantize_dynamic(copy.deepcopy(network), {nn.Linear}, dtype=torch.qint8)
    assert not [part for part in quantised.modules() if type(part) is nn.Linear]
    close_to(network, quantised)


@pytest.mark.filterwarnings("ignore")
def test_torchao_quantises_every_linear_layer():
    quantization = pytest.importorskip("torchao.quantization")
    network = model().eval()
    quantised = copy.deepcopy(network)
    quantization.quantize_(quantised, quantization.Int8WeightOnlyConfig())
    changed = [part for part in quantised.modules() if type(part) is nn.Linear]
    assert changed and all(type(part.weight) is not nn.Parameter for part in changed)
    close_to(network, quantised)


def close_to(network, quantised):
    with torch.no_grad():
        for exact, rounded in zip(network(pictures()), quantised(pictures()), strict=True):
            assert 0 < references.relative_error(rounded, exact) < 0.1


def test_a_pruned_or_reparametrised_layer_is_asked_for_its_weight():
    class Half(nn.Module):
        def forward(self, weight):
            return weight / 2

    for change in (
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
        lambda layer: parametrize.register_parametrization(layer, "weight", Half()),
    ):
        for name in layers(model()):
            network = model()
            before = network(pictures())
            change(network.get_submodule(name))
            after = network(pictures())
            same = [torch.allclose(one, other) for one, other in zip(before, after, strict=True)]
            assert not all(same), name


def test_a_forward_that_was_replaced_is_called():
    network, called = model(), []
    for name, layer in layers(network).items():
        layer.forward = lambda *given, name=name, own=layer.forward: called.append(name) or own(*given)
    network(pictures())
    assert sorted(called) == sorted(layers(network))


def test_an_untouched_last_block_computes_the_queries_of_the_first_tokens_only():
    layer, tokens = MultiHeadSelfAttention(32, 2), torch.randn(4, 50, 32)
    counts = []
    for touch in (False, True):
        if touch:
            layer.qkv.register_forward_hook(lambda *given: None)
        with FlopCounterMode(display=False) as counter:  # it hangs hooks on every layer that only look on
            layer(tokens, num_queries=2)
        counts.append(counter.get_total_flops())
    assert counts[0] < counts[1]
