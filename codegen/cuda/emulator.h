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

enum Fault { NONE, DIVERGED, MISALIGNED, NO_MEMORY };

// The same fields as `_Launch` in emulator.py. After a fault: the block and thread it is in; for
// DIVERGED also the lines of the barriers where this thread and `waiting` in all have arrived, and
// where another one has. Line 0 is the end of the kernel.
struct Launch {
  uint3 grid, block;
  int backward;
  const Pointer *pointers;
  uint3 at, thread;
  int fault;
  int line, other;
  unsigned waiting;
};

static Launch *launch;
static uint3 blockDim, gridDim;
static uint3 threads[1024];  // in the order they run
static unsigned count, running;

static unsigned elements(uint3 extent) { return extent.x * extent.y * extent.z; }

// The place of number n; backward, the last comes first.
static uint3 place(uint3 extent, unsigned n) {
  if (launch->backward) n = elements(extent) - 1 - n;
  return {n % extent.x, n / extent.x % extent.y, n / extent.x / extent.y};
}

static void begin_launch(Launch *given) {
  launch = given;
  blockDim = launch->block;
  gridDim = launch->grid;
  count = elements(blockDim);
  for (unsigned n = 0; n < count; n++) threads[n] = place(blockDim, n);
}

// Static arrays of all kernels. None may count on what the block before left there.
#define __shared__ __attribute__((section("shared"))) static
extern char __start_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_shared[] __attribute__((weak, visibility("hidden")));

static void begin_block(unsigned n) {
  launch->at = place(launch->grid, n);
  if (__start_shared) memset(__start_shared, 0xFF, __stop_shared - __start_shared);
}

// --------------------------------------------------------------------------- fibers

struct Fiber {
  jmp_buf resume;
  int line;  // of the barrier where it waits
};

static Fiber fibers[1024];
static jmp_buf scheduler;
static unsigned last;
static const void *entered;

static const size_t STACK = 64 << 10;
static const size_t STRIDE = STACK + 17 * 64;  // else all stacks compete for one set of the cache

// Wait, while the next thread goes on; after the last one the scheduler does.
__attribute__((noinline)) static void barrier(int line) {
  Fiber &self = fibers[running];
  self.line = line;
  if (_setjmp(self.resume)) return;
  if (running == last) _longjmp(scheduler, 1);
  _longjmp(fibers[++running].resume, 1);
}
#define __syncthreads() barrier(__LINE__)

// Let every thread go on to its next barrier.
__attribute__((noinline)) static void resume() {
  running = 0;
  last = count - 1;
  if (!_setjmp(scheduler)) _longjmp(fibers[0].resume, 1);
}

template <class Kernel> static void enter() {
  const uint3 thread = threads[running];
  for (;;) {
    barrier(0);
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

// Whether all threads arrived at the same barrier; else the launch says who did not.
static bool met() {
  unsigned n = 1;
  while (n < count && fibers[n].line == fibers[0].line) n++;
  if (n >= count) return true;
  unsigned waits = fibers[0].line ? 0 : n;
  launch->fault = DIVERGED;
  launch->thread = threads[waits];
  launch->line = fibers[waits].line;
  launch->other = fibers[n - waits].line;
  for (n = 0; n < count; n++) launch->waiting += fibers[n].line == launch->line;
  return false;
}

// A launch whose threads wait for each other.
template <class Kernel> static void with_barriers(const Kernel &kernel) {
  char *stacks = (char *)malloc(count * STRIDE);
  if (!stacks) launch->fault = NO_MEMORY;
  entered = &kernel;
  for (unsigned n = 0; n < count && stacks; n++) create<Kernel>(n, stacks + n * STRIDE);
  for (unsigned n = 0; n < elements(gridDim) && !launch->fault; n++) {
    begin_block(n);
    do resume();
    while (!launch->fault && met() && fibers[0].line);
  }
  free(stacks);
}

// A launch without barriers: a thread runs to its end before the next begins.
template <class Kernel> __attribute__((noinline)) static void run_all(const Kernel &kernel) {
  for (unsigned n = 0; n < elements(gridDim); n++) {
    begin_block(n);
    for (running = 0; running < count; running++) kernel(threads[running], launch->at);
  }
}

template <class Kernel> static void without_barriers(const Kernel &kernel) {
  if (!_setjmp(scheduler)) run_all(kernel);
}

// End a launch from within a kernel.
[[noreturn]] __attribute__((noinline)) static void misaligned() {
  launch->fault = MISALIGNED;
  launch->thread = threads[running];
  _longjmp(scheduler, 1);
}

#define KERNEL(name, run, ...)                                                             \
  extern "C" void launch_##name(Launch *given) {                                           \
    begin_launch(given);                                                                   \
    const Pointer *p = launch->pointers;                                                   \
    run([=](uint3 thread, uint3 block) { name(thread, block, __VA_ARGS__); });             \
  }

#include "emulator_types.h"
