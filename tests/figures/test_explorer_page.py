"""The explorer's page in a real browser, opened from the disk."""

import pathlib
import shutil
import subprocess

import pytest

from tests.figures import made_up_explorer
from tests.figures.test_explorer import bare, black, one_layer
from zf_jax.figures.explorer import content, single_file, writer

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NPM = shutil.which("npm")
HERE = pathlib.Path(__file__).parent
LAYER = "#block1%2Frelu"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An explorer in a folder whose name must be quoted."""
    out = tmp_path_factory.mktemp("explorer") / 'it\'s "100 %" blå #1'
    made_up_explorer.write(out)
    return out


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs chromium in PATH (Debian's package chromium)")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(
            executable_path=CHROMIUM,
            # Root has no sandbox.
            args=["--no-sandbox"],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, folder):
    """Opens a route; whatever the console, dialogs or requests tell is an error."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(10_000)
    wrong, requests = [], []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append("a dialog"), dialog.dismiss()))
    page.on("requestfailed", lambda request: wrong.append(request.url))
    page.on("request", lambda request: requests.append(request.url))
    page.requests = requests

    def opened(route="", file=folder / "index.html"):
        page.goto(file.as_uri() + route)
        page.wait_for_selector("h1")
        return page

    yield opened
    page.close()
    assert wrong == []


def units(page):
    """The numbers of the units that the grid begins with."""
    return page.locator(".cell .caption span:first-child").all_inner_texts()


def heading(page, text):
    page.get_by_role("heading", name=text, exact=True, level=1).wait_for()


def test_overview(visit):
    page = visit()
    assert page.locator(".layer strong").all_inner_texts() == [
        "block0/relu",
        "block1/relu",
        "block2/relu",
    ]
    # Layers 1 and 2 both follow layer 0.
    assert page.locator(".net path").count() == 2
    assert page.locator(".depth").count() == 2
    page.get_by_text("block1/relu").click()
    heading(page, "block1/relu")


def test_sorting_and_filtering_are_part_of_the_link(visit):
    page = visit(LAYER)
    assert units(page)[:3] == ["0", "1", "2"]
    page.get_by_label("Sort by").select_option("strength")
    # The dead unit is the last.
    assert units(page)[:2] == ["1", "2"]
    page.get_by_label("Order").select_option("up")
    assert units(page)[:2] == ["39", "38"]
    page.get_by_label("From").fill("8.5")
    assert units(page) == ["2", "1"]
    assert "2 of 40 units" in page.inner_text("main")
    page.reload()
    page.wait_for_selector(".cell")
    assert units(page) == ["2", "1"]
    page.get_by_label("From").fill("")
    page.get_by_label("Best class").select_option(label="Käfer")
    assert set(units(page)) == {str(unit) for unit in range(2, 40, 3)}
    page.get_by_label("Best class").select_option("")
    page.get_by_label("Dead units").select_option("1")
    assert units(page) == ["0"]


def test_search(visit):
    page = visit(LAYER)
    search = page.get_by_label("Search by number or class")
    search.fill("12")
    assert units(page) == ["12"]
    search.fill("<SCRIPT>")
    assert units(page)[:2] == ["3", "6"]


def test_keys(visit):
    page = visit(LAYER)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    heading(page, "block1/relu / 1")
    page.keyboard.press("ArrowRight")
    heading(page, "block1/relu / 2")
    page.keyboard.press("ArrowLeft")
    heading(page, "block1/relu / 1")
    page.keyboard.press("u")
    heading(page, "block1/relu")
    page.keyboard.press("]")
    heading(page, "block2/relu")
    page.keyboard.press("/")
    page.keyboard.type("39")
    assert units(page) == ["39"]
    page.keyboard.press("Tab")
    page.keyboard.press("?")
    assert page.get_by_role("dialog").is_visible()


def test_a_link_to_a_unit_with_rules_and_controls(visit):
    page = visit(f"{LAYER}/17")
    heading(page, "block1/relu / 17")
    columns = page.locator(".columns h3")
    assert columns.all_inner_texts() == [
        "Strongest patches",
        "Projections (deconvnet)",
        "Control: random weights",
    ]
    page.get_by_role("radio", name="guided").check()
    page.get_by_role("radio", name="wrong unit").check()
    assert columns.all_inner_texts()[1:] == [
        "Projections (guided)",
        "Control: wrong unit",
    ]
    pictures = page.locator(".columns .tile")
    assert pictures.count() == 27
    sheet = pictures.last.evaluate("tile => tile.style.backgroundImage")
    assert sheet == 'url("layers/001/0001-1-2.webp")'
    # The rule stays chosen from unit to unit.
    page.get_by_text("next unit").click()
    heading(page, "block1/relu / 18")
    assert page.get_by_role("radio", name="guided").is_checked()
    page.keyboard.press("r")
    assert page.get_by_role("radio", name="deconvnet").is_checked()


def test_examples_in_their_images(visit):
    page = visit(f"{LAYER}/5")
    page.get_by_role("checkbox").check()
    page.wait_for_selector(".whole .overlay")
    assert page.locator(".box").count() == 1
    page.keyboard.press("4")
    page.wait_for_selector(".whole .overlay", state="detached")
    assert page.locator("[aria-pressed=true]").count() == 3
    page.locator(".whole a").click()
    page.wait_for_url("**/index.html#image/*")
    page.get_by_text("Units that it excites most").wait_for()
    page.get_by_text("block0/relu 1").click()
    heading(page, "block0/relu / 1")


def test_names_are_not_html(visit):
    page = visit("#image/1")
    heading(page, "Image 1: <img src=x onerror=alert(2)>.png")
    assert "<script>alert(1)</script>" in page.inner_text("main")
    page = visit("#image/0")
    heading(page, 'Image 0: it\'s a "blå" bird.png')
    assert page.inner_text("header .title") == "A net <i>of</i> noise"
    page = visit("#about")
    assert "<b>random</b>" in page.inner_text("main")


def test_what_is_missing_is_said(visit, tmp_path):
    # A layer that is called as one of the pages; maps of 1 x 1; no class, no image.
    with writer.replacing(one_layer("about"), tmp_path / "it") as pages:
        pages.add_layer(bare(name="about"), [black()])
    page = visit("", tmp_path / "it" / "index.html")
    page.locator(".layer").click()
    heading(page, "about")
    page.get_by_text("Not known of this net and data: selectivity").wait_for()
    page.locator(".cell").click()
    heading(page, "about / 0")
    for text in (
        "None was computed for this rule.",
        "The whole image was not kept.",
        "The data have no classes.",
        "The run has no kept checkpoints.",
    ):
        page.get_by_text(text).wait_for()


def test_links_that_lead_nowhere(visit):
    for route in ("#nothing", f"{LAYER}/40", f"{LAYER}/x", "#image/999", "#%E0%A4%A"):
        page = visit(route)
        page.reload()
        heading(page, "Not here")
    page = visit(f"{LAYER}/0")
    page.get_by_text("This unit is dead").wait_for()


def test_what_is_not_seen_is_not_loaded(visit, browser, tmp_path):
    made_up_explorer.write(tmp_path, layers=2, units=400, images=4)
    page = visit(LAYER, tmp_path / "index.html")
    page.wait_for_function("document.querySelectorAll('.cell').length > 20")
    assert page.locator(".cell").count() < 200
    loaded = [url for url in page.requests if "/layers/" in url]
    # Not the other layer, nor the data of blocks.
    assert not [url for url in loaded if "layers/000" in url]
    assert not [url for url in loaded if url.endswith("0000.js")]
    assert len(loaded) < 20
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.get_by_role("link", name="Unit 399").wait_for()
    assert page.locator(".cell").count() < 200


@pytest.mark.parametrize("width", [1400, 400])
def test_no_view_is_wider_than_the_window(visit, width):
    page = visit()
    page.set_viewport_size({"width": width, "height": 800})
    for route in ("", LAYER, f"{LAYER}/5", "#image", "#image/3", "#about"):
        page = visit(route)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_single_file(visit, folder, tmp_path):
    explorer = content.Explorer("one file", content.About("a command"), ())
    path = single_file.write(explorer, folder, tmp_path / "it.html")
    page = visit(f"{LAYER}/5", path)
    heading(page, "block1/relu / 5")
    page.locator(".box").wait_for()
    files = [url for url in page.requests if url.startswith("file:")]
    assert files == [path.as_uri()]


def test_lint(tmp_path):
    if NPM is None:
        pytest.skip("needs npm in PATH (Debian's package npm)")
    root = HERE.parents[1]
    for kept in ("tests/figures/javascript", "zf_jax/figures/explorer/static"):
        ignored = shutil.ignore_patterns("node_modules")
        shutil.copytree(root / kept, tmp_path / kept, ignore=ignored)
    for command in (["ci", "--silent"], ["run", "--silent", "check"]):
        done = subprocess.run(
            [NPM, *command],
            cwd=tmp_path / "tests" / "figures" / "javascript",
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
