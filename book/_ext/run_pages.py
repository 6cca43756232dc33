"""Run the pages several at a time, before Sphinx reads them.

myst-nb runs a page when Sphinx reads it, one after the other, unless its execution cache has what the cells put out. So
that cache is filled first. A page that fails is not kept; the others are, and then the build ends.
"""

import asyncio
import json
import os
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


async def run_all(pages, env, cache):
    """Run notebooks, at most AT_ONCE at a time, and put those that succeed into the cache. Returns who failed."""
    turns, ended, failed = asyncio.Semaphore(AT_ONCE), 0, []

    async def run(name, notebook):
        nonlocal ended
        path, timeout = env.doc2path(name), env.mystnb_config.execution_timeout
        client = NotebookClient(notebook, timeout=timeout, resources={"metadata": {"path": str(Path(path).parent)}})
        client.on_notebook_error = lambda notebook: client.set_trait(
            "shutdown_kernel", "immediate"
        )  # not a cell's error
        async with turns:
            begun = time.perf_counter()
            try:
                await client.async_execute(env=os.environ | {"OMP_NUM_THREADS": str(THREADS)})
            except Exception as error:
                if asyncio.current_task().cancelling():
                    return  # nbclient takes it for a kernel that died
                failed.append(name)
                logger.error("%s failed: %s", name, error)  # Sphinx keeps this until all have run
            seconds = time.perf_counter() - begun
        if name not in failed:
            bundle = CacheBundleIn(notebook, path, data={"execution_seconds": seconds})
            cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
        ended += 1
        how = "failed" if name in failed else "ran"
        logger.info("%s %s in %.0f s (%d of %d)", name, how, seconds, ended, len(pages))

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
    with asyncio.Runner(loop_factory=Loop) as runner:
        failed = runner.run(run_all({name: pages[name] for name in order}, env, cache))
    if failed:
        raise ExtensionError(f"these pages failed, their errors stand above: {', '.join(failed)}")
