"""Every complaint about a program, word for word."""

import pytest

from ir.op import Attr
from ir.ops import TABLE, apply
from ir.text import parse
from ir.type import IRError

PROGRAM = """graph g {
  x: f32[2,4,6,6] = input()
  m: f32[2,4] = input()
  w: f32[4,4,3,3] = param(std=0.01)
  b: bf16[2,4] = input()
  i: i32[2] = input()
  s: f32[] = input()
  d: f32[2,4]@dev1 = input()
"""

STATEMENTS = [
    ("y", "expected ':' and a type after 'y', or output, gradient, update"),
    ("y f32[2,4] = relu(m)", "expected ':' and a type after 'y', or output, gradient, update"),
    ("y: f32[2,4] relu(m)", "expected '=', got 'relu'"),
    ("y: f32[2,4] = (m)", "expected an op, got '('"),
    ("y: f32[2,4] = relu m)", "expected '(', got 'm'"),
    ("y: f32[2,4] = relu(m", "expected ',' or ')', got the end of the line"),
    ("y: f32[2,4] = relu(m) m", "expected the end of the line, got 'm'"),
    ("y: f32[2,4] = relu(m,)", "expected the name of a node, got ')'"),
    ("y: f64[2,4] = relu(m)", "unknown element type 'f64', expected f32, bf16, u8, i32, u32"),
    ("y: f32 = relu(m)", "expected '[', got '='"),
    ("y: f32[2,4 = relu(m)", "expected ',' or ']', got '='"),
    ("y: f32[2,] = relu(m)", "expected an integer, got ']'"),
    (
        "y: f32[2,\N{ARABIC-INDIC DIGIT FOUR}] = relu(m)",
        "character '\N{ARABIC-INDIC DIGIT FOUR}' in column 12 begins nothing, expected a name, a "
        'number, a string like "a.b" or one of : = ( ) , [ ] { } @ #',
    ),
    ("y: f32[2,x] = relu(m)", "expected an integer, got 'x'"),
    ("y: f32[2,4.5] = relu(m)", "expected an integer, got 4.5"),
    ("y: f32[2,0] = input()", "shape [2, 0] has an empty dimension, expected all >= 1"),
    ("y: f32[2,-4] = input()", "shape [2, -4] has an empty dimension, expected all >= 1"),
    ("y: f32[1,1,1,1,1,1,1,1,1] = input()", "shape has 9 dimensions, expected at most 8"),
    (
        "y: f32[1048576,1048577] = input()",
        "shape [1048576, 1048577] is too large, expected <= 2^40 elements",
    ),
    ("y: f32[1234567890123456789] = input()", "an integer of 19 digits, expected at most 18"),
    ("y: f32[2,4]@ = relu(m)", "expected a device, got '='"),
    ("y: f32[2,4]@gpu0 = relu(m)", "unknown device 'gpu0', expected dev0 to dev9999"),
    ("y: f32[2,4]@dev12345 = relu(m)", "unknown device 'dev12345', expected dev0 to dev9999"),
    ("y: f32[2,4] = rleu(m)", "unknown op 'rleu', expected one of {ops}"),
    (
        "y: f32[2,4] = relu(mm)",
        "'mm' is not defined, expected a name defined above (did you mean 'm'?)",
    ),
    ("m: f32[2,4] = relu(m)", "'m' is defined already, expected a new name"),
    ("y: f32[2,4] = relu(3)", "expected the name of a node, got '3'"),
    ('y: f32[2,4] = relu("m")', "expected the name of a node, got '\"m\"'"),
    ("y: f32[2,4] = relu()", "relu got 0 operands, expected x"),
    ("y: f32[2,4] = input(m)", "input got 1 operand, expected none"),
    ("y: f32[2,4] = concat()", "concat got 0 operands, expected xs, ..."),
    ("y: f32[2,5] = relu(m)", "'y' is written f32[2,5], expected f32[2,4], which relu gives"),
    ("y: bf16[2,4] = relu(m)", "'y' is written bf16[2,4], expected f32[2,4], which relu gives"),
    (
        "y: f32[2,4]@dev0 = relu(m)",
        "'y' is written f32[2,4]@dev0, expected f32[2,4], which relu gives",
    ),
    (
        "y: f32[2,4] = add(m, d)",
        "add has operands on different devices: m: f32[2,4] and d: f32[2,4]@dev1; expected a "
        "transfer between them",
    ),
    ("y: f32[2,4] = scale(m)", "scale needs attribute 'by', expected a number"),
    ("y: f32[2,4] = scale(m, by=2, by=2)", "attribute 'by' is given twice, expected once"),
    ("y: f32[2,4] = scale(by=2, m)", "expected operands before attributes"),
    ("y: f32[2,4] = scale(m, by=)", "expected a number, a string or a list of integers, got ')'"),
    (
        "y: f32[2,4] = scale(m, by=two)",
        "expected a number, a string or a list of integers, got 'two'",
    ),
    ('y: f32[2,4] = scale(m, by="two")', "scale: attribute 'by': expected a number, got \"two\""),
    ("y: f32[2,4] = scale(m, by=1e999)", "scale: attribute 'by': expected a number, got inf"),
    ("y: f32[2,4] = scale(m, 3=4)", "expected an attribute, got '3'"),
    ("y: f32[2,4] = scale(m, bye=2)", "scale has no attribute 'bye', expected by"),
    ("y: f32[2,4] = relu(m, by=2)", "relu has no attribute 'by', expected none"),
    (
        "y: f32[2,8] = concat(m, m, axis=1.0)",
        "concat: attribute 'axis': expected an integer >= 0, got 1.0",
    ),
    (
        "y: f32[2,8] = concat(m, m, axis=-1)",
        "concat: attribute 'axis': expected an integer >= 0, got -1",
    ),
    (
        "y: f32[2,4] = dropout(m, s, s, p=1, stream=1)",
        "dropout: attribute 'p': expected a number >= 0 and < 1, got 1.0",
    ),
    (
        "y: f32[2,4] = dropout(m, s, s, p=0.5, stream=4294967296)",
        "dropout: attribute 'stream': expected an integer >= 0 and < 4294967296, got 4294967296",
    ),
    (
        'y: f32[2,4] = cast(m, to="f64")',
        'cast: attribute \'to\': expected one of "f32", "bf16", got "f64"',
    ),
    (
        'y: f32[2,4] = input(of="3a")',
        "input: attribute 'of': expected a name in quotes, got \"3a\"",
    ),
    ("y: f32[2,4] = param(whole=[2,4,[1]])", "expected an integer, got '['"),
    (
        "y: f32[2,4] = param(whole=[1,1,1,1,1,1,1,1,1], offset=[0,0])",
        "param: attribute 'whole': expected a list of at most 8 integers >= 1, got "
        "[1,1,1,1,1,1,1,1,1]",
    ),
    (
        "y: f32[2,4,4,4] = conv(x, w, stride=[1])",
        "conv: attribute 'stride': expected a list of 2 integers >= 1, got [1]",
    ),
    (
        "y: f32[2,4,4,4] = conv(x, w, stride=[1,0])",
        "conv: attribute 'stride': expected a list of 2 integers >= 1, got [1,0]",
    ),
    ("y: f32[2,4,4,4] = conv(x, w, stride=[1,1.5])", "expected an integer, got 1.5"),
    ("y: f32[2,4] = relu(m) {region}", "expected '=', got '}'"),
    ("y: f32[2,4] = relu(m) {region=}", "expected an integer, got '}'"),
    ("y: f32[2,4] = relu(m) {region=1.5}", "expected an integer, got 1.5"),
    ("y: f32[2,4] = relu(m) {region=1, region=2}", "note 'region' is given twice, expected once"),
    ("y: f32[2,4] = relu(m) {region=1 size=2}", "expected ',' or '}', got 'size'"),
    ("y: f32[2,4] = relu(m) {region=1", "expected ',' or '}', got the end of the line"),
    ("y: f32[2,4] = relu(m) {}", "expected a note, got '}'"),
    (
        "y: f32[2,4] = relu(m) $",
        "character '$' in column 25 begins nothing, expected a name, a number, a string like "
        '"a.b" or one of : = ( ) , [ ] { } @ #',
    ),
    ("output", "expected the name of a node, got the end of the line"),
    ("output z", "'z' is not defined, expected a name defined above"),
    ("output m x", "expected the end of the line, got 'x'"),
    ("gradient m = m", "'m' is 'input', expected a param to have a gradient"),
    ("gradient w = x", "gradient of 'w' has type f32[2,4,6,6], expected f32[4,4,3,3]"),
    ("update m = m", "'m' is 'input', expected a param or state to update"),
    ("update w = x", "update of 'w' has type f32[2,4,6,6], expected f32[4,4,3,3]"),
    ("graph h {", "expected ':' and a type after 'graph', or output, gradient, update"),
]

TYPE_RULES = [
    ("y: u8[2,4] = add(m, m)", "'y' is written u8[2,4], expected f32[2,4], which add gives"),
    ("y: f32[2] = relu(i)", "expected a float operand, got i32[2]"),
    (
        "y: f32[2,4] = add(m, b)",
        "expected operands of one shape and dtype, got f32[2,4] and bf16[2,4]",
    ),
    ("y: f32[2,4] = scale_by(m, m)", "expected the scalar f32[], got f32[2,4]"),
    ("y: f32[2,4] = scale_by(i, s)", "expected a float operand, got i32[2]"),
    ("y: f32[2,4] = bias_add(m, i)", "expected floats, got f32[2,4] and i32[2]"),
    (
        "y: f32[2,4] = bias_add(m, x)",
        "expected a bias with the first extents of [4], got [2, 4, 6, 6]",
    ),
    ("y: f32[2,4] = bias_dw(m, rank=2)", "expected more than 2 dimensions, got f32[2,4]"),
    ("y: f32[2,4,4,4] = conv(m, w)", "expected a float [N,C,H,W], got f32[2,4]"),
    ("y: f32[2,4,4,4] = conv(x, m)", "expected weights [O,I,kh,kw], got f32[2,4]"),
    (
        "y: f32[2,4,4,4] = conv(x, w, groups=2)",
        "expected weights [maps,2,kh,kw] of dtype f32, got f32[4,4,3,3]",
    ),
    (
        "y: f32[2,4,4,4] = conv(x, w, groups=3)",
        "3 groups do not divide 4 channels and 4 maps, expected a common divisor",
    ),
    ("y: f32[2,4,4,4] = conv(b, w)", "expected a float [N,C,H,W], got bf16[2,4]"),
    (
        "y: f32[2,4,4,4] = conv_dw(x, x, kernel=[9,9])",
        "window [9, 9] is larger than the padded image, expected at most [6, 6]",
    ),
    (
        "y: f32[2,4,4,4] = conv_dw(x, x, kernel=[3,3])",
        "a kernel of size [3, 3] gives f32[2,4,4,4], expected dy, f32[2,4,6,6]",
    ),
    (
        "y: f32[2,4,4,4] = conv_dw(x, x, kernel=[3,3], groups=3)",
        "3 groups do not divide 4 channels, expected a divisor",
    ),
    (
        "y: f32[2,4,4,4] = conv_dx(w, x, size=[6,6])",
        "an image of size [6, 6] gives f32[2,4,4,4], expected dy, f32[2,4,6,6]",
    ),
    (
        "y: f32[2,4,4,4] = conv_dx(x, x, size=[6,6])",
        "an image of size [6, 6] gives f32[2,2,1,1], expected dy, f32[2,4,6,6]",
    ),
    ("y: f32[2,4,4,4] = conv_dx(m, x, size=[6,6])", "expected weights [O,I,kh,kw], got f32[2,4]"),
    ("y: f32[2,4,4,4] = local(x, w)", "expected weights [O,OH,OW,C,kh,kw], got f32[4,4,3,3]"),
    ("y: f32[2,4,4,4] = local(m, w)", "expected a float [N,C,H,W], got f32[2,4]"),
    ("y: f32[2,4] = dense(x, m)", "expected a float matrix, got f32[2,4,6,6]"),
    ("y: f32[2,4] = dense(m, b)", "expected one dtype, got f32[2,4] and bf16[2,4]"),
    ("y: f32[2,4] = dense(m, s)", "expected a float matrix, got f32[]"),
    ("y: f32[2,4] = dense_dx(m, m)", "expected weights [4,in], got f32[2,4]"),
    (
        "y: f32[2,4,6,6] = max_pool(x, window=[7,1])",
        "window [7, 1] is larger than the padded image, expected at most [6, 6]",
    ),
    (
        "y: f32[2,4,6,6] = max_pool(x, window=[2,2], pad=[2,0,0,0])",
        "pad [2, 0, 0, 0] leaves a window without a pixel; expected pads smaller than the "
        "window [2, 2] and no window beyond the image",
    ),
    (
        "y: f32[2,4,6,6] = max_pool_dx(x, x, window=[2,2])",
        "pooling f32[2,4,6,6] gives f32[2,4,5,5], expected dy, f32[2,4,6,6]",
    ),
    (
        "y: f32[2,4,6,6] = avg_pool_dx(x, window=[2,2], size=[6,6])",
        "pooling f32[2,4,6,6] gives f32[2,4,5,5], expected dy, f32[2,4,6,6]",
    ),
    (
        "y: f32[2,4,6,6] = lrn(x, size=5, k=1, alpha=1, beta=1, groups=3)",
        "3 groups do not divide 4 channels, expected a divisor",
    ),
    (
        "y: f32[2,4,6,6] = lrn(m, size=5, k=1, alpha=1, beta=1)",
        "expected a float [N,C,H,W], got f32[2,4]",
    ),
    (
        "y: f32[2,4,6,6] = lrn_dx(x, m, size=5, k=1, alpha=1, beta=1)",
        "expected dy of type f32[2,4,6,6], got f32[2,4]",
    ),
    ("y: f32[2,4] = softmax(b)", "expected f32 logits [N,classes], got bf16[2,4]"),
    ("y: f32[2,4] = softmax(x)", "expected f32 logits [N,classes], got f32[2,4,6,6]"),
    ("y: f32[] = cross_entropy(x, i, m)", "expected f32 logits [N,classes], got f32[2,4,6,6]"),
    ("y: f32[] = cross_entropy(m, m, m)", "expected labels i32[2], got f32[2,4]"),
    ("y: f32[] = cross_entropy(m, i, m)", "expected weights f32[2], got f32[2,4]"),
    ("y: f32[] = accuracy(m, i, m)", "expected weights f32[2], got f32[2,4]"),
    (
        "y: f32[2,4] = concat(m, m, axis=2)",
        "axis 2 of f32[2,4] does not exist, expected more dimensions",
    ),
    (
        "y: f32[2,4] = concat(m, x, axis=1)",
        "expected operands alike but for axis 1, got f32[2,4] and f32[2,4,6,6]",
    ),
    (
        "y: f32[2,4] = concat(m, b, axis=1)",
        "expected operands alike but for axis 1, got f32[2,4] and bf16[2,4]",
    ),
    (
        "y: f32[2,4] = slice(m, start=3, size=2)",
        "slice [3, 5) does not lie inside axis 1 of f32[2,4], expected an end of at most 4",
    ),
    (
        "y: f32[2,4] = slice(m, axis=2, size=1)",
        "axis 2 of f32[2,4] does not exist, expected more dimensions",
    ),
    (
        "y: f32[2,4] = unslice(m, axis=2, size=1)",
        "axis 2 of f32[2,4] does not exist, expected more dimensions",
    ),
    (
        "y: f32[2,4] = unslice(m, start=1, size=4)",
        "slice [1, 5) does not lie inside axis 1 of f32[2,4], expected an end of at most 4",
    ),
    ("y: f32[2] = flatten(i)", "expected at least 2 dimensions, got i32[2]"),
    (
        "y: f32[2,4] = unflatten(m, shape=[3])",
        "expected a matrix with rows of [3] elements, got f32[2,4]",
    ),
    (
        "y: f32[2,4] = unflatten(x, shape=[2,2])",
        "expected a matrix with rows of [2, 2] elements, got f32[2,4,6,6]",
    ),
    ("y: f32[2,4]@dev1 = transfer(m, to=1)", "expected a placed operand, got f32[2,4]"),
    (
        "y: f32[2,4]@dev1 = transfer(d, to=1)",
        "f32[2,4]@dev1 is on dev1 already; expected another device",
    ),
    (
        "y: f32[2,4]@dev1 = transfer(d, to=10000)",
        "transfer: attribute 'to': expected an integer >= 0 and < 10000, got 10000",
    ),
    ("y: f32[2,4] = dropout(m, s, s, p=0.5, stream=1)", "expected the scalar u32[], got f32[]"),
    ("y: f32[2,4] = dropout(i, s, s, p=0.5, stream=1)", "expected a float operand, got i32[2]"),
    (
        "y: f32[2,4] = param(whole=[2,4])",
        "expected a piece inside the logical shape [2, 4], got f32[2,4] at offset []",
    ),
    (
        "y: f32[2,4] = param(whole=[2,4], offset=[0,1])",
        "expected a piece inside the logical shape [2, 4], got f32[2,4] at offset [0, 1]",
    ),
    ("y: f32[2,4] = crop(m, i, i, size=[2,2])", "expected images [N,C,H,W], got f32[2,4]"),
    (
        "y: f32[2,4] = crop(x, i, i, size=[7,2])",
        "a crop of [7, 2] does not fit, expected at most the images' [6, 6]",
    ),
    (
        "y: f32[2,4] = crop(x, i, i, size=[2,2])",
        "expected offsets i32[2,2] as (row, column), got i32[2]",
    ),
    ("y: f32[2,4] = center(m, m)", "expected a mean f32[4], got f32[2,4]"),
    ("y: f32[2,4] = center(i, m)", "expected float images, got i32[2]"),
    ("y: f32[2,4] = channel_shift(m, m)", "expected float images [N,C,H,W], got f32[2,4]"),
    ("y: f32[2,4] = channel_shift(x, s)", "expected shifts f32[2, 4], got f32[]"),
    ('y: f32[2,4] = state(copies="m")', "expected bf16 for a copy of 'm', got f32[2,4]"),
    ("y: bf16[2,4] = sgd_weight(b, b, s)", "expected f32 state, got bf16[2,4]"),
    (
        "y: f32[2,4] = sgd_weight(m, x, s)",
        "expected operands of one type, got f32[2,4] and f32[2,4,6,6]",
    ),
    ("y: f32[2,4] = sgd_weight(m, m, i)", "expected the scalar f32[], got i32[2]"),
]


@pytest.mark.parametrize(("line", "complaint"), STATEMENTS + TYPE_RULES)
def test_a_wrong_line(line: str, complaint: str) -> None:
    with pytest.raises(IRError) as caught:
        parse(f"{PROGRAM}  {line}\n}}\n", "some.ir")
    ops = ", ".join(TABLE)
    assert str(caught.value) == f"some.ir:9: {complaint.replace('{ops}', ops)}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "1: the text ends here, expected a line 'graph NAME {'"),
        ("# nothing\n\n", "3: the text ends here, expected a line 'graph NAME {'"),
        ("graph g {\n", "2: the text ends here, expected a closing '}'"),
        ("grph g {", "1: expected 'graph', got 'grph'"),
        ("graph {", "1: expected a name for the graph, got '{'"),
        ("graph g", "1: expected '{', got the end of the line"),
        ("graph g { x", "1: expected the end of the line, got 'x'"),
        ("graph g {\n} x", "2: expected the end of the line, got 'x'"),
        ("graph g {\n}\n}", "3: expected nothing after the closing '}', got '}'"),
        ("graph g {\n3", "2: expected a statement, got '3'"),
        ("graph " + "g" * 65_531, "1: a line of 65537 characters, expected at most 65536"),
        ("#" * (2**24 + 1), "1: 16777217 characters, expected at most 16777216"),
        (
            "graph " + "g" * 129,
            "1: expected a name of at most 128 letters, digits, _ and ., not begun by a digit or "
            '., got "' + "g" * 56 + "...",
        ),
        (f"{PROGRAM}gradient w = w\ngradient w = w", "10: 'w' has a second gradient, expected one"),
        (f"{PROGRAM}update w = w\nupdate w = w", "10: 'w' has a second update, expected one"),
    ],
)
def test_a_wrong_frame(text: str, complaint: str) -> None:
    with pytest.raises(IRError) as caught:
        parse(text, "some.ir")
    assert str(caught.value) == f"some.ir:{complaint}"


def test_a_leaf_needs_a_type() -> None:
    with pytest.raises(IRError, match=r"^expected a declared type for input, got none$"):
        apply("input", name="x")


@pytest.mark.parametrize(
    ("attr", "value", "complaint"),
    [
        (Attr(int), True, "expected an integer, got True"),
        (Attr(int), 1.0, "expected an integer, got 1.0"),
        (Attr(float), None, "expected a number, got None"),
        (Attr(float), float("nan"), "expected a number, got nan"),
        (Attr(float, below=0.5), 0.5, "expected a number < 0.5, got 0.5"),
        (Attr(str), "a b", 'expected a name in quotes, got "a b"'),
        (Attr(tuple, length=2), [1], "expected a list of 2 integers, got [1]"),
        (Attr(tuple), [True], "expected a list of at most 8 integers, got [True]"),
        (Attr(tuple), [1, "x"], 'expected a list of at most 8 integers, got [1,"x"]'),
        (Attr(tuple), "x" * 99, f'expected a list of at most 8 integers, got "{"x" * 56}...'),
    ],
)
def test_a_wrong_attribute(attr: Attr, value: object, complaint: str) -> None:
    with pytest.raises(IRError) as caught:
        attr.check(value)
    assert str(caught.value) == complaint
