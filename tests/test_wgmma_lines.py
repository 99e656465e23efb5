"""Where a chunk lies in shared memory is where the descriptors of `wgmma` say."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tvm import tirx

from codegen.kernels.cuda.form import BF16, TF32, UNIT
from codegen.kernels.cuda.tensor.wgmma.lines import Swizzled
from tests.canonical import MODES, Canonical
from tests.counts import cases


@cases(full=200, sample=30)
@given(data=st.data())
def test_elements_lie_where_descriptors_say(data: st.DataObject) -> None:
    """Each element of a chunk; and an operand of some of its steps and rows begins as promised."""
    form, along_rows = data.draw(st.sampled_from([(BF16, False), (BF16, True), (TF32, False)]))
    depth, rows = (
        form.depth // data.draw(st.sampled_from((1, 2))),
        32 * data.draw(st.integers(1, 8)),
    )
    lines = Swizzled(form, depth, rows, not along_rows)
    units = 4 if along_rows else depth * form.bytes // UNIT
    model = Canonical(form, units, along_rows, lines.lead // UNIT, lines.stride // UNIT)
    assert lines.mode == MODES[units]
    every = model.all(rows, depth)
    assert len(np.unique(every)) == rows * depth
    assert every.max() < 4 * lines.words
    begins = st.integers(0, depth // form.step - 1), st.integers(0, rows // 32 - 1)
    for step, begin in data.draw(st.lists(st.tuples(*begins), min_size=1, max_size=5)):
        start = model.plain(np.array(32 * begin), np.array(form.step * step))
        assert 4 * _number(lines.start(_int(step), _int(32 * begin))) == start
    elements = st.integers(0, depth - 1), st.integers(0, rows - 1)
    for step, row in data.draw(st.lists(st.tuples(*elements), min_size=20, max_size=40)):
        word = _number(lines.word(_int(step), _int(row)))
        assert word == model.byte(np.array(row), np.array(step)) // 4


def _int(value: int) -> tirx.IntImm:
    return tirx.IntImm("int32", value)


def _number(value: tirx.IntImm) -> int:
    return int(value)
