"""The page in a real browser: it moves, asks nothing of the network, and can be read and used by everybody."""

import pytest

Axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe


@pytest.fixture
def address(page_file):
    return page_file.as_uri()


def test_the_slider_changes_picture_prediction_and_numbers(open_page, address):
    page = open_page(address)
    sample = page.locator("[data-sample]").first
    slider = sample.locator("input[type=range]")
    seen = []
    slider.focus()
    page.keyboard.press("Home")
    for _ in range(int(slider.get_attribute("max")) + 1):
        pictures = sample.locator("img.step:visible")
        texts = sample.locator("div.step:visible")
        assert pictures.count() == texts.count() == 1
        assert f"r = {sample.locator('output').inner_text()}" == slider.get_attribute("aria-valuetext")
        assert pictures.evaluate("image => image.complete && image.naturalWidth > 0")
        seen.append((pictures.get_attribute("src"), texts.inner_text()))
        page.keyboard.press("ArrowRight")
    assert len({picture for picture, _ in seen}) == len({text for _, text in seen}) == len(seen) > 1
    assert page.faults == []


def test_the_choice_of_r_changes_classes_and_samples(open_page, address):
    page = open_page(address)
    section = page.locator("section", has=page.locator("h2", has_text="tiny_image.test"))
    for r in ("2", "4"):
        section.locator("select").select_option(r)
        assert section.locator(".against:visible").count() == 1
        assert f"at r = {r} than" in section.locator(".against:visible").inner_text().replace("\n", " ")
    assert page.faults == []


def test_the_chart_is_read_by_keyboard_and_pointer(open_page, address):
    page = open_page(address)
    chart = page.locator(".chart").first
    chart.focus()
    told = []
    for _ in range(2):
        page.keyboard.press("ArrowRight")
        told.append(chart.locator(".readout").inner_text())
    assert told[0].startswith("r = 0: ")
    assert told[1] != told[0]
    chart.locator(".point").first.hover()
    assert chart.locator(".readout").inner_text() == told[0]
    assert page.locator("section").first.locator("tr.on").count() == 1


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_readable_in_both_widths_and_themes(open_page, address, width, theme):
    page = open_page(address, width, theme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    assert dark == (theme == "dark")
    assert page.locator("#theme").get_attribute("aria-pressed") == str(dark).lower()
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]})
    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found.response["violations"]] == []
    page.locator("#theme").click()
    assert (page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)") != dark
    assert page.faults == []


def test_focus_is_seen_and_reaches_everything(open_page, address):
    page = open_page(address)
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        what, outline = page.evaluate(
            "[document.activeElement.tagName, getComputedStyle(document.activeElement).outlineWidth]"
        )
        if what == "BODY":
            break
        assert outline == "3px"
        reached.add(what)
    assert reached >= {"A", "BUTTON", "FIGURE", "DIV", "INPUT", "SELECT", "SUMMARY"}
