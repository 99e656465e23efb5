// What four warps multiply together, from shared memory: the products of products.py on the host.
// For emulator.h.

static const unsigned GROUP = 4 * WARP;

// As late as allowed where threads run backward, as early as allowed where they run forward.
struct Pending {
  void (*multiply)(const Operands *, unsigned long long, unsigned long long);
  Operands lanes[GROUP];
  unsigned long long a, b;
  unsigned group;
};

// Of four warps: what they have begun, in order, and how many groups they have closed.
struct Products {
  Pending *list;
  unsigned count, room, groups;
};

static Products products[1024 / GROUP];

// --------------------------------------------------------------------------- matrices

static unsigned long long matrix_descriptor(const void *place, int lead, int stride, int mode) {
  require_shared(place, 16);
  const unsigned long long at = (const char *)place - dynamic;
  return at >> 4 | (unsigned long long)(lead >> 4) << 16 |
         (unsigned long long)(stride >> 4) << 32 | (unsigned long long)mode << 62;
}

// An element of `bytes`, by its row (or column) and its step. Rows lie along memory, or steps.
template <unsigned bytes, bool along_rows> struct Matrix {
  const unsigned long long descriptor;
  const char *element(unsigned row, unsigned step) const {
    const unsigned start = (descriptor & 0x3FFF) << 4, line = descriptor >> 62 == 2 ? 64 : 32;
    const unsigned lead = (descriptor >> 16 & 0x3FFF) << 4;
    const unsigned stride = (descriptor >> 32 & 0x3FFF) << 4;
    // Patterns begin at multiples of their size, so rows do at those of eight lines.
    if (start % (8 * line) >= line) fail(MISALIGNED);
    unsigned at = start;
    if (along_rows)
      at += row * bytes / line * lead + step / 8 * stride + step % 8 * line + row * bytes % line;
    else
      at += row / 8 * stride + row % 8 * line + step * bytes;
    at ^= (at >> 7 & (line / 16 - 1)) << 4;
    if (!is_shared(dynamic + at, bytes)) fail(NOT_SHARED);
    return dynamic + at;
  }
  float operator()(unsigned row, unsigned step) const {
    uint word = 0;
    memcpy((char *)&word + 4 - bytes, element(row, step), bytes);
    return __uint_as_float(bytes == 4 ? word & 0xFFFFE000 : word);
  }
};

template <unsigned bytes, unsigned columns, bool a_rows, bool b_columns>
static void multiply_matrices(const Operands *lanes, unsigned long long a, unsigned long long b) {
  static_assert(columns % 8 == 0 && columns <= 256, "no such instruction");
  const Matrix<bytes, a_rows> rows = {a};
  const Matrix<bytes, b_columns> others = {b};
  static float left[64][32 / bytes], right[32 / bytes][columns];
  for (unsigned step = 0; step < 32 / bytes; step++) {
    for (unsigned row = 0; row < 64; row++) left[row][step] = rows(row, step);
    for (unsigned column = 0; column < columns; column++)
      right[step][column] = others(column, step);
  }
  for (unsigned row = 0; row < 64; row++) {
    float sums[columns] = {};
    for (unsigned step = 0; step < 32 / bytes; step++)
      for (unsigned column = 0; column < columns; column++)
        sums[column] += left[row][step] * right[step][column];
    for (unsigned column = 0; column < columns; column++) {
      const unsigned lane = row / 16 * WARP + row % 8 * 4 + column % 8 / 2;
      const unsigned own = column / 8 * 4 + row % 16 / 8 * 2 + column % 2;
      ((float *)lanes[lane].result)[own] += sums[column];
    }
  }
}

// --------------------------------------------------------------------------- groups

// The same with four warps, each as far as it gets without the others; what they do together they
// do on the way.
static void advance_warps(unsigned first, unsigned team) {
  do {
    const bool waiting_alone = any(WAITING, first, team);
    for (unsigned n = first; n < first + team && !launch->fault; n += WARP)
      if (!waiting_alone || any(WAITING, n, WARP)) advance(n, WARP);
  } while (together(IN_GROUP, first, team));
}

// A thread's number among those of full groups, in the order they run.
static unsigned in_group() {
  const unsigned number = running - (launch->backward ? count % GROUP : 0);
  if (number >= count / GROUP * GROUP) fail(NO_GROUP);
  return number;
}

// Wait for the four warps; whether this thread does the work of all.
static bool meet_group(int line, void *sums = nullptr, const void *a = nullptr,
                       const void *b = nullptr) {
  const unsigned number = in_group();
  operands[running] = {sums, a, b};
  arrive(-line, IN_GROUP);
  return number % GROUP == 0;
}

// Of all lanes that have met, on what they multiply.
static void require_agreement() {
  const Operands *own = operands + running;
  for (unsigned n = 1; n < GROUP; n++)
    if (own[n].a != own->a || own[n].b != own->b) fail(DISAGREED);
}

static Products &own_products() { return products[in_group() / GROUP]; }

template <unsigned bytes, unsigned columns, bool a_rows, bool b_columns>
static void multiply_group(int line, void *sums, unsigned long long a, unsigned long long b) {
  if (!meet_group(line, sums, (void *)a, (void *)b)) return;
  require_agreement();
  Products &own = own_products();
  if (own.count == own.room) {
    own.room = own.room ? 2 * own.room : 16;
    own.list = (Pending *)realloc(own.list, own.room * sizeof(Pending));
  }
  Pending &product = own.list[own.count];
  product.multiply = multiply_matrices<bytes, columns, a_rows, b_columns>;
  for (unsigned lane = 0; lane < GROUP; lane++)
    product.lanes[lane] = operands[running + (launch->backward ? GROUP - 1 - lane : lane)];
  product.a = a, product.b = b, product.group = own.groups;
  if (launch->backward)
    own.count++;
  else
    product.multiply(product.lanes, a, b);
}

static void wait_products(int line, unsigned latest) {
  if (!meet_group(line)) return;
  Products &own = own_products();
  unsigned done = 0;
  for (; done < own.count && own.list[done].group + latest < own.groups; done++)
    own.list[done].multiply(own.list[done].lanes, own.list[done].a, own.list[done].b);
  own.count -= done;
  memmove(own.list, own.list + done, own.count * sizeof(Pending));
}

static void commit_products(int line) {
  if (meet_group(line)) own_products().groups++;
}

static void hold_sums(void *) {}

template <class Kernel> static void with_groups(const Kernel &kernel) {
  for (Products &each : products) each.count = each.groups = 0;
  in_teams(kernel, GROUP, advance_warps);
}

#define begin_products() ((void)::meet_group(__LINE__))
#define commit_products() ::commit_products(__LINE__)
#define wait_products(latest) ::wait_products(__LINE__, latest)
#define show_copies()
