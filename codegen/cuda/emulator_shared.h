// Shared memory of a block, and the copies that are on their way to it. For emulator.h.

// -------------------------------------------------------------------------- arrays

// Static arrays of all kernels.
#define __shared__ __attribute__((section("shared"))) static
extern char __start_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_shared[] __attribute__((weak, visibility("hidden")));

// The array without an extent, with a guard on either side.
static const size_t GUARD = 4096;
static char *dynamic;

static bool reserve(size_t bytes) {
  if (!bytes) return true;
  char *whole = (char *)aligned_alloc(GUARD, (bytes + 3 * GUARD - 1) / GUARD * GUARD);
  if (whole)
    dynamic = whole + GUARD;
  else
    launch->fault = NO_MEMORY;
  return whole;
}

static void release() {
  if (dynamic) free(dynamic - GUARD);
  dynamic = nullptr;
}

static bool untouched(const char *guard) {
  return *guard == (char)0xFF && !memcmp(guard, guard + 1, GUARD - 1);
}

static bool is_shared(const void *first, size_t bytes) {
  const char *begin = (const char *)first, *end = begin + bytes;
  return (begin >= __start_shared && end <= __stop_shared) ||
         (dynamic && begin >= dynamic && end <= dynamic + launch->shared);
}

static void require_shared(const void *first, size_t bytes) {
  if ((size_t)first % bytes) fail(MISALIGNED);
  if (!is_shared(first, bytes)) fail(NOT_SHARED);
}

// -------------------------------------------------------------------------- copies

struct Copy {
  void *to;
  const void *from;  // null for zeros
  unsigned bytes, group;
};

// Of one thread: what it has begun, in order, and how many groups it has closed.
struct Copies {
  Copy *list;
  unsigned count, room, groups;
};

static Copies copies[1024];
static bool copying;  // since this block began
static unsigned box_count;  // of boxes on their way (emulator_boxes.h)

// As late as allowed: nothing is read before somebody waits, and till then the target is NaN.
static void begin_copy(void *to, const void *from, unsigned bytes, int valid) {
  require_shared(to, bytes);
  if ((size_t)from % bytes) fail(MISALIGNED);
  Copies &own = copies[running];
  if (own.count == own.room) {
    own.room = own.room ? 2 * own.room : 16;
    own.list = (Copy *)realloc(own.list, own.room * sizeof(Copy));
  }
  memset(to, 0xFF, bytes);
  own.list[own.count++] = {to, valid ? from : nullptr, bytes, own.groups};
  copying = true;
}

static void copy_async_4(void *to, const void *from, int valid) { begin_copy(to, from, 4, valid); }
static void copy_async_8(void *to, const void *from, int valid) { begin_copy(to, from, 8, valid); }
static void copy_async_16(void *to, const void *from, int valid) {
  begin_copy(to, from, 16, valid);
}

static void commit_copies() { copies[running].groups++; }

static void finish(const Copy &copy) {
  if (copy.from)
    memcpy(copy.to, copy.from, copy.bytes);
  else
    memset(copy.to, 0, copy.bytes);
}

static void wait_copies(unsigned latest) {
  Copies &own = copies[running];
  unsigned done = 0;
  while (done < own.count && own.list[done].group + latest < own.groups) finish(own.list[done++]);
  own.count -= done;
  memmove(own.list, own.list + done, own.count * sizeof(Copy));
}

// -------------------------------------------------------------------------- a block

// None may count on what the block before left.
static void begin_block(unsigned n) {
  launch->at = place(launch->grid, n);
  if (__start_shared) memset(__start_shared, 0xFF, __stop_shared - __start_shared);
  if (dynamic) memset(dynamic - GUARD, 0xFF, launch->shared + 2 * GUARD);
  for (unsigned t = 0; t < count && copying; t++) copies[t].count = copies[t].groups = 0;
  copying = false;
  box_count = 0;
}

static void end_block() {
  if (!dynamic || launch->fault) return;
  if (!untouched(dynamic - GUARD) || !untouched(dynamic + launch->shared))
    launch->fault = OVERWRITTEN;
}
