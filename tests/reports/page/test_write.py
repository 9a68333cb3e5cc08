"""The page holds what the results say, and needs nothing but itself."""

import html
import re
import shutil

import pytest

from tome_zoo.cards import model_card
from tome_zoo.errors import DataError
from tome_zoo.evaluation.results import append_results
from tome_zoo.reports.comparison import find_results
from tome_zoo.reports.page import write
from tome_zoo.reports.tables import rows


def plain(text):
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_every_figure_is_in_the_table(page_file, evaluated, tiny_zoo):
    text = page_file.read_text()
    results = find_results(evaluated)
    assert text.count("<section ") == 3
    for result, record in zip(results, rows(results), strict=True):
        section = text[text.index(f">{result.model}</h2>") :]
        (row,) = re.findall(rf'<tr data-readout="r = {result.r}:.*?</tr>', section[: section.index("</table>")], re.S)
        cells = re.findall(r"<t[hd][^>]*>([^<]*)<", row)
        assert cells[:2] == [result.r, f"{result.score:.2f}"]
        assert f"{record['speedup_over_timm']:.2f}x" in cells
        assert str(result.tokens[-1]) in cells
        for fact in (result.protocol, result.weights, result.versions["torch"], result.date):
            assert fact in section


def test_it_asks_nothing_of_the_network(page_file):
    text = page_file.read_text()
    assert "default-src 'none'" in text
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", text)
    assert not re.findall(r"url\((?!#)|@import|fetch\(|https?://", text)
    assert len(text) < 3_000_000


def test_samples_are_drawn_at_every_r(page_file):
    text = page_file.read_text()
    for name in ("tiny_image.test", "tiny_video.test", "tiny_audio.test"):
        section = text[text.index(f">{name}</h2>") :].partition("</section>")[0]
        n_steps = section.count("<tr data-readout")
        sliders = re.findall(r"<figure class=\"sample\".*?</figure>", section, re.S)
        assert sliders
        assert all(slider.count('<img class="step" src="data:image/') == n_steps for slider in sliders)
        assert all(slider.count('<div class="step"') == n_steps for slider in sliders)


def test_pictures_stay_within_their_room(evaluated, tiny_zoo, tmp_path, monkeypatch):
    sizes = []
    for room in (0, 20_000):
        monkeypatch.setattr(write, "PICTURES", room)
        text = write.write_page(evaluated, tmp_path / "page.html").read_text()
        sizes.append(sum(map(len, re.findall(r'src="(data:image[^"]*)"', text))))
    assert sizes[0] == 0
    assert 0 < sizes[1] <= 20_000


def test_reported_figures_stand_beside_measured_ones(make_result, tmp_path):
    name = "vit_large_patch16_224.mae_ft_in1k"
    append_results(
        tmp_path,
        [make_result(model=name, r=r, top1=top1, dataset="imagenet1k") for r, top1 in (("0", 85.9), ("8", 84.0))],
    )
    text = plain(write.write_page(tmp_path, tmp_path / "page.html").read_text())
    reported = {figure.r: figure for figure in model_card(name).reported}
    assert f"{reported[8].top1:.2f} {84.0 - reported[8].top1:+.2f}" in text
    assert f"r = 8: {reported[8].source}" in text
    assert "no intervals, no samples" in text
    assert "Hollow: reported by others" in text


def test_names_are_written_as_they_are(make_result, tmp_path):
    name = "<script>alert(1)</script> & [abc]"
    append_results(tmp_path, [make_result(model=name, dataset="<b>")])
    text = write.write_page(tmp_path, tmp_path / "page.html").read_text()
    assert "<script>alert" not in text
    assert html.escape(name, quote=False) in text


def test_unreadable_samples_are_left_out(evaluated, tiny_root, tiny_zoo, tmp_path, caplog):
    folder = shutil.copytree(evaluated, tmp_path / "evaluated")
    data = shutil.copytree(tiny_root / "image", tmp_path / "image")
    lines = folder / "results.jsonl"
    lines.write_text(lines.read_text().replace(str(tiny_root / "image"), str(data)))
    for path in data.rglob("*.png"):
        path.write_bytes(b"no picture")
    text = write.write_page(folder, tmp_path / "page.html").read_text()
    section = text[text.index(">tiny_image.test</h2>") :].partition("</section>")[0]
    assert "data:image" not in section
    assert "95 % interval" in section
    assert "is not drawn" in caplog.text


def test_a_folder_without_results_is_named(tmp_path):
    with pytest.raises(DataError, match="found no results"):
        write.write_page(tmp_path, tmp_path / "page.html")
