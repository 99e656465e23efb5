// What a warp does together, and rounding: the functions of warp.h on the host. For emulator.h.

// ------------------------------------------------------------------------- rounding

static float larger(float a, float b) { return a != a || a > b ? a : b; }

static ushort bf16_bits(float value) {
  const uint bits = __float_as_uint(value);
  return value != value ? 0x7FFF : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
}

static float bf16_number(const ushort *elements, int i) {
  return __uint_as_float((uint)elements[i] << 16);
}

static void bf16_pair(ushort *elements, float first, float second) {
  elements[0] = bf16_bits(first);
  elements[1] = bf16_bits(second);
}

static uint tf32_bits(uint bits) {
  const bool finite = (bits & 0x7F800000) != 0x7F800000;
  return finite ? (bits + 0x1000) & 0xFFFFE000 : bits;
}

static void round_words(uint *words, unsigned many) {
  for (unsigned n = 0; n < many; n++) words[n] = tf32_bits(words[n]);
}

static void round_tf32(uint4 *floats) { round_words(&floats->x, 4); }
static void round_tf32_pair(uint2 *floats) { round_words(&floats->x, 2); }

// -------------------------------------------------------------------------- meeting

// What a lane puts down; it lies in its own registers or, as rows of matrices, in shared memory.
struct Operands {
  void *result;
  const void *a, *b;
};

static Operands operands[1024];

// Put operands down and wait for the warp. The first that goes on, while all others still wait,
// does the work of all lanes: whether this is it.
static bool meet(int line, void *result, const void *a, const void *b) {
  operands[running] = {result, a, b};
  arrive(-line, IN_WARP);
  return running % WARP == 0;
}

// The warp that goes on; backward, its last lane is the first.
struct Warp {
  const unsigned first = running, flip = launch->backward ? WARP - 1 : 0;
  unsigned number(unsigned lane) const { return first + (lane ^ flip); }
  const Operands &operator[](unsigned lane) const { return operands[number(lane)]; }
};

#define wait_warp() ((void)::meet(__LINE__, nullptr, nullptr, nullptr))

// Any lane may be elected; backward it is the last one.
#define is_elected() ((int)::meet(__LINE__, nullptr, nullptr, nullptr))

// ------------------------------------------------------------------------- matrices

// The row of 16 bytes that a lane names.
static const void *row_of(const Warp &warp, unsigned lane) {
  running = warp.number(lane);  // a fault is its own
  require_shared(warp[lane].a, 16);
  running = warp.first;
  return warp[lane].a;
}

static void load_matrix(const Warp &warp, unsigned matrix, bool transposed) {
  ushort halves[8][8];
  for (unsigned row = 0; row < 8; row++) memcpy(halves[row], row_of(warp, 8 * matrix + row), 16);
  for (unsigned lane = 0; lane < WARP; lane++) {
    const unsigned g = lane / 4, t = lane % 4 * 2;
    const ushort low = transposed ? halves[t][g] : halves[g][t];
    const ushort high = transposed ? halves[t + 1][g] : halves[g][t + 1];
    ((uint *)warp[lane].result)[matrix] = high << 16 | low;
  }
}

static void load(int line, void *words, const void *row, unsigned matrices, bool transposed) {
  if (!meet(line, words, row, nullptr)) return;
  const Warp warp;
  for (unsigned matrix = 0; matrix < matrices; matrix++) load_matrix(warp, matrix, transposed);
}

#define load_matrices(words, row) ::load(__LINE__, words, row, 4, false)
#define load_matrices_transposed(words, row) ::load(__LINE__, words, row, 4, true)
#define load_matrix_pairs(words, row) ::load(__LINE__, words, row, 2, false)
#define load_matrix_pairs_transposed(words, row) ::load(__LINE__, words, row, 2, true)

// ------------------------------------------------------------------------- products

// Written out, so that sums stay in registers.
#pragma GCC push_options
#pragma GCC optimize("O3")
typedef float Columns __attribute__((vector_size(32)));

// A word holds two bf16 numbers, or one of tf32, whose last bits do not count.
template <unsigned packed> static float unpacked(uint word, unsigned n) {
  if (packed == 1) return __uint_as_float(word & 0xFFFFE000);
  return __uint_as_float(n ? word & 0xFFFF0000 : word << 16);
}

// 16 x 8 sums += a b, over eight words of packed numbers.
template <unsigned packed> struct Product {
  float a[8 * packed][16];
  Columns b[8 * packed];
  float sums[16][8];

  void take(unsigned lane, const uint *left, const uint *right) {
    for (unsigned n = 0; n < packed; n++) {
      const unsigned g = lane / 4, k = lane % 4 * packed + n, next = 4 * packed;
      for (unsigned word = 0; word < 4; word++)
        a[k + word / 2 * next][g + word % 2 * 8] = unpacked<packed>(left[word], n);
      for (unsigned word = 0; word < 2; word++)
        b[k + word * next][g] = unpacked<packed>(right[word], n);
    }
  }

  void compute() {
    for (unsigned begin = 0; begin < 16; begin += 8) {
      Columns own[8] = {};
      for (unsigned k = 0; k < 8 * packed; k++)
        for (unsigned row = 0; row < 8; row++) own[row] += a[k][begin + row] * b[k];
      memcpy(sums[begin], own, sizeof own);
    }
  }

  void give(unsigned lane, float *own) const {
    const unsigned g = lane / 4, t = lane % 4 * 2;
    for (unsigned n = 0; n < 4; n++) own[n] += sums[g + n / 2 * 8][t + n % 2];
  }
};

template <unsigned packed>
static void multiply(int line, void *sums, const void *a, const void *b) {
  if (!meet(line, sums, a, b)) return;
  const Warp warp;
  Product<packed> product;
  for (unsigned lane = 0; lane < WARP; lane++)
    product.take(lane, (const uint *)warp[lane].a, (const uint *)warp[lane].b);
  product.compute();
  for (unsigned lane = 0; lane < WARP; lane++) product.give(lane, (float *)warp[lane].result);
}

#pragma GCC pop_options

#define multiply_bf16(sums, a, b) ::multiply<2>(__LINE__, sums, a, b)
#define multiply_tf32(sums, a, b) ::multiply<1>(__LINE__, sums, a, b)

// -------------------------------------------------------------------------- stores

static void put_word(void *to, uint word) {
  require_shared(to, sizeof word);
  memcpy(to, &word, sizeof word);
}

static void put_pair(void *to, float first, float second) {
  require_shared(to, 2 * sizeof(float));
  memcpy(to, &first, sizeof first);
  memcpy((char *)to + sizeof first, &second, sizeof second);
}

static void round_copied(void *floats, unsigned many) {
  require_shared(floats, 4 * many);
  round_words((uint *)floats, many);
}

static void round_copied_1(void *floats) { round_copied(floats, 1); }
static void round_copied_2(void *floats) { round_copied(floats, 2); }
static void round_copied_4(void *floats) { round_copied(floats, 4); }
