"""Forwards replaced, parameters and modules of other kinds, modes of differentiation, wrappers."""

import copy
import pickle
from typing import Any

import torch
from timm.layers import Attention
from timm.utils import AttentionExtract
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrizations, parametrize, prune
from treatments.bench import Bench, Run, backward, parts, scale, treatment


@treatment(scale("attn.proj", 0))
def attention_forward_replaced(bench: Bench) -> None:
    for attn in parts(bench, "attn"):
        attn.forward = lambda x, **_: torch.zeros_like(x)


@treatment()
def attention_weights_kept(bench: Bench) -> None:
    """The usual way to see attention: a forward of one's own on each instance."""

    def replace(attn: Attention) -> None:
        def forward(x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
            q, k, v = attn.qkv(x).unflatten(2, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
            q, k = attn.q_norm(q), attn.k_norm(k)
            logits = q @ k.transpose(2, 3) * attn.scale
            attn.kept = (logits if attn_mask is None else logits + attn_mask).softmax(-1)
            bench.seen.append(bool(torch.allclose(attn.kept.sum(-1), torch.ones(()))))
            return attn.proj((attn.kept @ v).transpose(1, 2).flatten(2))

        attn.forward = forward

    for attn in parts(bench, "attn"):
        replace(attn)


@treatment(scale("mlp.fc2", 0))
def mlp_forward_replaced(bench: Bench) -> None:
    for mlp in parts(bench, "mlp"):
        mlp.forward = torch.zeros_like


@treatment()
def block_forward_wrapped(bench: Bench) -> None:
    def wrap(forward: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            bench.see()
            return forward(*args, **kwargs)

        return wrapped

    for block in bench.model.blocks:
        block.forward = wrap(block.forward)


@treatment()
def unfused_attention(bench: Bench) -> None:
    for attn in parts(bench, "attn"):
        attn.fused_attn = False
        attn.attn_drop.register_forward_hook(lambda m, a, y: bench.seen.append(y.ndim))


@treatment()
def timms_attention_extract(bench: Bench) -> Run:
    for attn in parts(bench, "attn"):
        attn.fused_attn = False
    extract = AttentionExtract(bench.model, method="hook")

    def run(x: Tensor) -> Tensor:
        bench.seen += list(extract(x))
        return bench.model(x)

    return run


class _Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


@treatment(scale("attn.qkv", 2))
def parametrized(bench: Bench) -> None:
    for qkv in parts(bench, "attn.qkv"):
        parametrize.register_parametrization(qkv, "weight", _Doubled())
        parametrize.register_parametrization(qkv, "bias", _Doubled())


@treatment()
def weight_norm(bench: Bench) -> None:
    for fc1 in parts(bench, "mlp.fc1"):
        parametrizations.weight_norm(fc1)


@treatment(
    lambda model: [prune.remove(prune.l1_unstructured(b.mlp.fc1, "weight", 0.5), "weight") for b in model.blocks]
)
def pruned(bench: Bench) -> None:
    for fc1 in parts(bench, "mlp.fc1"):
        prune.l1_unstructured(fc1, "weight", 0.5)


class _LinearOfOthers(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@treatment(lambda model: (scale("attn.proj", 2)(model), scale("mlp.fc2", 2)(model)))
def other_kinds_of_linear(bench: Bench) -> None:
    for linear in (*parts(bench, "attn.proj"), *parts(bench, "mlp.fc2")):
        linear.__class__ = _LinearOfOthers


class _Weights(Tensor):
    """As sharded and quantised parameters are: a tensor with ways of its own; here products are doubled."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            y = func(*args, **(kwargs or {}))
        return 2 * y if func is nn.functional.linear else y


@treatment(scale("attn.qkv", 2))
def other_kinds_of_weights(bench: Bench) -> None:
    for qkv in parts(bench, "attn.qkv"):
        weight = qkv.weight.detach().as_subclass(_Weights)
        del qkv.weight
        qkv.register_buffer("weight", weight)
        with torch.no_grad():
            qkv.bias.mul_(1)


@treatment()
def attention_in_a_wrapper(bench: Bench) -> None:
    for block in bench.model.blocks:
        block.attn.qkv = nn.Sequential(block.attn.qkv)
        block.mlp = nn.Sequential(block.mlp)


@treatment(
    lambda model: (scale("attn.proj", 0, blocks=slice(1, 2))(model), scale("mlp.fc2", 0, blocks=slice(1, 2))(model))
)
def attention_and_mlp_taken_out(bench: Bench) -> None:
    block = bench.model.blocks[1]
    block.attn.proj = nn.Linear(32, 32)
    for linear in (block.attn.proj, block.mlp.fc2):
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)


@treatment(scale("mlp", 1.5))
def functional_parameters(bench: Bench) -> Run:
    state = {name: 1.5 * p if "blocks" in name and ".mlp." in name else p for name, p in bench.model.named_parameters()}
    return lambda x: functional_call(bench.model, state, (x,))


@treatment()
def vectorised(bench: Bench) -> Run:
    return torch.vmap(lambda one: bench.model(one[None])[0])


@treatment()
def gradients_per_sample(bench: Bench) -> Run:
    state = {name: parameter.detach() for name, parameter in bench.model.named_parameters()}

    def loss(state: dict[str, Tensor], one: Tensor) -> tuple[Tensor, Tensor]:
        y = functional_call(bench.model, state, (one[None],))[0]
        return y.square().sum(), y

    def run(x: Tensor) -> Tensor:
        _, y = torch.vmap(torch.func.grad(loss, has_aux=True), in_dims=(None, 0))(state, x)
        return y

    return run


@treatment()
def forward_mode(bench: Bench) -> Run:
    """Jacobian times vector; torch's fused attention has no such derivative, timm's own has."""
    for attn in parts(bench, "attn"):
        attn.fused_attn = False
    if getattr(bench.model, "attn_pool", None) is not None:
        bench.model.attn_pool.fused_attn = False

    def run(x: Tensor) -> Tensor:
        with torch.no_grad():
            y, tangent = torch.func.jvp(bench.model, (x,), (torch.ones_like(x),))
        probe = torch.ones_like(y)
        x = x.clone().requires_grad_()
        (by_reverse,) = torch.autograd.grad(bench.model(x), x, probe)
        torch.testing.assert_close(by_reverse.sum(), tangent.sum(), rtol=1e-3, atol=1e-4)
        return y

    return run


@treatment()
def checkpointed(bench: Bench) -> Run:
    bench.model.set_grad_checkpointing(True)
    bench.model.blocks[1].register_forward_hook(bench.see)
    return backward(bench.model)


@treatment()
def copied(bench: Bench) -> Run:
    bench.model.blocks[0].attn.register_forward_hook(_unchanged)
    return pickle.loads(pickle.dumps(copy.deepcopy(bench.model)))


def _unchanged(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return output


@treatment()
def inference_mode(bench: Bench) -> Run:
    def run(x: Tensor) -> Tensor:
        with torch.inference_mode():
            return bench.model(x).clone()

    return run


@treatment()
def scripted_subclass_inputs(bench: Bench) -> Run:
    class Picture(Tensor):
        pass

    return lambda x: bench.model(x.as_subclass(Picture)).as_subclass(Tensor)


@treatment()
def checkpoint_wrapper(bench: Bench) -> Run:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    for index, block in enumerate(bench.model.blocks):
        bench.model.blocks[index] = checkpoint_wrapper(block)
    return backward(bench.model)


@treatment()
def compiled_blocks(bench: Bench) -> None:
    for index, block in enumerate(bench.model.blocks):
        bench.model.blocks[index] = torch.compile(block, backend="eager")
