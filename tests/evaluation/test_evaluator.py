"""Evaluation against loops written out by hand: the same samples, the same scores, every failure counted."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from tome_zoo import cards, create_model, evaluate, modalities, predict
from tome_zoo.data.dataset import chosen_indices, open_dataset
from tome_zoo.errors import CardError, DataError, ScheduleError, TomeZooError
from tome_zoo.evaluation.results import read_results
from tome_zoo.evaluation.score_store import read_scores
from tome_zoo.transformer.macs import count_macs
from tome_zoo.weights.load import weights_digest

IMAGE, VIDEO, AUDIO = "tiny_image.test", "tiny_video.test", "tiny_audio.test"


def load(name, **options):
    return create_model(name, pretrained=True, **options)


def logits_by_hand(model, data, r):
    """Logits of each sample, [samples, views, classes], one sample at a time."""
    model.r = r
    with torch.inference_mode():
        return [model(model.preprocess(sample.path)).double().numpy() for sample in data.samples]


def copy_of(root, kind, tmp_path):
    return shutil.copytree(root / kind, tmp_path / kind)


@pytest.mark.parametrize("r", [0, 3, (4, -1.0), [2, 5]])
def test_image_accuracy_is_that_of_a_plain_loop(tiny_zoo, r):
    model, data = load(IMAGE), open_dataset(tiny_zoo / "image", cards.dataset_card("tiny_things"))
    (result,) = evaluate(model, data, r=[r], batch_size=5)
    logits = logits_by_hand(model, data, r)
    best = [int(np.argmax(rows[0])) for rows in logits]
    hits = sum(guess == sample.target for guess, sample in zip(best, data.samples, strict=True))
    assert len(set(best)) > 1, "a model that always gives one answer shows nothing"
    assert result.top1 == pytest.approx(100 * hits / 22)
    assert result.top5 == 100.0
    assert (result.n_expected, result.n_scored, result.n_failed) == (22, 22, 0)
    assert (result.model, result.dataset, result.split) == (IMAGE, "tiny_things", "val")
    assert result.protocol == "image_center_crop@1"


def test_video_views_are_averaged_behind_the_softmax(tiny_zoo, tmp_path):
    model, data = load(VIDEO), open_dataset(tiny_zoo / "video", cards.dataset_card("tiny_clips"))
    (result,) = evaluate(VIDEO, tiny_zoo / "video", r=[2], batch_size=3, output=tmp_path)
    expected = []
    for rows in logits_by_hand(model, data, 2):
        assert len(rows) == result.views == 2
        powers = [[math.exp(value) for value in row] for row in rows]
        expected.append([sum(row[c] / sum(row) for row in powers) / 2 for c in range(4)])
    ids, scores = read_scores(next((tmp_path / "scores").iterdir()))
    assert ids == sorted(sample.id for sample in data.samples)
    expected = [row for _, row in sorted(zip([sample.id for sample in data.samples], expected, strict=True))]
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    targets = {sample.id: sample.target for sample in data.samples}
    hits = sum(int(np.argmax(row)) == targets[sample] for row, sample in zip(expected, ids, strict=True))
    assert result.top1 == pytest.approx(100 * hits / 5)


def test_audio_map_is_scikit_learns_on_the_whole_matrix(tiny_zoo):
    model, data = load(AUDIO), open_dataset(tiny_zoo / "audio", cards.dataset_card("tiny_sounds"))
    (result,) = evaluate(AUDIO, tiny_zoo / "audio", r=[4])
    scores = np.concatenate(logits_by_hand(model, data, 4))
    targets = np.array([[c in sample.target for c in range(3)] for sample in data.samples])
    assert not targets[:, 2].any()
    expected = average_precision_score(targets[:, :2], scores[:, :2], average="macro")
    assert result.map == pytest.approx(100 * expected)
    assert result.classes_scored == 2
    assert result.top1 is None


def test_every_r_runs_on_samples_that_are_decoded_once(tiny_zoo, monkeypatch):
    read, reads = modalities.get("image").read, []
    monkeypatch.setattr(modalities.get("image"), "read", lambda path, spec: (reads.append(path), read(path, spec))[1])
    results = evaluate(IMAGE, tiny_zoo / "image", r=[0, 2, 4, 2, (3, -1.0)], batch_size=4)
    assert len(reads) == len(set(reads)) == 22
    assert [result.r for result in results] == ["0", "2", "4", "3:-1"]
    model = create_model(IMAGE, device="meta")
    for result, r in zip(results, [0, 2, 4, (3, -1.0)], strict=True):
        count = count_macs(model, r)
        assert (result.gmacs, result.tokens) == (count.gmacs, count.tokens)
        assert result.samples_per_second > 0


def test_scores_do_not_depend_on_batches_workers_or_limits(tiny_zoo, tmp_path):
    runs = {"plain": {}, "single": {"batch_size": 1}, "workers": {"workers": 1}, "limit": {"limit": 5}}
    scores = {}
    for name, options in runs.items():
        evaluate(IMAGE, tiny_zoo / "image", r=[3], output=tmp_path / name, **options)
        ids, rows = read_scores(next((tmp_path / name / "scores").iterdir()))
        scores[name] = dict(zip(ids, rows, strict=True))
    assert len(scores["limit"]) == 5
    for rows in scores.values():
        for sample, row in rows.items():
            np.testing.assert_allclose(row, scores["plain"][sample], atol=1e-5)


def test_a_limit_spreads_over_the_split():
    assert list(chosen_indices(10, None)) == list(chosen_indices(10, 99)) == list(range(10))
    assert chosen_indices(10, 4) == [0, 2, 5, 7]


def test_faulty_samples_are_counted_with_their_reasons_and_spoil_no_other(tiny_zoo, tmp_path):
    root = copy_of(tiny_zoo, "image", tmp_path)
    (root / "val" / "ant" / "0.png").write_bytes(b"")
    (root / "val" / "bee" / "1.png").write_text("no picture")
    (result,) = evaluate(IMAGE, root, r=[2], batch_size=3, output=tmp_path / "faulty")
    assert (result.n_expected, result.n_scored, result.n_failed) == (22, 20, 2)
    assert {failure.id for failure in result.failed} == {"ant/0.png", "bee/1.png"}
    assert all(failure.reason for failure in result.failed)
    evaluate(IMAGE, tiny_zoo / "image", r=[2], batch_size=3, output=tmp_path / "whole")
    whole, faulty = (
        dict(zip(*read_scores(next((tmp_path / name / "scores").iterdir())), strict=True))
        for name in ("whole", "faulty")
    )
    assert set(whole) - set(faulty) == {"ant/0.png", "bee/1.png"}
    for sample, row in faulty.items():
        np.testing.assert_allclose(row, whole[sample], atol=1e-5)


def test_a_missing_file_of_a_list_fails_alone(tiny_zoo, tmp_path):
    root = copy_of(tiny_zoo, "video", tmp_path)
    (root / "3.mp4").unlink()
    (result,) = evaluate(VIDEO, root)
    assert (result.n_expected, result.n_scored, result.n_failed) == (5, 4, 1)
    assert result.failed[0].id == "3.mp4"


def test_scores_that_are_not_finite_count_as_failed(tiny_zoo, caplog):
    model = load(IMAGE)

    def spoil(module, inputs, output):
        return output.clone().index_fill(0, torch.tensor([0]), math.nan) if module.r else output

    model.register_forward_hook(spoil)
    whole, merged = evaluate(model, tiny_zoo / "image", r=[0, 2], batch_size=11)
    assert (whole.n_scored, whole.n_failed) == (22, 0)
    assert (merged.n_scored, merged.n_failed) == (20, 2)
    assert "NaN" in merged.failed[0].reason
    assert "NaN" in caplog.text


def test_nothing_to_score_is_an_error(tiny_zoo, tmp_path):
    root = copy_of(tiny_zoo, "image", tmp_path)
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="all 22 failed"):
        evaluate(IMAGE, root, output=tmp_path / "out")


def test_results_are_appended_as_json_lines(tiny_zoo, tmp_path):
    returned = evaluate(IMAGE, tiny_zoo / "image", r=[0, 4], output=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["r"] for line in lines] == ["0", "4"]
    assert read_results(tmp_path) == returned


def test_a_given_model_is_left_as_it_was(tiny_zoo):
    model = load(IMAGE, r=3).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    evaluate(model, tiny_zoo / "image", r=[0], dtype="bfloat16", limit=4)
    assert (model.r, model.training, next(model.parameters()).requires_grad) == (3, True, True)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


def test_bfloat16_stays_close(tiny_zoo, tmp_path):
    for dtype in ("float32", "bfloat16"):
        (result,) = evaluate(IMAGE, tiny_zoo / "image", dtype=dtype, output=tmp_path / dtype)
        assert result.dtype == dtype
    full, half = (read_scores(next((tmp_path / d / "scores").iterdir()))[1] for d in ("float32", "bfloat16"))
    assert not np.array_equal(full, half)
    np.testing.assert_allclose(half, full, atol=0.1 * float(np.abs(full).max()))


def test_timm_unmerged_is_timed_beside(tiny_zoo):
    for result in evaluate(IMAGE, tiny_zoo / "image", r=[0, 2], time_timm=True):
        assert result.timm_samples_per_second > 0


def test_schedules_of_whole_numbers_stay_apart(tiny_zoo):
    """A tuple of whole numbers is block by block, of two as of three."""
    results = evaluate(IMAGE, tiny_zoo / "image", r=[(4, 2), (4, 2, 1), [4, 2], np.int64(3)], limit=2)
    assert [result.r for result in results] == ["4,2", "4,2,1", "3"]
    assert len({result.key for result in results}) == 3
    (alone,) = evaluate(IMAGE, tiny_zoo / "image", r=np.int64(3), limit=2)
    assert alone.r == "3"


def test_timms_class_is_timed_with_a_pooling_of_ours_too(tiny_zoo):
    """AST averages two prefix tokens, which a pooling module does in timm's class."""
    model = create_model(AUDIO, pool="prefix_mean")
    (result,) = evaluate(model, tiny_zoo / "audio", time_timm=True)
    assert result.timm_samples_per_second > 0


def test_what_is_said_of_a_data_set_that_is_open_is_refused(tiny_zoo):
    data = open_dataset(tiny_zoo / "image", cards.dataset_card("tiny_things"))
    for options in ({"split": "train"}, {"dataset": "tiny_things"}, {"data_format": "image_folder"}):
        with pytest.raises(TomeZooError, match=f"{next(iter(options))} would be ignored"):
            evaluate(IMAGE, data, **options)


def test_unmerged_results_name_timms_attention(tiny_zoo):
    whole, merged = evaluate(IMAGE, tiny_zoo / "image", r=[0, 2], limit=2)
    assert whole.attention == "timm fused"
    assert merged.attention not in ("", whole.attention)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_out_of_memory_halves_the_batch_and_says_so(tiny_zoo, tmp_path, caplog, error):
    model = load(IMAGE)
    model.register_forward_pre_hook(lambda module, inputs: _refuse(error) if len(inputs[0]) > 3 else None)
    (result,) = evaluate(model, tiny_zoo / "image", batch_size=11, output=tmp_path)
    assert (result.n_scored, result.batch_size) == (22, 2)
    assert "11 views a forward: going on with 5" in caplog.text
    (whole,) = evaluate(IMAGE, tiny_zoo / "image", batch_size=11)
    assert result.top1 == whole.top1
    model.register_forward_pre_hook(lambda *_: _refuse(error))
    with pytest.raises(TomeZooError, match="1 views a forward"):
        evaluate(model, tiny_zoo / "image", batch_size=11)


def _refuse(error):
    raise error


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"r": [-1]}, ScheduleError, "at least 0"),
        ({"r": [[1, 1, 1, 1]]}, ScheduleError, "4 entries for 3 blocks"),
        ({"r": []}, TomeZooError, "at least one r"),
        ({"dtype": "int8"}, TomeZooError, "float32, bfloat16"),
        ({"batch_size": 0}, TomeZooError, "batch_size"),
        ({"limit": 0}, TomeZooError, "limit"),
        ({"device": "gpu"}, TomeZooError, "device 'gpu'"),
        ({"split": "tes"}, DataError, "no split"),
        ({"protocol": "image_centre_crop"}, CardError, "image_center_crop"),
        ({"protocol": "audio_clip"}, DataError, "is for audio"),
        ({"dataset": "tiny_sounds"}, DataError, "is for audio"),
        ({"dataset": "imagenet1k"}, DataError, "4 classes.* 1000"),
    ],
)
def test_what_does_not_fit_is_refused(tiny_zoo, options, error, message):
    with pytest.raises(error, match=message):
        evaluate(IMAGE, tiny_zoo / "image", **options)


def test_another_class_count_than_the_data_set_is_refused(tiny_zoo):
    with pytest.raises(DataError, match=r"6 classes.* 4"):
        evaluate(create_model(IMAGE, num_classes=6), tiny_zoo / "image")


def test_an_encoder_is_refused_with_the_way_out(tiny_zoo):
    encoder = create_model("tiny_encoder.test")
    with pytest.raises(TomeZooError, match="weights"):
        evaluate(encoder, tiny_zoo / "image")
    with pytest.raises(TomeZooError, match="weights"):
        predict(encoder, next((tiny_zoo / "image").rglob("*.png")))


def test_a_fine_tuned_file_gives_an_encoder_its_classes(tiny_zoo):
    ours = {"weights": tiny_zoo / "cards" / "image.safetensors", "limit": 3}
    (result,) = evaluate(IMAGE, tiny_zoo / "image", **ours)
    assert result.n_scored == 3


def test_predictions_are_the_softmax_of_the_logits(tiny_zoo):
    model, path = load(IMAGE, r=2), tiny_zoo / "image" / "val" / "ant" / "0.png"
    best = predict(model.train(), path, top_k=3)
    assert model.training
    logits = model.eval()(model.preprocess(path))[0].detach().double()
    expected = torch.softmax(logits, 0).sort(descending=True)
    assert [item.index for item in best] == expected.indices[:3].tolist()
    assert [item.probability for item in best] == pytest.approx(expected.values[:3].tolist(), abs=1e-6)
    assert [item.label for item in best] == [("ant", "bee", "cow", "dog")[item.index] for item in best]


def test_predictions_of_several_classes_are_independent(tiny_zoo):
    model, path = load(AUDIO), tiny_zoo / "audio" / "0.wav"
    best = predict(model, path, top_k=9)
    expected = torch.sigmoid(model(model.preprocess(path))[0].detach().double())
    assert sorted(item.label for item in best) == ["Alarm", "Bell", "Chime"]
    for item in best:
        assert item.probability == pytest.approx(float(expected[item.index]), abs=1e-6)


def test_predictions_that_are_not_finite_are_an_error(tiny_zoo):
    model = load(IMAGE)
    model.head.bias.data[0] = math.nan
    with pytest.raises(TomeZooError, match="NaN"):
        predict(model, tiny_zoo / "image" / "val" / "ant" / "0.png")
    with pytest.raises(TomeZooError, match="top_k"):
        predict(model, tiny_zoo / "image" / "val" / "ant" / "0.png", top_k=0)


def test_the_digest_names_the_weights(tiny_zoo):
    one, other = load(IMAGE), load(IMAGE, r=4)
    assert weights_digest(one) == weights_digest(other)
    other.head.bias.data[0] += 1
    assert weights_digest(one) != weights_digest(other)
    assert len(weights_digest(one.bfloat16())) == 16
