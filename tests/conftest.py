"""What tests share: signals heard, the built book, a web server for it, and a Chromium found on this machine."""

import contextlib
import functools
import http.server
import os
import re
import shutil
import signal
import socketserver
import threading
from pathlib import Path

import pytest

# A shell's background jobs ignore Ctrl-C, and so do their children: the tests that send it need it heard.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


ROOT = Path(__file__).resolve().parents[1]
NAN = re.compile(r"\bnan\b")  # a word of its own: a picture written as letters may spell anything
SITE = Path(os.environ.get("DEIT_EDU_SITE", ROOT / "_build" / "html")).resolve()
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NO_CHROMIUM = (
    "Chromium is missing, so the browser tests of the book did NOT run. Install it and run `make test` again:\n"
    "  Debian, Ubuntu   sudo apt-get install chromium   (Ubuntu: sudo snap install chromium)\n"
    "  Fedora           sudo dnf install chromium\n"
    "  macOS            brew install --cask chromium\n"
    "The command must be found as chromium, chromium-browser or google-chrome."
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# Files that take minutes are dealt first, so that no worker is left with one of them when the others have ended.
LONG = (
    "test_widgets.py", "test_book.py", "test_distil_in_page.py", "test_runner.py", "test_runs.py", "test_processes.py",
    "test_page_training.py", "test_book_build.py", "test_folders.py", "test_page.py",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    """Two workers must collect the same names, and an address in memory is another in each. The long files go first."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))
    if wrong := [item.nodeid for item in items if " at 0x" in item.nodeid]:
        raise pytest.UsageError(f"give this test an id of its own: {wrong[0][:200]}")


def pytest_terminal_summary(terminalreporter):
    if CHROMIUM is None:
        terminalreporter.section("browser tests did not run", sep="!", red=True, bold=True)
        terminalreporter.line(NO_CHROMIUM)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def site():
    if not (SITE / "index.html").is_file():
        pytest.fail(f"the book is not built in {SITE}: run `make book`, or `make test`, which builds it first")
    return SITE


@contextlib.contextmanager
def served(folder):
    """The address at which a folder is served meanwhile."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture(scope="session")
def http_base(site):
    with served(site) as address:
        yield address


def patient(make):
    """What makes pages, for a machine with other work to do: there a page may take minutes to load."""

    def make_patient(**settings):
        made = make(**settings)
        made.set_default_timeout(300_000)  # milliseconds, in place of 30 seconds
        return made

    return make_patient


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.skip("Chromium is missing: see the end of this report")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        chromium.new_page, chromium.new_context = patient(chromium.new_page), patient(chromium.new_context)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def one_page(browser):
    page = browser.new_page()
    yield page
    page.close()


@pytest.fixture
def page(one_page):
    """An empty page: one for all tests, which leave nothing behind but what stands in it."""
    one_page.evaluate("document.body.replaceChildren()")
    return one_page
