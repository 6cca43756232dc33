"""Run the pages several at a time, before Sphinx reads them.

myst-nb runs a page when Sphinx reads it, one after the other, unless its execution cache has what the cells put out. So
that cache is filled first. A page that fails is not kept; the others are, and then the build ends.
"""

import asyncio
import json
import os
import tempfile
import time
from pathlib import Path

from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from myst_nb.core.read import create_nb_reader
from nbclient import NotebookClient
from sphinx.errors import ExtensionError
from sphinx.util import logging

logger = logging.getLogger(__name__)

CORES = os.cpu_count()
AT_ONCE = min(CORES, 4)  # a page takes up to 1.5 GB: so many fit into 8 GB
THREADS = CORES // AT_ONCE  # of each page, however few are run: its sums are rounded the same


class Loop(asyncio.SelectorEventLoop):
    """Leaves Ctrl-C to asyncio, which ends every page; nbclient would end the one alone that began last."""

    def add_signal_handler(self, *_):
        raise RuntimeError("not here")  # nbclient takes this for a thread, which cannot have it either


def not_run(env, names, cache):
    """The pages with cells that the cache lacks: {name: notebook}."""
    pages = {}
    for name in names:
        path = env.doc2path(name)
        text = Path(path).read_text("utf8")
        if reader := create_nb_reader(path, env.myst_config, env.mystnb_config, text):
            notebook = reader.read(text)
            try:
                cache.match_cache_notebook(notebook)
            except KeyError:
                pages[name] = notebook
    return pages


def longest_first(names, run_times):
    """So that none runs alone at the end. run_times: the file of the last build; what it lacks may be long."""
    seconds = json.loads(run_times.read_text()) if run_times.exists() else {}
    return sorted(names, key=lambda name: seconds.get(name, float("inf")), reverse=True)


async def run_page(notebook, folder, timeout, scratch):
    """Run a notebook's cells in a kernel of its own, in place. Returns (seconds, what it failed of or None).

    The kernel is killed after its last cell: with torch loaded, Python takes seconds to leave. So what the cells keep
    in the folder of temporary files stays there: that is `scratch`.
    """
    how = dict(timeout=timeout, shutdown_kernel="immediate", record_timing=False)  # times would be in the cache's key
    how |= dict(extra_arguments=["--log-level=ERROR"])  # ipykernel 7.4 warns at every start that it is on TCP
    client = NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}, **how)
    begun, wrong = time.perf_counter(), None
    try:
        await client.async_execute(env=os.environ | {"OMP_NUM_THREADS": str(THREADS), "TMPDIR": scratch})
    except Exception as error:
        if asyncio.current_task().cancelling():  # nbclient says that the kernel died
            raise asyncio.CancelledError from None
        wrong = error
    return time.perf_counter() - begun, wrong


async def run_all(pages, env, cache, scratch):
    """Run notebooks, at most AT_ONCE at a time; those that succeed go into the cache. Returns the names of the others.

    Args:
        pages: {name: notebook}. scratch: a folder for temporary files.
    """
    turns, ended, failed = asyncio.Semaphore(AT_ONCE), 0, []

    async def run(name, notebook):
        nonlocal ended
        path = env.doc2path(name)
        async with turns:
            seconds, wrong = await run_page(notebook, Path(path).parent, env.mystnb_config.execution_timeout, scratch)
        ended += 1
        logger.info("%s %s in %.0f s (%d of %d)", name, "failed" if wrong else "ran", seconds, ended, len(pages))
        if wrong:
            failed.append(name)
            logger.error("%s failed: %s", name, wrong)  # Sphinx keeps this until all have run
        else:
            bundle = CacheBundleIn(notebook, path, data={"execution_seconds": seconds})
            cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)

    async with asyncio.TaskGroup() as group:
        for name, notebook in pages.items():
            group.create_task(run(name, notebook))
    return failed


def run_pages(app, env, names):
    """Run what Sphinx is about to read (env-before-read-docs)."""
    if env.mystnb_config.execution_mode != "cache":
        return
    cache = get_cache(env.mystnb_config.execution_cache_path)
    pages = not_run(env, names, cache)
    order = longest_first(pages, Path(app.outdir).parent / "run_times.json")
    with tempfile.TemporaryDirectory() as scratch, asyncio.Runner(loop_factory=Loop) as runner:
        failed = runner.run(run_all({name: pages[name] for name in order}, env, cache, scratch))
    if failed:
        raise ExtensionError(f"these pages failed, their errors stand above: {', '.join(failed)}")
