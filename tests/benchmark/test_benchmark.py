"""What a benchmark times and reports, and what it refuses; never how fast anything is."""

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer

from tome_zoo import create_model, registry
from tome_zoo.benchmark import benchmark, models, timing, variants
from tome_zoo.errors import CardError, TomeZooError


def run(*names, **options):
    """All cells, two rounds each."""
    return list(benchmark(names, **{"device": "cpu", "rounds": 2, **options}))


@pytest.mark.parametrize("name", ["tiny_image.test", "tiny_video.test", "tiny_audio.test"])
def test_the_limit_is_the_ratio_of_multiply_accumulates(tiny_zoo, name):
    ((unmerged, *merging),) = run(name, r=(0, 2))
    whole = registry.count_macs(name, 0)
    assert unmerged.gmacs == whole.total / 1e9
    assert unmerged.limit == 1
    for record, r in zip(merging, (0, 2), strict=True):
        counted = registry.count_macs(name, r)
        assert record.gmacs == counted.total / 1e9
        assert record.limit == whole.total / counted.total
        assert record.tokens_out == counted.tokens[-1]
        assert record.tokens_in == whole.tokens[0]
        assert record.macs_counter == "closed form"


def test_figures_follow_from_the_times(tiny_zoo, monkeypatch):
    """Known times in, known figures out: the speed-up is the median of the ratios, not the ratio of the medians."""
    times = {0: [0.4, 0.8, 1.0], 1: [0.2, 0.1, 1.0]}

    def time_in_turn(steps, device, **options):
        return [timing.StepTiming(seconds=times[i], first=9.0, peak_mib=5.0) for i in range(len(steps))]

    monkeypatch.setattr(timing, "time_in_turn", time_in_turn)
    ((unmerged, merging),) = run("tiny_image.test", r=(2,), batch_sizes=(4,))
    assert merging.latency_ms == pytest.approx(200)
    assert merging.samples_per_second == pytest.approx(20)
    assert unmerged.latency_ms == pytest.approx(800)
    assert merging.speedup == pytest.approx(2)  # of 2, 8 and 1
    assert merging.speedup_spread == pytest.approx((5 - 1.5) / 2)
    assert merging.latency_spread == pytest.approx((0.6 - 0.15) / 0.2)
    assert merging.of_limit == pytest.approx(2 / merging.limit)
    assert (merging.rounds, merging.peak_mib, merging.first_call_seconds) == (3, 5.0, None)


def test_a_record_for_each_form_in_every_cell(tiny_zoo):
    seen = []
    cells = run(
        "tiny_image.test", "tiny_audio.test", r=(0, [1, 2]), batch_sizes=(1, 3), dtypes=("float32", "bfloat16"),
        progress=lambda *step: seen.append(step),
    )  # fmt: skip
    assert len(cells) == 8
    assert [(cell[0].model, cell[0].dtype, cell[0].batch_size) for cell in cells] == [
        (model, dtype, size)
        for model in ("tiny_image.test", "tiny_audio.test")
        for dtype in ("float32", "bfloat16")
        for size in (1, 3)
    ]
    assert [step[:2] for step in seen] == [(i, 8) for i in range(9)]
    for cell in cells:
        assert [record.r for record in cell] == [None, "0", "1,2"]
        assert [record.variant for record in cell] == ["unmerged", "merging", "merging"]
        for record in cell:
            assert record.ok, record.reason
            assert record.rounds == 2
            assert record.latency_ms > 0
            assert record.samples_per_second == pytest.approx(1e3 * record.batch_size / record.latency_ms)
            assert record.of_limit == pytest.approx(record.speedup / record.limit)
            assert record.peak_mib is None or record.peak_mib > 0
            assert record.parameters == sum(p.numel() for p in create_model(record.model).parameters())
            assert record.device.startswith("cpu (")
            assert (record.torch, record.timm) == (torch.__version__, timm.__version__)
        assert cell[0].speedup == 1
        assert cell[0].attention == cell[1].attention == "timm fused"
        assert cell[2].attention not in (None, "timm fused")
        assert [record.fast_path is None for record in cell] == [True, True, False]


def test_inputs_are_those_of_the_modality(tiny_zoo):
    names = ("tiny_image.test", "tiny_video.test", "tiny_audio.test")
    shapes = [cell[0].input for cell in run(*names, r=(2,))]
    assert shapes == [(3, 32, 32), (3, 4, 32, 32), (1, 64, 32)]


def test_dtype_is_that_of_the_weights(tiny_zoo, monkeypatch):
    seen = []
    monkeypatch.setattr(variants, "_infer", lambda model, x: seen.append({p.dtype for p in (*model.parameters(), x)}))
    run("tiny_image.test", r=(2,), dtypes=("bfloat16",))
    assert seen
    assert all(dtypes == {torch.bfloat16} for dtypes in seen)


def test_without_r_it_takes_the_cards(tiny_zoo):
    (cell,) = run("tiny_image.test")
    assert [record.r for record in cell] == [None, "0", "2", "4"]


def test_settings_change_the_architecture(tiny_zoo):
    cells = run("tiny_image.test", r=(2,), overrides=({"img_size": 32}, {"img_size": [64, 48]}))
    assert [cell[0].tokens_in for cell in cells] == [17, 49]
    assert [cell[0].input for cell in cells] == [(3, 32, 32), (3, 64, 48)]
    assert cells[1][0].title == "tiny_image.test img_size=64x48"
    (video,) = run("tiny_video.test", r=(2,), overrides=({"num_frames": 8},))
    assert (video[0].input, video[0].tokens_in) == ((3, 8, 32, 32), 17)


def test_what_cannot_merge_is_timed_alone():
    small = ({"img_size": 64},)
    ((unmerged, refused),) = run("efficientnet_b0", r=(0, 8), overrides=small)
    assert unmerged.ok
    assert (unmerged.source, unmerged.variant, unmerged.macs_counter) == ("timm", "unmerged", models.FLOP_COUNTER)
    assert (refused.r, refused.status, refused.latency_ms) == ("8", "refused", None)
    assert "cannot merge" in refused.reason
    ((alone,),) = run("efficientnet_b0", overrides=small)
    assert alone.ok


def test_a_schedule_too_long_for_one_model_is_refused_there(tiny_zoo):
    deep, shallow = run("tiny_image.test", "tiny_video.test", r=([1, 1, 1], 2))
    assert [record.status for record in deep] == ["ok"] * 3
    assert [record.status for record in shallow] == ["ok", "refused", "ok"]
    assert "3 entries for 2 blocks" in shallow[1].reason


def test_running_out_of_memory_is_told_and_the_rest_goes_on(tiny_zoo, monkeypatch):
    def infer(model, inputs):
        if len(inputs) > 2 and type(model) is VisionTransformer:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(variants, "_infer", infer)
    small, large = run("tiny_image.test", r=(2,), batch_sizes=(2, 4))
    assert [record.status for record in small] == ["ok", "ok"]
    assert [record.status for record in large] == ["out of memory", "ok"]
    assert large[1].latency_ms is not None
    assert large[1].speedup is None


def test_a_model_that_cannot_be_built_is_told(tiny_zoo, monkeypatch):
    build = models.build
    monkeypatch.setattr(
        models, "build", lambda subject, *rest: 1 / 0 if "video" in subject.name else build(subject, *rest)
    )
    broken, good = run("tiny_video.test", "tiny_image.test", r=(0,), batch_sizes=(1,))
    assert [record.status for record in broken] == ["failed", "failed"]
    assert "ZeroDivisionError" in broken[0].reason
    assert all(record.ok for record in good)


def test_threads_are_given_back(tiny_zoo):
    before = torch.get_num_threads()
    (cell,) = run("tiny_image.test", r=(0,), threads=1)
    assert cell[0].threads == 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r": ()}, "r should name at least one"),
        ({"r": (-1,)}, "expected at least 0, got -1"),
        ({"r": ("8",)}, "r should be a whole number"),
        ({"batch_sizes": (1, 0)}, "batch size should be at least 1, got 0"),
        ({"dtypes": ("float8",)}, "dtype should be one of float32"),
        ({"compile": "fast"}, "compile should be one of block, graph, cuda-graph; got 'fast'"),
        ({"rounds": 0}, "rounds should be at least 1"),
        ({"threads": 0}, "threads should be at least 1"),
        ({"seconds": 0.0}, "seconds should be above 0"),
        ({"checkpointing": True}, "in training only"),
        ({"device": "abacus"}, "device 'abacus' cannot be used"),
        ({"overrides": ({"image_size": 3},)}, "'image_size' cannot be set; did you mean img_size"),
        ({"overrides": ({"img_size": 33},)}, "not divisible by patch_size"),
    ],
)
def test_a_plan_without_sense_is_refused_before_anything_runs(tiny_zoo, options, message):
    with pytest.raises(TomeZooError, match=message):
        benchmark(["tiny_image.test"], **{"device": "cpu", **options})


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("tiny_imagee.test", "tiny_image.test"),
        ("efficientnet_b00", "efficientnet_b0"),
        ("vit_tiny_patch16_224.augreg_in21k_ft_in2k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k"),
        ("zzz", "tome-zoo list"),
    ],
)
def test_an_unknown_name_lists_near_ones(tiny_zoo, name, near):
    with pytest.raises(CardError, match=f"has a model '{name}'.*{near}"):
        benchmark(["tiny_image.test", name], device="cpu")


def test_no_name_is_refused():
    with pytest.raises(TomeZooError, match="at least one model"):
        benchmark([], device="cpu")
