"""Training steps and compilation of the forms that are timed."""

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn import functional as F

from tome_zoo import benchmark as bench
from tome_zoo.benchmark import benchmark, models, variants
from tome_zoo.benchmark.settings import BenchmarkSettings
from tome_zoo.transformer.vit import MergingVisionTransformer

CPU = torch.device("cpu")


def run(*names, **options):
    """All cells, two rounds each."""
    return list(benchmark(names, **{"device": "cpu", "rounds": 2, **options}))


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_training_is_timed_for_all_forms(tiny_zoo, checkpointing, dtype):
    options = {"train": True, "checkpointing": checkpointing, "dtypes": (dtype,), "batch_sizes": (3,)}
    (cell,) = run("tiny_image.test", r=(0, 4), **options)
    assert [record.status for record in cell] == ["ok"] * 3
    assert {record.mode for record in cell} == {"training, checkpointing" if checkpointing else "training"}


def test_training_leaves_finite_gradients_and_the_weights(tiny_zoo):
    settings = BenchmarkSettings(r=(0, 4), device=CPU, train=True, checkpointing=True, batch_sizes=(3,))
    built, forms = variants.prepare(models.find_subject("tiny_image.test"), "bfloat16", settings)
    before = {name: p.clone() for name, p in built.unmerged.named_parameters()}
    for form, step in zip(forms, variants.steps(built, forms, torch.bfloat16, 3, settings), strict=True):
        assert form.model.training
        assert form.model.grad_checkpointing
        step()
        for name, p in form.model.named_parameters():
            assert p.dtype == torch.float32
            assert p.grad is not None, name
            assert p.grad.isfinite().all(), name
            assert torch.equal(p, before[name])
        assert any(p.grad.abs().sum() > 0 for p in form.model.parameters())


def test_a_training_step_computes_the_gradient_of_the_cross_entropy():
    model, x, labels = nn.Linear(5, 3).double(), torch.randn(4, 5).double(), torch.tensor([0, 2, 1, 1])
    for _ in range(2):  # the second does not add to the first
        variants.training_step(model, x, labels, torch.float32)
    probabilities = model(x).softmax(1).detach() - F.one_hot(labels, 3)
    assert torch.allclose(model.weight.grad, probabilities.T @ x / 4, atol=1e-6)


def test_an_encoder_is_trained_on_its_features(tiny_zoo):
    (cell,) = run("tiny_encoder.test", r=(2,), train=True)
    assert [record.status for record in cell] == ["ok", "ok"]


@pytest.mark.parametrize("mode", bench.COMPILE_MODES)
def test_both_forms_are_compiled(tiny_zoo, monkeypatch, mode):
    calls = []
    monkeypatch.setattr(variants, "require_compiler", lambda device_type: None)  # nothing is compiled
    monkeypatch.setattr(MergingVisionTransformer, "compile", lambda self, mode: calls.append((self.r, mode)))
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: calls.append((type(self), options)))
    (cell,) = run("tiny_image.test", r=(0, 2), compile=mode)
    options = {"block": {}, "graph": {"options": {"freezing": True}}, "cuda-graph": {"mode": "reduce-overhead"}}[mode]
    assert calls == [(VisionTransformer, {"dynamic": False, **options}), (0, mode), (2, mode)]
    assert all(record.compile == mode and record.first_call_seconds > 0 for record in cell)


def test_a_model_that_cannot_be_compiled_is_told(tiny_zoo, monkeypatch):
    def refuse(self, **options):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(variants, "require_compiler", lambda device_type: None)  # nothing is compiled
    monkeypatch.setattr(MergingVisionTransformer, "compile", refuse)
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: None)
    (cell,) = run("tiny_image.test", r=(2,), compile="block")
    assert [record.status for record in cell] == ["ok", "failed"]
    assert cell[1].reason == "RuntimeError: no compiler"


def test_merging_written_out_is_timed_beside_on_the_same_weights(tiny_zoo):
    (cell,) = run("tiny_image.test", r=(0, 4), explicit=True, batch_sizes=(2,))
    assert [(record.variant, record.r) for record in cell] == [
        ("unmerged", None), ("merging", "0"), ("merging", "4"), ("explicit", "0"), ("explicit", "4"),
    ]  # fmt: skip
    assert cell[4].attention == "explicit softmax"
    assert cell[4].gmacs == cell[2].gmacs
    settings = BenchmarkSettings(r=(4,), device=CPU, explicit=True)
    built, (_, ours, written_out) = variants.prepare(models.find_subject("tiny_image.test"), "float32", settings)
    x = torch.randn(2, *built.shape)
    torch.testing.assert_close(written_out.model(x), ours.model(x), atol=1e-5, rtol=1e-5)
    assert next(written_out.model.parameters()) is next(built.unmerged.parameters())
