"""The text of a program, read back: parse(print_graph(g)) == g for every graph.

    program    = "graph" NAME "{" { statement } "}"
    statement  = NAME ":" type "=" NAME "(" [ argument { "," argument } ] ")" [ notes ]
               | "output" NAME { "," NAME }
               | "gradient" NAME "=" NAME          the gradient of a parameter
               | "update" NAME "=" NAME            a parameter or state, and its next value
    argument   = NAME                              an operand, defined above; operands come first
               | NAME "=" value                    an attribute; defaults are not printed
    value      = INTEGER | FLOAT | STRING | "[" [ INTEGER { "," INTEGER } ] "]"
    type       = DTYPE "[" [ INTEGER { "," INTEGER } ] "]" [ "@" DEVICE ]
    notes      = "{" NAME "=" INTEGER { "," NAME "=" INTEGER } "}"
    DEVICE     = "dev" INTEGER

One statement stands on one line; `#` starts a comment, which formatting drops.
`python -m ir.text FILE` checks a program and prints it in its one canonical form.
"""

import argparse
import re
import sys
from dataclasses import dataclass, field
from difflib import get_close_matches

from ir.command import read_source, run
from ir.graph import AttrValue, Graph, Node, Pair
from ir.op import check_name
from ir.ops import apply
from ir.printer import print_graph
from ir.type import MAX_DEVICES, Device, DType, IRError, TensorType
from ir.verify import check_gradient, check_update, verify

MAX_BYTES = 16 * 2**20
MAX_LINE = 2**16
MAX_HINTED = 48
MAX_DIGITS = 18

_TOKEN = re.compile(
    r"(?P<name>[A-Za-z_][A-Za-z0-9_.]*)"
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)"
    r'|(?P<string>"[A-Za-z0-9_.]*")'
    r"|(?P<sign>[:=(),\[\]{}@])"
    r"|(?P<blank>[ \t\r]+|#.*)",
    re.ASCII,
)


@dataclass
class _Program:
    """What has been read so far."""

    nodes: dict[str, Node] = field(default_factory=dict)
    outputs: list[Node] = field(default_factory=list)
    gradients: dict[Node, Pair] = field(default_factory=dict)
    updates: dict[Node, Pair] = field(default_factory=dict)
    notes: dict[str, dict[Node, int]] = field(default_factory=dict)

    def graph(self, name: str) -> Graph:
        return Graph(
            name,
            tuple(self.nodes.values()),
            tuple(self.outputs),
            tuple(self.gradients.values()),
            tuple(self.updates.values()),
            self.notes,
        )


def parse(text: str, source: str = "<text>") -> Graph:
    """Read one program. Raises IRError as `source:line: what is wrong; what was expected`."""
    if len(text) > MAX_BYTES:
        raise IRError(f"{source}:1: {len(text)} characters, expected at most {MAX_BYTES}")
    number, state, name, program = 0, "before", "", _Program()
    for number, raw in enumerate(text.split("\n"), start=1):
        try:
            line = _Line(raw)
            if line.at_end:
                continue
            if state == "after":
                raise IRError(f"expected nothing after the closing '}}', got {line.found}")
            if state == "before":
                name, state = _header(line), "inside"
            elif line.accept("}"):
                state = "after"
            else:
                _statement(line, program)
            line.end()
        except IRError as error:
            raise IRError(f"{source}:{number}: {error}") from None
    if state != "after":
        missing = "a line 'graph NAME {'" if state == "before" else "a closing '}'"
        raise IRError(f"{source}:{number}: the text ends here, expected {missing}")
    return program.graph(name)


def _header(line: "_Line") -> str:
    line.expect("graph")
    name = line.name("a name for the graph")
    line.expect("{")
    return name


def _statement(line: "_Line", program: _Program) -> None:
    word = line.name("a statement")
    if line.accept(":"):
        _definition(line, word, program)
    elif word == "output":
        program.outputs.append(_defined(line, program))
        while line.accept(","):
            program.outputs.append(_defined(line, program))
    elif word in ("gradient", "update"):
        leaf = _defined(line, program)
        line.expect("=")
        pair = Pair(leaf, _defined(line, program))
        if word == "gradient":
            check_gradient(pair, program.gradients)
            program.gradients[leaf] = pair
        else:
            check_update(pair, program.updates)
            program.updates[leaf] = pair
    else:
        raise IRError(f"expected ':' and a type after '{word}', or output, gradient, update")


def _defined(line: "_Line", program: _Program) -> Node:
    name = line.name("the name of a node")
    if name not in program.nodes:
        known = [node for node in program.nodes if len(node) <= MAX_HINTED]
        close = get_close_matches(name, known[-2000:], n=1)
        hint = f" (did you mean '{close[0]}'?)" if close else ""
        raise IRError(f"'{name}' is not defined, expected a name defined above{hint}")
    return program.nodes[name]


def _definition(line: "_Line", name: str, program: _Program) -> None:
    if name in program.nodes:
        raise IRError(f"'{name}' is defined already, expected a new name")
    written = _type(line)
    line.expect("=")
    op = line.name("an op")
    line.expect("(")
    inputs, attrs = _arguments(line, program)
    node = apply(op, *inputs, name=name, type=written, **attrs)
    program.nodes[name] = node
    if line.accept("{"):
        _read_notes(line, node, program)


def _type(line: "_Line") -> TensorType:
    word = line.name("an element type")
    if word not in DType._value2member_map_:
        raise IRError(
            f"unknown element type '{word}', expected {', '.join(d.value for d in DType)}"
        )
    line.expect("[")
    shape = line.integers("]")
    return TensorType(shape, DType(word), _device(line) if line.accept("@") else None)


def _device(line: "_Line") -> Device:
    word = line.name("a device")
    match = re.fullmatch(r"dev(\d{1,4})", word)
    if not match:
        raise IRError(f"unknown device '{word}', expected dev0 to dev{MAX_DEVICES - 1}")
    return Device(int(match[1]))


def _arguments(line: "_Line", program: _Program) -> tuple[list[Node], dict[str, AttrValue]]:
    inputs: list[Node] = []
    attrs: dict[str, AttrValue] = {}
    while not line.accept(")"):
        if inputs or attrs:
            line.expect(",", ")")
        if line.ahead("="):
            key = line.name("an attribute")
            line.expect("=")
            if key in attrs:
                raise IRError(f"attribute '{key}' is given twice, expected once")
            attrs[key] = line.value()
        elif attrs:
            raise IRError("expected operands before attributes")
        else:
            inputs.append(_defined(line, program))
    return inputs, attrs


def _read_notes(line: "_Line", node: Node, program: _Program) -> None:
    while True:
        key = line.name("a note")
        line.expect("=")
        noted = program.notes.setdefault(key, {})
        if node in noted:
            raise IRError(f"note '{key}' is given twice, expected once")
        noted[node] = line.integer()
        if line.accept("}"):
            return
        line.expect(",", "}")


class _Line:
    """The tokens of one line and a place among them."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_LINE:
            raise IRError(f"a line of {len(text)} characters, expected at most {MAX_LINE}")
        self._tokens: list[tuple[str, str]] = []
        place = 0
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise IRError(
                    f"character {text[place]!r} in column {place + 1} begins nothing, expected a "
                    'name, a number, a string like "a.b" or one of : = ( ) , [ ] { } @ #'
                )
            if match.lastgroup != "blank":
                self._tokens.append((match.lastgroup or "", match[0]))
            place = match.end()
        self._next = 0

    @property
    def at_end(self) -> bool:
        """Whether no token is left."""
        return self._next >= len(self._tokens)

    @property
    def found(self) -> str:
        """The next token, quoted for a message."""
        return "the end of the line" if self.at_end else f"'{self._tokens[self._next][1][:40]}'"

    def _is(self, kind: str, ahead: int = 0) -> bool:
        place = self._next + ahead
        return place < len(self._tokens) and self._tokens[place][0] == kind

    def _take(self) -> str:
        self._next += 1
        return self._tokens[self._next - 1][1]

    def accept(self, text: str) -> bool:
        """Take the next token if it is `text`."""
        if self.at_end or self._tokens[self._next][1] != text:
            return False
        self._next += 1
        return True

    def ahead(self, text: str) -> bool:
        """Whether the token after the next one is `text`."""
        place = self._next + 1
        return place < len(self._tokens) and self._tokens[place][1] == text

    def expect(self, *texts: str) -> None:
        """Take the first of the texts; the others would have fitted too."""
        if not self.accept(texts[0]):
            choice = " or ".join(f"'{text}'" for text in texts)
            raise IRError(f"expected {choice}, got {self.found}")

    def end(self) -> None:
        """Nothing may follow."""
        if not self.at_end:
            raise IRError(f"expected the end of the line, got {self.found}")

    def name(self, what: str) -> str:
        """Take a name."""
        if not self._is("name"):
            raise IRError(f"expected {what}, got {self.found}")
        return check_name(self._take())

    def integer(self) -> int:
        """Take an integer."""
        value = self._number() if self._is("number") else None
        if not isinstance(value, int):
            raise IRError(f"expected an integer, got {self.found if value is None else value}")
        return value

    def integers(self, closing: str) -> tuple[int, ...]:
        """Take integers, separated by commas, up to the closing sign."""
        found: list[int] = []
        while not self.accept(closing):
            if found:
                self.expect(",", closing)
            found.append(self.integer())
        return tuple(found)

    def value(self) -> AttrValue:
        """Take an attribute value."""
        if self.accept("["):
            return self.integers("]")
        if self._is("string"):
            return self._take()[1:-1]
        if self._is("number"):
            return self._number()
        raise IRError(f"expected a number, a string or a list of integers, got {self.found}")

    def _number(self) -> int | float:
        text = self._take()
        if not re.fullmatch(r"-?\d+", text):
            return float(text)
        if len(text) > MAX_DIGITS:
            raise IRError(f"an integer of {len(text)} digits, expected at most {MAX_DIGITS}")
        return int(text)


# ---------------------------------------------------------------------------- command


def read(path: str) -> Graph:
    """Parse a file, or standard input for `-`. Raises Error naming file and line."""
    return parse(*read_source(path))


def main() -> None:
    """Check a program and print its canonical text."""
    parser = argparse.ArgumentParser(prog="python -m ir.text", description=main.__doc__)
    parser.add_argument("file", nargs="?", default="-", help="IR text; - (default) is stdin")
    parser.add_argument("--check", action="store_true", help="only check; print nothing")
    options = parser.parse_args()
    graph = read(options.file)
    verify(graph)
    if not options.check:
        sys.stdout.write(print_graph(graph))


if __name__ == "__main__":
    run(main)
