"""What libraries do to a model; each is skipped where it is not installed."""

import tempfile
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from treatments.bench import Bench, Run, parts, treatment

from tome_zoo.transformer.patching import patch


@treatment(needs="accelerate")
def accelerate_cpu_offload(bench: Bench) -> None:
    import accelerate

    accelerate.cpu_offload(bench.model, execution_device="cpu")


@treatment(needs="accelerate")
def accelerate_cpu_offload_before_patch(bench: Bench) -> None:
    """The offload of a merging model is taken off, and put on before `patch` anew."""
    import accelerate

    r, model = getattr(bench.model, "r", None), bench.timms_own()
    accelerate.cpu_offload(model, execution_device="cpu")
    bench.model = model if r is None else patch(model, r)


@treatment(needs="accelerate")
def accelerate_dispatch_to_disk(bench: Bench) -> None:
    import accelerate

    r, model = getattr(bench.model, "r", None), bench.timms_own()
    names = [name for name, _ in (*model.named_children(), *model.named_parameters(recurse=False)) if name != "blocks"]
    places = dict.fromkeys(names, "cpu") | {"blocks.0": "cpu", "blocks.1": "disk", "blocks.2": "cpu"}
    folder = bench.stack.enter_context(tempfile.TemporaryDirectory())
    accelerate.dispatch_model(model, places, main_device="cpu", offload_dir=folder, force_hooks=True)
    bench.model = model if r is None else patch(model, r)


@treatment(lambda model: [scale_weight(block.attn.qkv, 2) for block in model.blocks], needs="peft")
def peft_low_rank(bench: Bench) -> Run:
    """An adapter that adds the weight once more."""
    import peft

    config = peft.LoraConfig(r=32, lora_alpha=32, target_modules=["qkv"])
    adapted = peft.get_peft_model(bench.model, config).eval()
    with torch.no_grad():
        for qkv in parts(bench, "attn.qkv"):
            qkv.lora_A["default"].weight.copy_(torch.eye(32))
            qkv.lora_B["default"].weight.copy_(qkv.base_layer.weight)
            qkv.lora_B["default"].register_forward_hook(bench.see)
    return adapted


def scale_weight(linear: Any, factor: float) -> None:
    """Multiply a weight, not the bias."""
    with torch.no_grad():
        linear.weight.mul_(factor)


@treatment(needs="captum")
def captum_layers(bench: Bench) -> Run:
    from captum.attr import LayerActivation, LayerGradCam, LayerIntegratedGradients

    def run(x: Tensor) -> Tensor:
        model = bench.model
        last = LayerActivation(model, model.blocks[-1]).attribute(x)
        torch.testing.assert_close(model.norm(last), model.forward_features(x))
        torch.testing.assert_close(LayerActivation(model, model.blocks).attribute(x), last)
        cam = LayerGradCam(model, model.blocks[-1].norm1).attribute(x, target=1)
        qkv = LayerIntegratedGradients(model, model.blocks[1].attn.qkv).attribute(x, target=1, n_steps=2)
        bench.seen += [float(value.abs().sum()) > 0 for value in (last, cam, qkv)]
        return model(x)

    return run


@treatment(needs="pytorch_grad_cam")
def grad_cam(bench: Bench) -> Run:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    def run(x: Tensor) -> Tensor:
        with GradCAM(
            model=bench.model,
            target_layers=[bench.model.blocks[-1].norm1],
            reshape_transform=lambda tokens: tokens.transpose(1, 2)[..., None],
        ) as cam:
            heat = cam(input_tensor=x, targets=[ClassifierOutputTarget(1)] * len(x))
        bench.seen.append(heat.shape)
        return bench.model(x)

    return run


@treatment(needs="lightning")
def lightning_trainer(bench: Bench) -> Run:
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = bench.model

        def training_step(self, batch: Any, index: int) -> Tensor:
            bench.see()
            return torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.0)

    def run(x: Tensor) -> Tensor:
        data = torch.utils.data.TensorDataset(x, torch.arange(len(x)))
        trainer = lightning.Trainer(
            max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=bench.stack.enter_context(tempfile.TemporaryDirectory()),
        )  # fmt: skip
        trainer.fit(Module(), torch.utils.data.DataLoader(data, batch_size=len(x)))
        return bench.model.eval()(x)

    return run


def _quantize(model: VisionTransformer) -> None:
    """Weights rounded as torchao rounds them, as plain tensors."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    with torch.no_grad():
        for block in model.blocks:
            for linear in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2):
                weight, bias = linear.weight.shape, linear.bias
                quantize_(linear, Int8WeightOnlyConfig())
                plain = linear.weight.dequantize()
                assert plain.shape == weight
                del linear.weight
                linear.weight = torch.nn.Parameter(plain)
                linear.bias = bias


@treatment(_quantize, needs="torchao")
def torchao_int8_weights(bench: Bench) -> None:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    quantize_(bench.model.blocks, Int8WeightOnlyConfig())


@treatment(needs="opacus")
def opacus_gradients_per_sample(bench: Bench) -> Run:
    from opacus.grad_sample import GradSampleModule

    for parameter in bench.model.parameters(recurse=False):
        parameter.requires_grad_(False)
    if bench.model.attn_pool is not None:
        bench.model.attn_pool.requires_grad_(False)
    wrapped = GradSampleModule(bench.model.train())

    def run(x: Tensor) -> Tensor:
        y = wrapped(x)
        y.square().sum().backward()
        bench.seen += [tuple(block.attn.qkv.weight.grad_sample.shape) for block in bench.model.blocks]
        return y

    return run
