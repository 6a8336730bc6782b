"""The report in a real browser, from disk and without network: sorted, filtered, clicked, typed at, measured by axe."""

import re
import shutil

import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from covbench.reporting.page import build_report
from covbench.system.files import write_table
from tests.chromium import CHROMIUM, NO_BROWSER
from tests.synthetic_results import compare_tree, draw_tree, plan_runs, write_manifest

PLAN = plan_runs(
    {
        "phantom_xray": ["vgg16", "mobilenetv2", "majority"],
        "phantom_lesions": ["unet_vgg19", "fpn_vgg19", "empty_mask"],
    },
    protocols=("published", "published_audited_split", "audited"),
    seeds=(0,),
)
MISSING = "results/runs/phantom_xray/audited/vgg16/0"
FAILED = "phantom_lesions/published/fpn_vgg19/0"
CLASSIFIER, SEGMENTER = "models/phantom_xray/audited/mobilenetv2.html", "models/phantom_lesions/audited/unet_vgg19.html"
PAGES = ["index.html", "tasks/phantom_xray.html", "tasks/phantom_lesions.html", CLASSIFIER, SEGMENTER]
HOSTILE = "<img src=x onerror=alert(1)>\"'</script><script>alert(1)</script>"

pytestmark = pytest.mark.skipif(not CHROMIUM, reason=NO_BROWSER)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report's folder of a benchmark in which one run is missing and one failed; its path has a space."""
    root = tmp_path_factory.mktemp("bench mark")
    draw_tree(root, PLAN, images=300)
    shutil.rmtree(root / MISSING)
    shutil.rmtree(root / "results/runs" / FAILED)
    (root / "checkpoints" / FAILED).mkdir(parents=True)
    (root / "checkpoints" / FAILED / "failure.txt").write_text("no room on the disk")
    compare_tree(root, PLAN)
    return build(root, PLAN)


def build(root, plan):
    folder = root / "results/report"
    build_report(root / "results", root / "data", plan, folder, "Test & report", {"Commit": "c0ffee"})
    return folder


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A page without network; after the test nothing has been asked of it and no error been said."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    page, faults = context.new_page(), []
    page.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    # A picture still on its way when the page is left is aborted; one that is not there is net::ERR_FILE_NOT_FOUND.
    page.on(
        "requestfailed",
        lambda request: request.failure == "net::ERR_ABORTED" or faults.append(f"{request.url} {request.failure}"),
    )
    page.on("request", lambda request: request.url.startswith("file:") or faults.append(request.url))
    page.on("dialog", lambda alert: faults.append(f"alert: {alert.message}"))
    yield page
    context.close()
    assert faults == []


def visit(page, report, path):
    page.goto((report / path).as_uri())


def read_column(table, heading):
    """Numbers of a column, from the top; cells without one are left out."""
    headings = [text.split("\n")[0].strip(" \u00a0↕↓↑") for text in table.locator("thead th").all_inner_texts()]
    cells = table.locator(f"tbody tr:visible > :nth-child({headings.index(heading) + 1})")
    found = [cell.get_attribute("data-sort") for cell in cells.all()]
    return [float(value) for value in found if value]


@pytest.mark.parametrize("path", PAGES)
def test_every_kind_of_page_passes_axe_in_both_themes_and_fits_a_phone(page, report, path):
    visit(page, report, path)
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found = Axe().run(page).response["violations"]
            assert [(rule["id"], [node["target"] for node in rule["nodes"]]) for rule in found] == []
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")


@pytest.mark.parametrize("task", ["phantom_xray", "phantom_lesions"])
def test_a_case_is_two_clicks_from_the_leaderboard(page, report, task):
    visit(page, report, "index.html")
    page.locator(f".card:has(a[href='tasks/{task}.html']) tbody a").first.click()
    page.locator("#gallery button.tile").first.click()
    dialog = page.locator("dialog#case")
    expect(dialog).to_be_visible()
    expect(dialog).to_contain_text("Patient p")
    page.wait_for_function("[...document.querySelectorAll('dialog img')].every((image) => image.naturalWidth > 0)")
    assert Axe().run(page).response["violations"] == []


def test_cases_come_worst_first_and_are_filtered_by_error_and_patient(page, report):
    visit(page, report, CLASSIFIER)
    tiles = page.locator("#gallery button.tile")
    tiles.first.wait_for()
    everything = tiles.count()
    page.get_by_label("Error").select_option("false negative")
    misses = tiles.all_inner_texts()
    assert 0 < len(misses) < everything
    assert all("covid, predicted normal" in text for text in misses)
    sure = [float(text.rsplit("(", 1)[1].rstrip(")")) for text in misses]
    assert sure == sorted(sure, reverse=True)
    page.get_by_label("Error").select_option("")
    page.locator("#gallery").get_by_label("Patient").select_option(index=1)
    patient = page.locator("#gallery").get_by_label("Patient").input_value()
    tiles.first.click()
    expect(page.locator("dialog#case")).to_contain_text(f"Patient {patient}")


def test_predictive_values_follow_the_prevalence_that_is_typed(page, report):
    visit(page, report, "tasks/phantom_xray.html")
    box = page.locator("details.operating")
    box.locator("summary").click()
    table = pd.read_csv(report.parent / "compare/operating_points.csv")
    row = table[table["lr_positive_low"].notna() & (table["unit"] == "image")].iloc[0]
    cell = box.locator(f"[data-predictive=ppv][data-ratio='{row['lr_positive']}']").first
    opened = cell.inner_text()
    box.get_by_label("Prevalence").fill("10")
    found, missed = 0.1 * row["sensitivity"], 0.9 * (1 - row["specificity"])
    assert cell.locator(".value").inner_text() == f"{found / (found + missed):.3f}"
    ratios = [row[f"lr_positive_{end}"] for end in ("low", "high")]
    assert cell.locator(".detail").inner_text() == "–".join(f"{ratio / (ratio + 9):.3f}" for ratio in ratios)
    box.get_by_label("Prevalence").fill("200")  # no prevalence: nothing changes
    assert cell.locator(".value").inner_text() == f"{found / (found + missed):.3f}" != opened.split("\n")[0]


def test_two_models_are_compared_on_one_case(page, report):
    visit(page, report, SEGMENTER)
    page.locator("#gallery button.tile").first.click()
    page.get_by_label("Compare with").select_option("fpn_vgg19")
    expect(page.locator("dialog h3")).to_have_text(["unet_vgg19", "fpn_vgg19"])
    expect(page.locator("dialog figcaption")).to_have_text(
        ["image", "truth", "prediction", "errors", "prediction", "errors"]
    )


def test_tables_are_sorted_and_filtered(page, report):
    visit(page, report, "tasks/phantom_xray.html")
    table = page.locator("table:has(caption:text-matches('^All metrics;'))")
    table.get_by_role("button", name="AUROC").click()
    values = read_column(table, "AUROC")
    assert len(set(values)) > 2
    assert values == sorted(values, reverse=True)
    table.get_by_role("button", name="AUROC").click()
    assert read_column(table, "AUROC") == values[::-1]
    page.locator(".tablebox:has(caption:text-matches('^All metrics;'))").get_by_label("Protocol").select_option(
        "audited"
    )
    assert 0 < len(read_column(table, "AUROC")) < len(values)


def test_the_first_screen_is_filtered_by_metric_protocol_and_family(page, report):
    visit(page, report, "index.html")
    card = page.locator(".card:has(a[href='tasks/phantom_xray.html'])")
    segmentation = page.locator(".card:has(a[href='tasks/phantom_lesions.html'])")
    expect(card.locator("caption:visible")).to_contain_text("AUROC")
    page.get_by_label("Metric").select_option("Accuracy")
    expect(card.locator("caption:visible")).to_contain_text("Accuracy")
    expect(segmentation).to_contain_text("does not have this metric")
    page.get_by_label("Metric").select_option("")
    page.locator("#leaders").get_by_label("Protocol").select_option("published")
    assert card.locator("[data-protocol=published]:visible").count() == 1
    assert card.locator("[data-protocol=audited]:visible").count() == 0
    assert card.locator("[data-protocol='published recipe, audited folds']:visible").count() == 0
    page.get_by_label("Family").select_option("baseline")
    assert card.locator("tbody tr:visible th").all_inner_texts()[0].startswith("majority")
    assert card.locator("tbody tr:visible").count() == 1


def test_the_first_screen_shows_every_step_below_the_score_that_it_leads_to(page, report):
    visit(page, report, "index.html")
    row = page.locator(".card:has(a[href='tasks/phantom_xray.html']) tr:has(a:text-is('mobilenetv2'))").first
    published, between, audited = (row.locator(f"td:nth-of-type({number})") for number in (1, 2, 3))
    expect(between).to_contain_text(re.compile(r"split alone [+−]\d\.\d{3}"))
    expect(audited).to_contain_text(re.compile(r"recipe [+−]\d\.\d{3}"))
    expect(published).not_to_contain_text("split")
    (sentences,) = page.locator(".card:has(a[href='tasks/phantom_xray.html']) ul.reading").all_inner_texts()
    assert re.search(r"^audited: .* (leads|tie|only model)", sentences)
    assert "The split alone changes AUROC" in sentences


def test_a_leaderboard_of_the_first_screen_is_sorted(page, report):
    visit(page, report, "index.html")
    card = page.locator(".card:has(a[href='tasks/phantom_xray.html'])")
    card.locator("th[data-protocol=published]:visible").get_by_role("button").click()
    values = read_column(card.locator("table:visible"), "published")
    assert len(values) > 1
    assert values == sorted(values, reverse=True)


def test_learning_curves_say_their_values_under_the_pointer_in_both_themes(page, report):
    visit(page, report, CLASSIFIER)
    plot = page.locator(".curve").first.locator(".u-over")
    for _ in range(2):
        plot.scroll_into_view_if_needed()
        plot.hover()
        legend = page.locator(".curve").first.locator(".u-legend")
        expect(legend.locator(".u-series").nth(1)).to_contain_text("training")
        expect(legend.locator(".u-value").nth(1)).to_have_text(re.compile(r"^\d\.\d{3}$"))
        page.locator("#theme").click()
    visit(page, report, "models/phantom_xray/audited/majority.html")
    assert page.locator(".curve").count() == 0


def test_a_page_has_its_sections_in_reach(page, report):
    for path, ranks in (("tasks/phantom_xray.html", 11), (CLASSIFIER, 4)):
        visit(page, report, path)
        links = page.locator(".parts a")
        assert links.count() == ranks
        for link in links.all():
            expect(page.locator(link.get_attribute("href"))).to_have_count(1)


def test_the_keyboard_alone_opens_a_case_and_closes_it(page, report):
    visit(page, report, "index.html")
    press_until(page, "Tab", "document.activeElement.matches('.card tbody a')")
    page.keyboard.press("Enter")
    page.wait_for_selector("#gallery button.tile")
    press_until(page, "Tab", "document.activeElement.matches('#gallery button.tile')")
    page.keyboard.press("Enter")
    expect(page.locator("dialog#case")).to_be_visible()
    first = page.locator("#casename").inner_text()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#casename")).not_to_have_text(first)
    page.keyboard.press("Escape")
    expect(page.locator("dialog#case")).to_be_hidden()


def press_until(page, key, condition, most=60):
    for _ in range(most):
        page.keyboard.press(key)
        if page.evaluate(condition):
            return
    raise AssertionError(f"{most} times {key}, and never {condition}")


def test_the_theme_is_switched_and_kept_from_page_to_page(page, report):
    visit(page, report, "index.html")
    background = "getComputedStyle(document.body).backgroundColor"
    page.locator("#theme").click()
    light = page.evaluate(background)
    page.locator("#theme").click()
    dark = page.evaluate(background)
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(21, 22, 26)")
    visit(page, report, CLASSIFIER)
    assert page.evaluate(background) == dark


def test_a_partial_grid_says_what_is_missing_and_why_something_failed(page, report):
    visit(page, report, "index.html")
    expect(page.locator("header")).to_contain_text("1 missing")
    expect(page.locator("#grid")).to_contain_text("missing 0/1")
    expect(page.locator("#grid")).to_contain_text("no manifest.json")
    expect(page.locator("header")).to_contain_text("1 failed")
    expect(page.locator("#grid")).to_contain_text("✗ failed 0/1")
    expect(page.locator("#grid")).to_contain_text("no room on the disk")


def test_hostile_names_stay_text(page, tmp_path):
    plan = plan_runs({"phantom_xray": ["vgg16"]}, protocols=("audited",), seeds=(0,))
    draw_tree(tmp_path, plan)
    compare_tree(tmp_path, plan)
    for path in [*tmp_path.rglob("cases.parquet"), *tmp_path.rglob("rows.parquet")]:
        table = pd.read_parquet(path)
        for column in {"image_id", "patient_id", "source"} & set(table.columns):
            table[column] = HOSTILE + table[column]
        write_table(path, table)
    for planned in plan:
        write_manifest(tmp_path, planned)  # as if trained with these rows
    folder = build(tmp_path, plan)
    visit(page, folder, "index.html")
    visit(page, folder, "models/phantom_xray/audited/vgg16.html")
    page.locator("#gallery button.tile").first.click()
    expect(page.locator("#casename")).to_contain_text(HOSTILE)
