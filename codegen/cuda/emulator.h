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

struct Pointer {
  void *address;
  template <class T> operator T *() const { return (T *)address; }
};

enum Fault { NONE, DIVERGED, MISALIGNED, NO_MEMORY, NOT_SHARED, OVERWRITTEN, DISAGREED };

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

static jmp_buf fibers[1024];
static int places[1024];  // where they wait
static unsigned last;
static unsigned in_warps;  // how many came to what their warp does together
static const void *entered;

static const size_t STACK = 64 << 10;
static const size_t STRIDE = STACK + 17 * 64;  // else all stacks compete for one set of the cache

// Wait, while the next thread goes on; after the last one the scheduler does.
__attribute__((noinline)) static void arrive(int place) {
  places[running] = place;
  if (_setjmp(fibers[running])) return;
  if (running == last) _longjmp(scheduler, 1);
  _longjmp(fibers[++running], 1);
}
#define __syncthreads() ::arrive(__LINE__)

// Let a team go on, the threads from `first`, each to where it waits next.
__attribute__((noinline)) static void resume(unsigned first, unsigned team) {
  running = first;
  last = first + team - 1;
  if (!_setjmp(scheduler)) _longjmp(fibers[first], 1);
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

// Let a team go on to a barrier, or to the end; what a warp does together it does on the way.
static void advance(unsigned first, unsigned team) {
  do {
    in_warps = 0;
    resume(first, team);
  } while (!launch->fault && in_warps && met(first, team));
}

typedef void Advance(unsigned first, unsigned team);

static void run_block(unsigned team, Advance *go_on) {
  do
    for (unsigned n = 0; n < count && !launch->fault; n += team) go_on(n, team);
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
