"""exp, log, powers and tanh of a vector: polynomials, for libm would be called lane by lane.

Ranges are reduced and polynomials chosen as in Cephes (Moshier): within 2 ulp of float32; powers by
roots within 4.5, of exponents below -1 within 12, others within 4 + |ln y| for the result y.
Infinities, NaN and results too small for float32 come out as libm has them.
"""

from math import inf, log2, nan
from typing import Any

from tvm import tirx

from codegen.kernels.writer import Lane, Writer
from codegen.loops import Expr

_LN2 = 0.693359375, -2.12194440e-4  # high part, exact when multiplied by an exponent; the rest
_EXP = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)
_LOG = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)
_TANH = (
    -5.70498872745e-3,
    2.06390887954e-2,
    -5.37397155531e-2,
    1.33314422036e-1,
    -3.33332819422e-1,
)
_ROOT = (
    7.26293921e-2,
    8.26589838e-2,
    9.51971728e-2,
    1.17174223e-1,
    1.56250045e-1,
    2.50000030e-1,
)
_ROOT_BITS = 0x4F582000  # less a quarter of the bits of x: those of x^-1/4, within 3 %
_MOST, _LEAST = 89.0, -104.0  # where exp has become infinite and zero


def f32(value: float) -> Any:
    """A float32 constant."""
    return tirx.const(value, "float32")


def is_nan(x: Expr) -> Expr:
    """Whether x is NaN. (TVM takes x != x for false.)"""
    magnitude = tirx.bitwise_and(tirx.reinterpret("int32", x), tirx.const(0x7FFFFFFF, "int32"))
    return magnitude > tirx.const(0x7F800000, "int32")


def exp(w: Writer, x: Lane) -> Lane:
    """e^x = 2^n e^r with |r| <= ln(2) / 2."""
    x = w.held(x)
    near = w.held(lambda i: tirx.min(tirx.max(x(i), f32(_LEAST)), f32(_MOST)))
    n = w.held(lambda i: _nearest(near(i) * f32(log2(2.718281828459045))), "int32")
    r = w.held(lambda i: _less_exponent(near(i), -tirx.Cast("float32", n(i))))
    e = w.held(lambda i: _polynomial(_EXP, r(i)) * (r(i) * r(i)) + r(i) + f32(1))
    # In two steps: 2^n alone may be too large or too small for a float.
    half = w.held(lambda i: tirx.shift_right(n(i), tirx.const(1, "int32")), "int32")
    big = w.held(lambda i: e(i) * _power_of_two(half(i)) * _power_of_two(n(i) - half(i)))
    return w.held(lambda i: tirx.Select(is_nan(x(i)), x(i), big(i)))


def log(w: Writer, x: Lane) -> Lane:
    """ln x = n ln 2 + ln m with m in [sqrt(1/2), sqrt(2)). Denormal x count as 2^-126."""
    x = w.held(x)
    least = 0x00800000
    bits = w.held(
        lambda i: tirx.max(tirx.reinterpret("int32", x(i)), tirx.const(least, "int32")), "int32"
    )
    # From here the exponent changes at sqrt(1/2) instead of at 1.
    moved = w.held(lambda i: bits(i) - tirx.const(0x3F3504F3, "int32"), "int32")
    n = w.held(lambda i: tirx.shift_right(moved(i), tirx.const(23, "int32")), "int32")
    whole = w.held(lambda i: tirx.Cast("float32", n(i)))
    shift = tirx.const(23, "int32")
    m = w.held(
        lambda i: tirx.reinterpret("float32", bits(i) - tirx.shift_left(n(i), shift)) - f32(1),
    )
    square = w.held(lambda i: m(i) * m(i))
    y = w.held(lambda i: _polynomial(_LOG, m(i)) * m(i) * square(i))
    z = w.held(lambda i: y(i) + whole(i) * f32(_LN2[1]) - square(i) * f32(0.5))
    result = w.held(lambda i: m(i) + z(i) + whole(i) * f32(_LN2[0]))
    return w.held(lambda i: _log_limits(x(i), result(i)))


def tanh(w: Writer, x: Lane) -> Lane:
    """A polynomial near 0, where 1 - 2 / (e^2|x| + 1) would lose digits."""
    x = w.held(x)
    size = w.held(lambda i: tirx.max(x(i), -x(i)))
    e = exp(w, lambda i: size(i) * f32(2))
    far = w.held(lambda i: f32(1) - f32(2) / (e(i) + f32(1)))
    square = w.held(lambda i: x(i) * x(i))
    near = w.held(lambda i: _polynomial(_TANH, square(i)) * square(i) * x(i) + x(i))
    signed = w.held(lambda i: tirx.Select(x(i) < f32(0), -far(i), far(i)))
    result = w.held(lambda i: tirx.Select(size(i) < f32(0.625), near(i), signed(i)))
    return w.held(lambda i: tirx.Select(is_nan(x(i)), x(i), result(i)))


def power(w: Writer, x: Lane, exponent: float) -> Lane:
    """x^exponent for x >= 0: by roots where multiples of 1/4 in [-2, 2] allow, else exp(e ln x)."""
    (result,) = powers(w, x, exponent)
    return result


def powers(w: Writer, x: Lane, *exponents: float) -> list[Lane]:
    """Several powers of one x >= 0; broken negative multiples of 1/4 share a root."""
    x = w.held(x)
    roots = [-2 < e < 0 and e % 0.25 == 0 and e % 1 != 0 for e in exponents]
    root = _inverse_fourth_root(w, x) if any(roots) else x
    return [
        _whole_power(w, root, int(-4 * e)) if by_root else _single_power(w, x, e)
        for e, by_root in zip(exponents, roots, strict=True)
    ]


def _single_power(w: Writer, x: Lane, exponent: float) -> Lane:
    if exponent % 0.25 or not -2 <= exponent <= 2:
        logarithm = log(w, x)
        return exp(w, lambda i: logarithm(i) * f32(exponent))
    if exponent < 0:
        positive = _single_power(w, x, -exponent)
        return w.held(lambda i: f32(1) / positive(i))
    quarters = int(exponent * 4)
    whole = _whole_power(w, x, quarters // 4)
    if quarters % 4 == 0:
        return whole
    root = w.held(lambda i: tirx.sqrt(x(i)))
    fourth = w.held(lambda i: tirx.sqrt(root(i)))
    rest = _product(w, ([root] if quarters & 2 else []) + ([fourth] if quarters & 1 else []))
    return _product(w, [whole, rest]) if quarters > 4 else rest


def _inverse_fourth_root(w: Writer, x: Lane) -> Lane:
    """y = x^-1/4 nearly, from the bits; then y (1 - e)^-1/4 with e = 1 - x y^4. Without division.

    y has 12 bits, so that y^2 is exact. Denormal x count as 2^-126 or so.
    """
    near = w.held(lambda i: tirx.reinterpret("float32", _near_root_bits(x(i))))
    square = w.held(lambda i: near(i) * near(i))
    e = w.held(lambda i: f32(1) - x(i) * (square(i) * square(i)))
    part = w.held(lambda i: _polynomial(_ROOT, e(i)) * e(i))
    y = w.held(lambda i: near(i) + near(i) * part(i))
    finite = w.held(lambda i: tirx.Select(x(i) == f32(inf), f32(0), y(i)))
    return w.held(lambda i: tirx.Select(x(i) == f32(0), f32(inf), finite(i)))


def _near_root_bits(x: Expr) -> Expr:
    quarter = tirx.shift_right(tirx.reinterpret("int32", x), tirx.const(2, "int32"))
    bits = tirx.const(_ROOT_BITS, "int32") - quarter
    return tirx.bitwise_and(bits, tirx.const(-(1 << 12), "int32"))


def _whole_power(w: Writer, x: Lane, exponent: int) -> Lane:
    """x^exponent by squaring."""
    if exponent < 2:
        return x if exponent else lambda i: f32(1)
    half = _whole_power(w, x, exponent // 2)
    return _product(w, [half, half] + [x] * (exponent % 2))


def _product(w: Writer, factors: list[Lane]) -> Lane:
    product, *others = factors
    for factor in others:
        product = w.held(lambda i, a=product, b=factor: a(i) * b(i))  # type: ignore[misc]
    return product


def _polynomial(coefficients: tuple[float, ...], x: Expr) -> Expr:
    """Horner's rule, the highest power first; x must be a register."""
    first, *rest = coefficients
    total: Expr = f32(first)
    for coefficient in rest:
        total = total * x + f32(coefficient)
    return total


def _nearest(x: Expr) -> Expr:
    """Rounded half away from zero. (Rounding instructions need SSE4; conversion does not.)"""
    return tirx.Cast("int32", x + tirx.Select(x < f32(0), f32(-0.5), f32(0.5)))


def _less_exponent(x: Expr, minus_n: Expr) -> Expr:
    return x + minus_n * f32(_LN2[0]) + minus_n * f32(_LN2[1])


def _power_of_two(n: Expr) -> Expr:
    biased = n + tirx.const(127, "int32")
    return tirx.reinterpret("float32", tirx.shift_left(biased, tirx.const(23, "int32")))


def _log_limits(x: Expr, result: Expr) -> Expr:
    result = tirx.Select(x == f32(inf), f32(inf), result)
    result = tirx.Select(x == f32(0), f32(-inf), result)
    return tirx.Select(tirx.any(x < f32(0), is_nan(x)), f32(nan), result)
