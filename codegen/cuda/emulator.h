// A launch of a CUDA kernel on the host: every thread of a block is a fiber. The kernels' text
// follows; each takes threadIdx and blockIdx as its first parameters.

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

// `__shared__ alignas(64) float x[8]` is no order for a standard attribute.
#define alignas(bytes) __attribute__((aligned(bytes)))
// Threads write what others read after a barrier; here a barrier is a mere function.
#define __restrict__

// ------------------------------------------------------------------------- a launch

struct uint3 {
  unsigned x, y, z;
};

// The same fields as `Map` in emulator_launch.py.
struct CUtensorMap {
  const char *address;
  unsigned long long extents[5], strides[4];
  unsigned box[5], rank, item, swizzle;
};
#define __grid_constant__

struct Pointer {
  void *address;
  template <class T> operator T *() const { return (T *)address; }
  operator const CUtensorMap &() const { return *(const CUtensorMap *)address; }
};

enum Fault {
  NONE,
  DIVERGED,
  MISALIGNED,
  NO_MEMORY,
  NOT_SHARED,
  OVERWRITTEN,
  DISAGREED,
  NO_GROUP,
  NO_BARRIER,
  TOO_MANY,
  WRONG_RANK,
  STUCK
};

// The same fields as `Launch` in emulator_launch.py. After a fault: the block and thread it is in;
// for DIVERGED also the places where this thread and `waiting` in all have arrived, of `team`, and
// where another one has. A place is the line of a barrier, minus the line of what a warp does
// together, or 0, the end of the kernel.
struct Launch {
  uint3 grid, block;
  unsigned shared;  // bytes of the array without an extent
  int backward;
  const Pointer *pointers;
  uint3 at, thread;
  int fault;
  int place, other;
  unsigned waiting, team;
};

static Launch *launch;
static uint3 blockDim, gridDim;
static const unsigned WARP = 32;
static uint3 threads[1024];  // in the order they run
static unsigned count, running;
static jmp_buf scheduler;

// End a launch from within a kernel.
[[noreturn]] __attribute__((noinline)) static void fail(Fault fault) {
  launch->fault = fault;
  launch->thread = threads[running];
  _longjmp(scheduler, 1);
}

static unsigned elements(uint3 extent) { return extent.x * extent.y * extent.z; }

// The place of number n; backward, the last comes first.
static uint3 place(uint3 extent, unsigned n) {
  if (launch->backward) n = elements(extent) - 1 - n;
  return {n % extent.x, n / extent.x % extent.y, n / extent.x / extent.y};
}

#include "emulator_shared.h"

static bool begin_launch(Launch *given) {
  launch = given;
  blockDim = launch->block;
  gridDim = launch->grid;
  count = elements(blockDim);
  for (unsigned n = 0; n < count; n++) threads[n] = place(blockDim, n);
  return reserve(launch->shared);
}

// --------------------------------------------------------------------------- fibers

// At a barrier or the end, at what a warp or four warps do together, or at a barrier in shared
// memory that is not complete.
enum State : char { STOPPED, IN_WARP, IN_GROUP, WAITING };

static jmp_buf fibers[1024];
static int places[1024];  // where they wait
static State states[1024];
static unsigned last;
static bool waiting_only;  // whether the scheduler lets only those go on
static const void *entered;

static const size_t STACK = 64 << 10;
static const size_t STRIDE = STACK + 17 * 64;  // else all stacks compete for one set of the cache

// Wait, while the next thread goes on; after the last one the scheduler does.
__attribute__((noinline)) static void arrive(int place, State state = STOPPED) {
  places[running] = place;
  states[running] = state;
  if (_setjmp(fibers[running])) return;
  do
    if (running == last) _longjmp(scheduler, 1);
  while (++running, waiting_only && states[running] != WAITING);
  _longjmp(fibers[running], 1);
}
#define __syncthreads() ::arrive(__LINE__)

#include "emulator_boxes.h"

// The first of a team in a state, or null.
static const void *any(State state, unsigned first, unsigned team) {
  return memchr(states + first, state, team);
}

// Let a team go on, the threads from `first`, each to where it waits next; those that wait for a
// barrier in shared memory alone where there are any, for the others may wait for them.
__attribute__((noinline)) static void resume(unsigned first, unsigned team) {
  const void *waiting = any(WAITING, first, team);
  waiting_only = waiting;
  running = waiting ? (const State *)waiting - states : first;
  last = first + team - 1;
  if (!_setjmp(scheduler)) _longjmp(fibers[running], 1);
}

template <class Kernel> static void enter() {
  const uint3 thread = threads[running];
  for (;;) {
    arrive(0);
    (*(const Kernel *)entered)(thread, launch->at);
  }
}

template <class Kernel> __attribute__((noinline)) static void create(unsigned number, char *stack) {
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = STACK;
  makecontext(&context, enter<Kernel>, 0);
  running = last = number;
  if (!_setjmp(scheduler)) setcontext(&context);
}

// Whether a team arrived at the same place; else the launch says who did not.
static bool met(unsigned first, unsigned team) {
  const int *own = places + first;
  unsigned n = 1;
  while (n < team && own[n] == own[0]) n++;
  if (n >= team) return true;
  // A place of a warp says more than a barrier, and that more than the end.
  unsigned shown = own[n] < 0 || !own[0] ? n : 0;
  launch->fault = DIVERGED;
  launch->thread = threads[first + shown];
  launch->place = own[shown];
  launch->other = own[n - shown];
  launch->team = team;
  for (n = 0; n < team; n++) launch->waiting += own[n] == launch->place;
  return false;
}

// Whether a team goes on at once: all of it came to what it does together.
static bool together(State state, unsigned first, unsigned team) {
  return !launch->fault && !any(WAITING, first, team) && any(state, first, team) &&
         met(first, team);
}

// Let a team go on to a barrier, to the end, or to where some must wait; what a warp does together
// it does on the way.
static void advance(unsigned first, unsigned team) {
  do
    resume(first, team);
  while (together(IN_WARP, first, team));
}

typedef void Advance(unsigned first, unsigned team);

// How many threads of a team run one after another from `first` on: the team with the highest
// numbers may be smaller.
static unsigned size_of(unsigned team, unsigned first) {
  const unsigned rest = count % team;
  const bool last = first == (launch->backward ? 0 : count - rest);
  return rest && last ? rest : team;
}

// Let all teams go on to a barrier, or to the end. Those that wait for a barrier in shared memory
// try again, while any of them gets further.
static void advance_all(unsigned team, Advance *go_on) {
  const void *waiting;
  unsigned before;
  bool begun = false;
  do {
    before = moves;
    for (unsigned n = 0; n < count && !launch->fault; n += size_of(team, n))
      if (!begun || any(WAITING, n, size_of(team, n))) go_on(n, size_of(team, n));
    begun = true;
    waiting = any(WAITING, 0, count);
  } while (waiting && moves != before && !launch->fault);
  if (!waiting || launch->fault) return;
  const unsigned stuck = (const State *)waiting - states;
  launch->fault = STUCK;
  launch->thread = threads[stuck];
  launch->place = -places[stuck];
}

static void run_block(unsigned team, Advance *go_on) {
  do
    advance_all(team, go_on);
  while (!launch->fault && met(0, count) && places[0]);
}

// A launch whose threads wait for each other: in teams that are blocks, warps, or four warps.
template <class Kernel>
static void in_teams(const Kernel &kernel, unsigned team, Advance *go_on = advance) {
  char *stacks = (char *)malloc(count * STRIDE);
  if (!stacks) launch->fault = NO_MEMORY;
  entered = &kernel;
  for (unsigned n = 0; n < count && stacks; n++) create<Kernel>(n, stacks + n * STRIDE);
  for (unsigned n = 0; n < elements(gridDim) && !launch->fault; n++) {
    begin_block(n);
    run_block(team, go_on);
    end_block();
  }
  free(stacks);
}

template <class Kernel> static void with_barriers(const Kernel &kernel) {
  in_teams(kernel, count);
}

template <class Kernel> static void with_warps(const Kernel &kernel) { in_teams(kernel, WARP); }

// A launch without barriers: a thread runs to its end before the next begins.
template <class Kernel> __attribute__((noinline)) static void run_all(const Kernel &kernel) {
  for (unsigned n = 0; n < elements(gridDim) && !launch->fault; n++) {
    begin_block(n);
    for (running = 0; running < count; running++) kernel(threads[running], launch->at);
    end_block();
  }
}

template <class Kernel> static void without_barriers(const Kernel &kernel) {
  if (!_setjmp(scheduler)) run_all(kernel);
}

#define KERNEL(name, run, ...)                                                             \
  extern "C" void launch_##name(Launch *given) {                                           \
    const Pointer *p = given->pointers;                                                    \
    if (begin_launch(given))                                                               \
      run([=](uint3 thread, uint3 block) { name(thread, block, __VA_ARGS__); });           \
    release();                                                                             \
  }

#include "emulator_types.h"
#include "emulator_warp.h"
#include "emulator_groups.h"
