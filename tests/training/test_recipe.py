import tomllib

import pytest

from tome_zoo import cards
from tome_zoo.cards.read import read_file
from tome_zoo.errors import CardError
from tome_zoo.training.recipe import choose_recipe, with_settings


@pytest.mark.parametrize(
    ("model", "recipe"),
    [
        ("vit_base_patch16_224.mae_ft_in1k", "mae_image_finetune_base"),
        ("vit_large_patch16_224.mae_tome_r8_in1k", "mae_image_finetune_large"),
        ("vit_huge_patch14_224.mae_ft_in1k", "mae_image_finetune_huge"),
        ("deit_small_patch16_224.tome_r13_in1k", "deit"),
        ("video_vit_large_patch16_224.mae_st_k400", "mae_st_kinetics"),
        ("video_vit_huge_patch16_224.mae_st_k400", "mae_st_kinetics_huge"),
        ("audio_vit_base_patch16_1024x128.audiomae_as2m", "audiomae_as2m"),
        ("vit_base_patch16_384.swag_e2e_in1k", "finetune_image"),
        ("video_vit_base_patch16_224.videomae_k400_ft", "finetune_video"),
        ("demo_audio.sounds", "demo_sounds"),
    ],
)
def test_every_model_has_its_recipe(model, recipe):
    assert choose_recipe(cards.model_card(model)).name == recipe


def test_every_hyper_parameter_on_a_card_has_a_source(tmp_path):
    path = tmp_path / "r.toml"
    head = '[[recipe]]\nname = "a"\nversion = 1\nmodality = "image"\nepochs = 1\nbatch_size = 2\nlr = 1e-3\n'
    path.write_text(head + '[recipe.sources]\n"epochs batch_size" = "here"\n')
    with pytest.raises(CardError, match="say where lr come from"):
        read_file(path)
    path.write_text(head + '[recipe.sources]\n"epochs batch_size lr mixup" = "here"\n')
    with pytest.raises(CardError, match="mixup are not given"):
        read_file(path)
    path.write_text(head + '[recipe.sources]\n"epochs batch_size lr" = "here"\n')
    assert read_file(path)[0].id == "a@1"


def test_published_values_as_the_papers_state_them():
    with (cards.card_folder("eval") / "recipes.toml").open("rb") as file:
        tables = {table["name"]: table for table in tomllib.load(file)["recipe"]}
    base = tables["mae_image_finetune_base"]
    assert (base["epochs"], base["base_lr"], base["layer_decay"], base["drop_path"]) == (100, 5e-4, 0.65, 0.1)
    video = tables["mae_st_kinetics"]
    assert (video["base_lr"], video["clip_grad"], video["dropout"], video["repeats_per_decode"]) == (
        2.4e-3,
        5.0,
        0.3,
        2,
    )
    audio = tables["audiomae_as2m"]
    assert (audio["samples_per_epoch"], audio["sampling"], audio["loss"]) == (
        200_000, "class_balanced", "binary_cross_entropy",
    )  # fmt: skip


def test_settings_take_the_place_of_a_recipes():
    recipe = cards.recipe_card("mae_image_finetune_base")
    assert with_settings(recipe, lr=1e-3).base_lr is None
    short = with_settings(recipe, epochs=10.0, drop_path=None)
    assert (short.epochs, short.warmup_epochs, short.drop_path) == (10, 0.5, 0.1)
    with pytest.raises(CardError, match="drop_path"):
        with_settings(recipe, drop_path=2.0)
    with pytest.raises(CardError, match="twirl"):
        with_settings(recipe, tensor_augment=("twirl",))
    with pytest.raises(CardError, match="unknown key"):
        with_settings(recipe, learning_rate=1.0)


def test_a_recipe_of_another_modality_is_refused():
    with pytest.raises(CardError, match="recipe deit is for image"):
        choose_recipe(cards.model_card("demo_audio.sounds"), "deit")
