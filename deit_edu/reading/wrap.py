"""Wrap source code for a page: the same program, in lines that a page can show."""

import io
import re
import textwrap
import tokenize

OPEN, CLOSE = "([{", ")]}"
# Where a line inside brackets may go on in the next one.
CLAUSES = ("for", "if", "else", "and", "or")
STRING = re.compile(r'\s*([a-zA-Z]*")([^"\\]+)(",?)')  # a row that is one string, without escapes
ITEM = re.compile(r"\s*[\w*]+(, [\w*]+)*: ")  # an argument in a docstring: "images: (B, C, H, W)"


def wrap_source(source, width):
    """Wrap Python source to a width, as a page shows it; what it does stays the same.

    A comment at the end of a line that is too long goes on a line of its own above it. Docstrings and comments are
    wrapped as prose, code inside its brackets, strings between words.

    Args:
        source: complete statements that begin in the first column. width: characters.

    Returns:
        the source. Its syntax tree is the same but for the line breaks of docstrings.
    """
    lines, row = source.splitlines(), 0
    while row < len(lines):
        if len(lines[row]) > width and (wrapped := wrap_row(lines, row, width)):
            end, new = wrapped
            lines[row:end] = new
        else:
            row += 1
    return "\n".join(lines)


def wrap_row(lines, row, width):
    """The end of the rows to replace, and the rows to put there; None where nothing can be shorter."""
    line, (tokens, depth, in_docstring) = lines[row], tokens_of(lines, row)
    indent = line[: len(line) - len(line.lstrip())]
    if in_docstring:
        return wrap_prose(lines, row, width)
    if not tokens:  # inside a string of several lines, which is data
        return None
    if tokens[-1].type == tokenize.COMMENT:
        column = tokens[-1].start[1]
        if column == len(indent):
            return wrap_prose(lines, row, width, mark="# ")
        return row + 1, [indent + line[column:], line[:column].rstrip()]
    return wrap_code(lines, row, indent, tokens, depth, width)


def tokens_of(lines, row):
    """The tokens of a row, how many brackets are open where it begins, and whether it is a line of a docstring."""
    on_row, depth, before = [], 0, tokenize.NEWLINE
    for token in tokens_with_whole_strings("\n".join(lines) + "\n"):
        first, last = token.start[0] - 1, token.end[0] - 1
        if token.type == tokenize.STRING and before in (tokenize.NEWLINE, tokenize.INDENT) and first <= row <= last:
            return [], 0, True
        if token.type == tokenize.OP and first < row:
            depth += (token.string in OPEN) - (token.string in CLOSE)
        if token.string.strip() and first == row:
            on_row.append(token)
        if token.type not in (tokenize.NL, tokenize.COMMENT):
            before = token.type
    return on_row, depth, False


def tokens_with_whole_strings(source):
    """Python's tokens, where an f-string is one, as before Python 3.12."""
    start, depth = None, 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = tokenize.tok_name[token.type]
        if kind.endswith("STRING_START"):
            start, depth = (start if depth else token.start), depth + 1
        elif kind.endswith("STRING_END"):
            depth -= 1
            if not depth:
                yield tokenize.TokenInfo(tokenize.STRING, 'f""', start, token.end, token.line)
        elif not depth:
            yield token


def wrap_prose(lines, row, width, mark=""):
    """Wrap a line of a docstring or a comment: what is too much goes to the line below, where that goes on."""
    line = lines[row]
    indent = line[: len(line) - len(line.lstrip())] + mark
    below = lines[row + 1] if row + 1 < len(lines) else ""
    below_indent = below[: len(below) - len(below.lstrip())] + mark
    is_item = not mark and bool(ITEM.match(line))
    hanging = indent + "    " if is_item else indent
    head, *rest = textwrap.wrap(line, width, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False)
    if not rest or len(head) > width:
        return None
    goes_on = below.startswith(below_indent) and below[len(below_indent) :].strip(' "') and not ITEM.match(below)
    if goes_on and below_indent == hanging and (mark or '"""' not in line.lstrip()[3:]):
        return row + 2, [head, *rest[:-1], f"{rest[-1]} {below.strip().removeprefix(mark)}"]
    return row + 1, [head, *rest]


def wrap_code(lines, row, indent, tokens, depth, width):
    """Wrap a row of code inside its brackets: at a comma where it stands in brackets, else around the longest pair."""
    line = lines[row]
    if depth and (string := STRING.fullmatch(line)):
        return wrap_string(lines, row, indent, *string.groups(), width)
    levels, level = [], 0  # how deep each token stands, counted from the start of the row
    for token in tokens:
        level -= token.string in CLOSE and token.type == tokenize.OP
        levels.append(level)
        level += token.string in OPEN and token.type == tokenize.OP
    if depth and min(levels) >= 0:
        commas = [t.end[1] for t, at in zip(tokens, levels, strict=True) if t.string == "," and at == 0]
        clauses = [t.start[1] for t, at in zip(tokens, levels, strict=True) if t.string in CLAUSES and at == 0]
        for places in (commas, clauses):
            places = [place for place in places if len(indent) < place <= width and line[place:].strip()]
            if places:
                return row + 1, [line[: places[-1]].rstrip(), indent + line[places[-1] :].strip()]
    pairs, opened = [], []  # (start, end) of what stands between two brackets
    for token in tokens:
        if token.type == tokenize.OP and token.string in OPEN:
            opened.append(token.end[1])
        elif token.type == tokenize.OP and token.string in CLOSE and opened:
            pairs.append((opened.pop(), token.start[1]))
    start, end = max(pairs, key=lambda pair: pair[1] - pair[0], default=(0, 0))
    inside = line[start:end].strip()
    return (row + 1, [line[:start], f"{indent}    {inside}", indent + line[end:]]) if inside else None


def wrap_string(lines, row, indent, start, text, end, width):
    """Part a string after a space, outside its braces: Python puts strings that follow each other together again."""
    braces, place = 0, 0
    for column, character in enumerate(text[: width - len(indent) - len(start) - 1], 1):
        braces += (character == "{") - (character == "}")
        if character == " " and not braces:
            place = column
    if not place:
        return None
    head, rest = f'{indent}{start}{text[:place]}"', f"{indent}{start}{text[place:]}"
    below = STRING.fullmatch(lines[row + 1]) if end == '"' and row + 1 < len(lines) else None
    if below and below[1] == start:  # the next string goes on with what is too much
        return row + 2, [head, rest + below[2] + below[3]]
    return row + 1, [head, rest + end]
