"""The modules of 0.1 under their old names: notebooks that were saved before go on running."""

import importlib
import re
import sys

import pytest

import deit_edu
from deit_edu import MOVED


@pytest.fixture(params=sorted(MOVED))
def old(request, monkeypatch):
    """A module of 0.1, as its first import finds it; forgotten afterwards."""
    name = f"deit_edu.{request.param}"
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.warns(DeprecationWarning, match=f"{re.escape(name)} is deit_edu.* now"):
        yield importlib.import_module(name)
    sys.modules.pop(name)
    delattr(deit_edu, request.param)


def test_an_old_name_has_what_it_had_and_says_where_that_is_now(old):
    for place in MOVED[old.__name__.partition(".")[2]].split():
        now = importlib.import_module(f"deit_edu.{place}")
        public = [name for name in vars(now) if not name.startswith("_")]
        assert public and all(getattr(old, name) is getattr(now, name) for name in public)
    with pytest.raises(AttributeError, match=r"deit_edu\..* have no 'nothing'"):
        old.nothing  # noqa: B018  the look itself is what fails
