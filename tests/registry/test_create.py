"""Names to models: overrides, weights, labels, and what is refused."""

import copy
import pickle

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import tome_zoo
from tome_zoo.errors import CardError, CheckpointError, ScheduleError, TomeZooError
from tome_zoo.registry import require_classifier

NAME = "vit_base_patch16_224.mae_ft_in1k"
TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
ENCODER = "audio_vit_base_patch16_1024x128.audiomae_as2m"
TINY_AUDIO = {"img_size": (64, 32), "embed_dim": 24, "depth": 2, "num_heads": 3}


@pytest.fixture
def saved(tmp_path):
    """A model with random weights, and a file of them."""

    def make(name=NAME, **overrides):
        model = tome_zoo.create_model(name, **overrides)
        path = tmp_path / "w.safetensors"
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
        return model, path

    return make


def test_list_models_filters():
    names = tome_zoo.list_models()
    assert names == sorted(names)
    assert NAME in names
    assert tome_zoo.list_models("video_*.mae_st_k400") == [
        "video_vit_huge_patch16_224.mae_st_k400",
        "video_vit_large_patch16_224.mae_st_k400",
    ]
    assert all(name.startswith(("audio_", "demo_audio")) for name in tome_zoo.list_models(modality="audio"))
    assert tome_zoo.list_models("nothing*") == []
    with pytest.raises(CardError, match="image, video, audio, got 'smell'"):
        tome_zoo.list_models(modality="smell")


def test_unknown_name_lists_the_nearest():
    with pytest.raises(
        CardError,
        match=r"no model is named 'vit_base_patch16_224.mae_ft'.*; nearest: .*vit_base_patch16_224.mae_ft_in1k",
    ):
        tome_zoo.create_model("vit_base_patch16_224.mae_ft")


def test_model_knows_its_card_and_schedule():
    model = tome_zoo.create_model(NAME, r=4, **TINY)
    assert not model.training
    assert (model.card.name, model.card.architecture.embed_dim) == (NAME, 24)
    assert (model.r, model.prop_attn) == (4, False)
    assert tome_zoo.create_model(NAME, prop_attn=True, **TINY).prop_attn
    assert tome_zoo.create_model("deit_tiny_patch16_224.fb_in1k", device="meta").prop_attn
    assert tome_zoo.create_model(NAME, **TINY).r == 0
    with pytest.raises(ScheduleError):
        model.r = [1, 2, 3]
    assert len(model.labels) == 1000
    assert model.labels[1] == "goldfish, Carassius auratus"
    assert tome_zoo.create_model(NAME, num_classes=2, **TINY).labels == ("class 0", "class 1")


def test_model_copies_and_pickles(saved):
    model, _ = saved(**TINY)
    x = torch.randn(2, 3, 32, 32)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.card == model.card
        torch.testing.assert_close(other(x), model(x))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"embed_dims": 24}, "'embed_dims' cannot be overridden; did you mean embed_dim"),
        ({"embed_dim": 25}, "embed_dim 25 is not divisible by num_heads 12"),
        ({"depth": 0}, "'depth'.*greater than 0"),
        ({"img_size": 225}, "not divisible by patch_size"),
        ({"depth": 2.5}, "field 'depth'"),
    ],
)
def test_wrong_override_is_refused(overrides, message):
    with pytest.raises(CardError, match=message):
        tome_zoo.create_model(NAME, **overrides)


@pytest.mark.parametrize("r", [-1, [1] * 13, (8, float("nan")), "8", 2.5])
def test_wrong_r_is_refused(r):
    with pytest.raises(ScheduleError):
        tome_zoo.create_model(NAME, r=r, device="meta")


def test_weights_load_from_a_file(saved):
    model, path = saved(**TINY)
    loaded = tome_zoo.create_model(NAME, weights=str(path), **TINY)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(x), model(x))
    assert all(value.requires_grad for value in loaded.parameters())


def test_weights_of_another_model_are_refused(saved):
    _, path = saved(**TINY)
    with pytest.raises(CheckpointError, match=r"missing \(blocks.2.norm1.weight"):
        tome_zoo.create_model(NAME, weights=path, **{**TINY, "depth": 3})
    with pytest.raises(CheckpointError, match="another model"):
        tome_zoo.create_model("vit_tiny_patch16_224.augreg_in21k_ft_in1k", weights=path, **TINY)


def test_a_classifier_of_another_size_is_new_where_it_is_asked_for(saved, caplog):
    model, path = saved(**TINY)
    other = tome_zoo.create_model(NAME, weights=path, num_classes=7, **TINY)
    assert "it has to be trained" in caplog.text
    assert other.head.weight.shape == (7, 24)
    assert torch.equal(other.blocks[1].mlp.fc1.weight, model.blocks[1].mlp.fc1.weight)
    _, path = saved(num_classes=7, **TINY)
    with pytest.raises(CheckpointError, match=r"head.weight \(7, 24\) where \(1000, 24\).*num_classes=7"):
        tome_zoo.create_model(NAME, weights=path, **TINY)


def test_a_file_for_another_input_size_is_resampled(saved, caplog):
    _, path = saved(**TINY)
    model = tome_zoo.create_model(NAME, weights=path, **{**TINY, "img_size": 48})
    assert model(torch.randn(1, 3, 48, 48)).shape == (1, 1000)
    assert "resampled" in caplog.text


def test_encoder_takes_a_fine_tuned_file_with_its_classifier(saved):
    tuned, path = saved(ENCODER, num_classes=5, **TINY_AUDIO)
    model = tome_zoo.create_model(ENCODER, weights=path, **TINY_AUDIO)
    assert (model.num_classes, model.card.architecture.num_classes) == (5, 5)
    assert model.labels == tuple(f"class {index}" for index in range(5))
    x = torch.randn(1, 1, 64, 32)
    assert torch.equal(model(x), tuned(x))
    require_classifier(model)
    headless = tome_zoo.create_model(ENCODER, weights=path, num_classes=0, **TINY_AUDIO)
    assert torch.equal(headless(x), tuned.forward_head(tuned.forward_features(x), pre_logits=True))


def test_encoder_has_no_classes_to_predict():
    model = tome_zoo.create_model(ENCODER, **TINY_AUDIO)
    assert model.labels == ()
    with pytest.raises(TomeZooError, match=r"audiomae_as2m is a pre-trained encoder.*weights="):
        require_classifier(model)


def test_encoder_file_does_not_make_a_classifier(saved):
    _, path = saved(ENCODER, **TINY_AUDIO)
    with pytest.raises(CheckpointError, match="encoder without classifier: pass num_classes=0"):
        tome_zoo.create_model(ENCODER + "_ft", weights=path, **TINY_AUDIO)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"found nothing at .*none.pth"):
        tome_zoo.create_model(NAME, weights=tmp_path / "none.pth")


def test_pretrained_offline_says_where_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("TOME_ZOO_HOME", str(tmp_path))
    monkeypatch.setenv("TOME_ZOO_OFFLINE", "1")
    with pytest.raises(
        CheckpointError, match=r"mae_finetuned_vit_base.pth is not at hand.*put it at .*mae_finetuned_vit_base.pth"
    ):
        tome_zoo.create_model(NAME, pretrained=True)


def test_preprocess_gives_views(tmp_path):
    Image.new("RGB", (50, 40), (200, 10, 10)).save(tmp_path / "a.png")
    model = tome_zoo.create_model(NAME, **TINY)
    views = model.preprocess(tmp_path / "a.png")
    assert views.shape == (1, 3, 32, 32)
    assert model(views).shape == (1, 1000)


def test_count_macs_takes_a_name():
    assert tome_zoo.count_macs("vit_large_patch16_224.mae_ft_in1k", 8).gmacs == pytest.approx(31.0, abs=0.05)
    assert tome_zoo.count_macs("vit_huge_patch14_224.mae_ft_in1k").gmacs == pytest.approx(167.4, abs=0.05)
    model = tome_zoo.create_model(NAME, r=2, **TINY)
    assert tome_zoo.count_macs(model).total == tome_zoo.count_macs(model, 2).total
