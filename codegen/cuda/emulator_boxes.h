// Barriers in shared memory, and boxes of arrays that are copied there and counted by them. For
// emulator.h.

// --------------------------------------------------------------------------- barriers

// Counts what is still to come in its phase: arrivals and bytes. Then the next phase begins.
struct Counter {
  int bytes;
  unsigned expected : 12, pending : 12, phase : 1, begun : 7;
};
static const unsigned BEGUN = 0x2A;  // not what garbage has

static unsigned moves;  // what happened to any of them

static Counter &counter(void *barrier) {
  require_shared(barrier, sizeof(Counter));
  Counter &own = *(Counter *)barrier;
  if (own.begun != BEGUN) fail(NO_BARRIER);
  return own;
}

static void count_down(Counter &own, unsigned arrivals, int bytes) {
  if (own.pending < arrivals) fail(TOO_MANY);
  own.pending -= arrivals;
  own.bytes -= bytes;
  if (!own.pending && !own.bytes) own.phase ^= 1, own.pending = own.expected;
  moves++;
}

static void begin_barrier(void *barrier, int arrivals) {
  require_shared(barrier, sizeof(Counter));
  *(Counter *)barrier = {0, (unsigned)arrivals, (unsigned)arrivals, 0, BEGUN};
}

static void arrive_at(void *barrier) { count_down(counter(barrier), 1, 0); }
static void expect_bytes(void *barrier, int bytes) { count_down(counter(barrier), 1, -bytes); }
#define show_barriers()

// ------------------------------------------------------------------------------ boxes

struct Box {
  CUtensorMap map;
  long long at[5];
  char *to;
  void *barrier;
};

// Those that are on their way: as late as allowed where threads run backward.
static Box *boxes;
static unsigned box_room;

static unsigned box_bytes(const CUtensorMap &map) {
  unsigned bytes = map.item;
  for (unsigned axis = 0; axis < map.rank; axis++) bytes *= map.box[axis];
  return bytes;
}

// Where byte number n of a box lies: units of 16 bytes are swizzled by the address.
static char *place_of(const Box &box, unsigned n) {
  unsigned at = box.to - dynamic + n;
  if (box.map.swizzle) at ^= (at >> 7 & (box.map.swizzle / 16 - 1)) << 4;
  return dynamic + at;
}

// Element number n of a box; null for one beyond the array.
static const char *element_of(const Box &box, unsigned n) {
  const char *element = box.map.address;
  for (unsigned axis = 0; axis < box.map.rank; n /= box.map.box[axis++]) {
    const long long index = box.at[axis] + n % box.map.box[axis];
    if (index < 0 || index >= (long long)box.map.extents[axis]) return nullptr;
    element += index * (axis ? box.map.strides[axis - 1] : box.map.item);
  }
  return element;
}

static void finish(const Box &box) {
  const unsigned bytes = box_bytes(box.map), item = box.map.item;
  for (unsigned n = 0; n < bytes / item; n++) {
    const char *element = element_of(box, n);
    if (element)
      memcpy(place_of(box, n * item), element, item);
    else
      memset(place_of(box, n * item), 0, item);
  }
  count_down(counter(box.barrier), 0, bytes);
}

static void finish_boxes(const void *barrier) {
  unsigned left = 0;
  for (unsigned n = 0; n < box_count; n++)
    if (boxes[n].barrier == barrier)
      finish(boxes[n]);
    else
      boxes[left++] = boxes[n];
  box_count = left;
}

// The target is NaN until the copy is done.
static void copy_box(void *to, const CUtensorMap &map, void *barrier, const int *at) {
  const unsigned bytes = box_bytes(map);
  if ((size_t)to % 128) fail(MISALIGNED);
  if (!dynamic || !is_shared(to, bytes)) fail(NOT_SHARED);
  counter(barrier);
  memset(to, 0xFF, bytes);
  if (box_count == box_room) {
    box_room = box_room ? 2 * box_room : 16;
    boxes = (Box *)realloc(boxes, box_room * sizeof(Box));
  }
  Box &box = boxes[box_count++] = {map, {}, (char *)to, barrier};
  for (unsigned axis = 0; axis < map.rank; axis++) box.at[axis] = at[axis];
  if (!launch->backward) finish_boxes(barrier);
}

template <class... Index>
static void copy_box(void *to, unsigned long long map, void *barrier, Index... index) {
  const int at[] = {index...};
  if (((const CUtensorMap *)map)->rank != sizeof...(index)) fail(WRONG_RANK);
  copy_box(to, *(const CUtensorMap *)map, barrier, at);
}

#define copy_box_3 ::copy_box
#define copy_box_5 ::copy_box

// ---------------------------------------------------------------------------- waiting

static bool is_complete(void *barrier, unsigned parity) {
  const Counter &own = counter(barrier);
  if (own.phase == parity && !own.pending) finish_boxes(barrier);
  return own.phase != parity;
}

// Wait until the phase of a parity is complete; the other one's completion came before.
static void wait_barrier(int line, void *barrier, unsigned parity) {
  while (!is_complete(barrier, parity)) arrive(-line, WAITING);
  moves++;
}

#define wait_barrier(barrier, parity) ::wait_barrier(__LINE__, barrier, parity)
