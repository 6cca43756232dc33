"""The built book, as readers meet it: in a browser, over http and from the disk, on a phone, in the dark."""

import re
from importlib.resources import files

import pytest
import yaml
from conftest import ROOT, SITE

PAGES = sorted(page.name for page in SITE.glob("*.html") if page.name != "index.html")  # index.html only redirects
TOC = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text("utf8"))
CHAPTERS = [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]


def settle(page):
    """Wait until the page, its formulas and its interactive figures are there."""
    page.wait_for_load_state("load")
    page.evaluate("""async () => {
        if (!document.querySelector('.math')) return;
        while (!window.MathJax?.startup?.promise) await new Promise(later => setTimeout(later, 20));
        await MathJax.startup.promise;
    }""")
    page.evaluate("""async () => {  // the interactive figures, which start when they come near the screen
        for (const host of document.querySelectorAll('.deit-edu-host')) {
            host.scrollIntoView();
            while (!host.dataset.ready) await new Promise(later => setTimeout(later, 20));
        }
        scrollTo(0, 0);
    }""")
    page.wait_for_timeout(200)


def set_theme(page, theme):
    page.add_init_script(f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')")


@pytest.fixture
def open_page(browser, http_base):
    """open_page(name, theme="light", width=1280, base=None) -> a settled page of the built book."""
    contexts = []

    def open_one(name, theme="light", width=1280, base=http_base):
        context = browser.new_context(viewport={"width": width, "height": 800})
        contexts.append(context)
        page = context.new_page()
        set_theme(page, theme)
        page.goto(base + name)
        settle(page)
        return page

    yield open_one
    for context in contexts:
        context.close()


def watch(page, base):
    """A list that fills with every request that fails or leaves the site, and every error on the console."""
    faults = []

    def on_request(request):
        if not request.url.startswith((base, "blob:", "data:")):
            faults.append(f"leaves the site: {request.url}")

    page.on("request", on_request)

    def on_failed(request):
        if request.failure != "net::ERR_ABORTED":  # so ends what a page that is left had asked for
            faults.append(f"failed: {request.url}")

    page.on("requestfailed", on_failed)
    page.on("response", lambda got: faults.append(f"{got.status}: {got.url}") if got.status >= 400 else None)
    page.on("console", lambda said: faults.append(f"console: {said.text}") if said.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(f"error: {error}"))
    return faults


def test_the_book_has_every_page_of_its_table_of_contents(site):
    assert {f"{name}.html" for name in [TOC["root"], *CHAPTERS]} <= {page.name for page in site.glob("*.html")}


@pytest.fixture(scope="module", params=PAGES)
def opened(request, browser, http_base):
    """(page, faults) of one page of the book after another, light and 1280 pixels wide: each is opened once."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    set_theme(page, "light")
    faults = watch(page, http_base)
    page.goto(http_base + request.param)
    settle(page)
    yield page, faults
    context.close()


def test_a_page_asks_nobody_else_and_nothing_fails(opened):
    _, faults = opened
    assert not faults, "\n".join(faults)


# What a browser refuses to a page from the disk is what scripts ask for: the pages with figures are opened so, and
# used, in test_widgets.py; the first page below; of the others, which are alike, one, and the one that searches.
@pytest.mark.parametrize("name", ["notation.html", "search.html"])
def test_a_page_opens_from_the_disk_and_nothing_fails(browser, site, name):
    base = site.as_uri() + "/"
    page = browser.new_page()
    faults = watch(page, base)
    page.goto(base + name)
    settle(page)
    page.close()
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_the_first_page_is_found_under_index_html(browser, http_base, site, scheme):
    base = http_base if scheme == "http" else site.as_uri() + "/"
    page = browser.new_page()
    faults = watch(page, base)
    page.goto(base + "index.html")
    page.wait_for_url("**/intro.html")
    settle(page)
    page.close()
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", ["index.html", *PAGES])
def test_a_page_names_an_icon_or_a_browser_would_ask_for_one_that_is_not_there(site, name):
    (icon,) = re.findall(r'<link[^>]*rel="icon"[^>]*>', (site / name).read_text("utf8"))
    assert (site / re.search(r'href="([^"]+)"', icon)[1]).is_file()


def test_the_request_watch_can_fail(browser, http_base):
    page = browser.new_page()
    faults = watch(page, http_base)
    page.goto(http_base + "intro.html")
    page.evaluate("fetch('http://127.0.0.1:9/elsewhere').catch(() => {})")
    page.evaluate("fetch('not-there.js')")
    page.evaluate("console.error('broken')")
    page.wait_for_timeout(300)
    page.close()
    said = "\n".join(faults)
    assert "leaves the site" in said and "404" in said and "console: broken" in said


ONE_WORD_OF_A_COLOUR = """
    const seen = new Set();
    const others = [...document.querySelectorAll(".highlight span")].filter((word) => {
        const needed = word.checkVisibility() && !seen.has(word.className);
        if (needed) seen.add(word.className);
        return !needed;
    });
    for (const word of others) word.replaceWith(...word.childNodes); // at last: a look after a change lays out anew
"""


def axe(page, only=WCAG):
    """What axe finds in a page. Of a source's words one of each colour is left: axe looks at every one by itself,
    and thousands of one colour took most of its time."""
    page.evaluate(ONE_WORD_OF_A_COLOUR)
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text("utf8"))
    result = page.evaluate("only => axe.run(document, {runOnly: only, resultTypes: ['violations']})", only)
    assert len(result["passes"]) > (10 if only == WCAG else 0)
    return [f"{v['id']}: {n['target']} {n['html'][:160]}" for v in result["violations"] for n in v["nodes"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_page_meets_wcag_2_1_aa(opened, theme):
    page, _ = opened
    page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
    page.add_style_tag(content="* { transition: none !important; }")  # colours that fade to the other theme
    found = axe(page, WCAG if theme == "light" else ["color-contrast"])  # themes differ in nothing but colours
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    assert not found, "\n".join(found)


def test_the_accessibility_check_can_fail(open_page):
    page = open_page("intro.html")
    page.evaluate(
        "document.querySelector('article').insertAdjacentHTML('beforeend',"
        " '<input type=range><img src=x.png><p style=\"color:#ccc;background:#fff\">faint</p>')"
    )
    found = {line.partition(":")[0] for line in axe(page)}
    assert {"label", "color-contrast", "image-alt"} <= found


def test_a_page_fits_a_phone_without_scrolling_sideways(opened):
    page, _ = opened
    page.set_viewport_size({"width": 360, "height": 800})
    page.wait_for_function("innerWidth == 360 && new Promise(drawn => requestAnimationFrame(() => drawn(true)))")
    width = page.evaluate("document.documentElement.scrollWidth")
    page.set_viewport_size({"width": 1280, "height": 800})
    assert width <= 360


def test_every_image_has_alt_text_and_every_formula_is_drawn(opened):
    page, _ = opened
    bad = "[...document.images].filter(i => !i.alt.trim() || !i.naturalWidth).map(i => i.src.slice(0, 80))"
    assert not page.evaluate(bad)
    formulas = page.locator(".math").count()
    assert page.locator(".math mjx-container").count() == formulas
    assert page.locator("[data-mml-node=merror]").count() == 0


def test_the_librarys_source_is_not_cut_at_the_right_edge(opened):
    page, _ = opened
    shown = page.locator("div.cell.tag_remove-input div.cell_output div.highlight pre")
    page.evaluate(
        "for (const fold of document.querySelectorAll('details:not([open])')) fold.open = fold.wasShut = true"
    )
    cut = shown.evaluate_all("all => all.filter(pre => pre.scrollWidth > pre.clientWidth).map(pre => pre.innerText)")
    page.evaluate("for (const fold of document.querySelectorAll('details')) if (fold.wasShut) fold.open = false")
    assert not cut, cut[0]


def test_a_chapter_says_how_long_it_runs_and_offers_its_notebook(opened, site):
    page, _ = opened
    if not page.url.rpartition("/")[2][:2].isdigit():
        return  # no chapter
    line = page.locator(".chapter-line")
    assert "CPU cores" in line.inner_text() and line.inner_text().startswith("Runs in ")
    notebook = line.locator("a[download]").get_attribute("href")
    assert (site / notebook).read_bytes() == (ROOT / "book" / notebook).read_bytes()
    colab = line.locator("a", has_text="Colab").get_attribute("href")
    assert colab.startswith("https://colab.research.google.com/github/")
    assert colab.endswith(f"/blob/main/book/{notebook}")


def test_an_answer_waits_until_a_reader_asks_without_javascript_and_is_open_on_paper(browser, http_base):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(http_base + "01-patches.html")
    fold = page.locator("details.sd-dropdown", has_text="Answer").first
    answer = fold.locator(".sd-summary-content")
    assert not answer.is_visible()
    fold.locator("summary").click()
    assert answer.is_visible() and "patches: (1, 16, 49)" in answer.inner_text()
    fold.locator("summary").click()
    assert not answer.is_visible()
    page.emulate_media(media="print")
    assert answer.is_visible() and answer.bounding_box()["height"] > 50
    context.close()


def test_the_sidebar_numbers_the_chapters(open_page):
    entries = open_page("01-patches.html").locator(".bd-sidebar-primary .toctree-l1").all_inner_texts()
    numbered = [entry.split(".")[0] for entry in entries if entry[0].isdigit()]
    assert numbered == [str(int(name[:2])) for name in CHAPTERS if name[:2].isdigit()]


def test_a_phone_reader_finds_the_chapters_behind_the_menu_button(open_page):
    page = open_page("intro.html", width=360)
    link = page.locator(".bd-sidebar-primary a", has_text="Attention").first
    assert not link.is_visible()
    page.locator("button.primary-toggle:visible").first.click()
    link.click()
    page.wait_for_url("**/02-attention.html")
    assert page.locator("article h1").is_visible()


def test_search_finds_a_chapter_by_its_text(open_page):
    page = open_page("search.html?q=distillation")
    page.wait_for_selector("#search-results li a")
    assert page.locator("#search-results li a[href^='04-distillation-token.html']").count()


def test_the_theme_follows_the_readers_system(browser, http_base):
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme)
        page = context.new_page()
        page.goto(http_base + "intro.html")
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        context.close()
