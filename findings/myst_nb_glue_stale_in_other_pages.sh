#!/bin/sh
# Two pages of one book state two values for one number, and the build has no warning. With myst-nb 1.4.0 a page may
# show what another page glued ({glue:text}`other.md::key:.2f`, or :doc: other.md). Nothing tells Sphinx that the
# one depends on the other: when the other page changes, it alone is run and written again, and the first keeps the old
# number until it is touched itself. An included file is noted as a dependency; this is not. And when the other page
# glues nothing any more, its .glue.json of an earlier build stays where it is: pages that ask for the key still get the
# old number, though a fresh build warns that there is none. sphinx 7.4.7 with -W, as Jupyter Book 1 builds it.
# A build from nothing (-E, or jupyter-book build --all) helps in the first case; in the second, only deleting the
# build folder does. Ends with 0 while that is so.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install -q myst-nb==1.4.0 myst-parser==3.0.1 sphinx==7.4.7 ipykernel==7.4.0 nbclient==0.11.0 \
  jupyter-cache==1.0.1
mkdir "$here/book"
cd "$here/book"
cat > conf.py <<'PYTHON'
extensions = ["myst_nb"]
exclude_patterns = ["_build"]
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
PYTHON
cat > index.md <<'MYST'
---
file_format: mystnb
kernelspec: {name: python3, display_name: Python 3}
---
# The run

```{toctree}
summary
```

```{code-cell} ipython3
:tags: [remove-input]
accuracy = 0.91
from myst_nb import glue; glue("accuracy", accuracy, display=False)
print("accuracy", accuracy)
```
MYST
printf '# Summary\n\nIt has an accuracy {glue:text}`index.md::accuracy:.2f`\n' > summary.md

build() {  # what the two pages say
  ../venv/bin/sphinx-build -q -W --keep-going "$@" -b text . _build/text > ../log 2>&1 || { cat ../log; return 1; }
  grep -ho 'accuracy.*' _build/text/index.txt _build/text/summary.txt | tr '\n' ';'
}

first=$(build)
sed -i 's/0\.91/0.95/' index.md
changed=$(build)
everything=$(build -E)
sed -i 's/^from myst_nb.*$//; s/0\.95/0.99/' index.md
removed=$(build -E)
mv _build/jupyter_execute/index.glue.json ..
if build -E > /dev/null; then warned=no; else warned=yes; fi
echo "the run; the summary"
echo "first build:            $first"
echo "0.91 is now 0.95:       $changed"
echo "everything read again:  $everything"
echo "no glue any more, 0.99: $removed"
echo "without the old .glue.json there is a warning: $warned"
test "$first" = "accuracy 0.91;accuracy 0.91;"
test "$changed" = "accuracy 0.95;accuracy 0.91;"
test "$everything" = "accuracy 0.95;accuracy 0.95;"
test "$removed" = "accuracy 0.99;accuracy 0.95;"
test "$warned" = yes || exit 1
