// What kernels call for tensor cores, asynchronous copies and rounding, as PTX. A kernel's text
// begins with those functions that it calls; emulator_warp.h has the same for the host.

// The upper half of a float, rounded to nearest, ties to even. Done as one of a
// pair: a number alone would take the slow way of other conversions.
__device__ __forceinline__ unsigned short bf16_bits(float value) {
  unsigned pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(0.0f), "f"(value));
  return (unsigned short)pair;
}

// The number that element i of an array in registers stands for: two elements share a register, of
// which the compiler else would take the upper one out first.
__device__ __forceinline__ float bf16_number(const unsigned short *elements, int i) {
  unsigned pair = ((const unsigned *)elements)[i / 2];
  return __uint_as_float(i % 2 ? pair & 0xffff0000u : pair << 16);
}

// Set two neighbours of such an array to two numbers, rounded like one.
__device__ __forceinline__ void bf16_pair(unsigned short *elements, float first, float second) {
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(*(unsigned *)elements) : "f"(second), "f"(first));
}

// The larger of two floats; NaN if one is.
__device__ __forceinline__ float larger(float a, float b) {
  asm("max.NaN.f32 %0, %0, %1;" : "+f"(a) : "f"(b));
  return a;
}

// Instructions for shared memory take its own addresses.
__device__ __forceinline__ unsigned shared_address(const void *place) {
  return (unsigned)__cvta_generic_to_shared(place);
}

// Begin a copy of 4 bytes to shared memory; not valid: of zeros, and nothing is read.
__device__ __forceinline__ void copy_async_4(void *to, const void *from, int valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;"
               :
               : "r"(shared_address(to)), "l"(from), "r"(valid ? 4 : 0)
               : "memory");
}

// Begin a copy of 8 bytes to shared memory; not valid: of zeros, and nothing is read.
__device__ __forceinline__ void copy_async_8(void *to, const void *from, int valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;"
               :
               : "r"(shared_address(to)), "l"(from), "r"(valid ? 8 : 0)
               : "memory");
}

// Begin a copy of 16 bytes to shared memory, past the L1 cache; not valid: of zeros, and nothing is
// read.
__device__ __forceinline__ void copy_async_16(void *to, const void *from, int valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(shared_address(to)), "l"(from), "r"(valid ? 16 : 0)
               : "memory");
}

// All copies of this thread since the last call become a group.
__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Wait for this thread's groups but the latest, of which there are 0 to 3.
__device__ __forceinline__ void wait_copies(int latest) {
  switch (latest) {
    case 0: asm volatile("cp.async.wait_group 0;" ::: "memory"); break;
    case 1: asm volatile("cp.async.wait_group 1;" ::: "memory"); break;
    case 2: asm volatile("cp.async.wait_group 2;" ::: "memory"); break;
    default: asm volatile("cp.async.wait_group 3;" ::: "memory");
  }
}

// Four matrices of 8 x 8 halves, or 8 x 4 words. The warp's lanes 8 m to 8 m + 7 name the rows of
// matrix m, 16 bytes each; of each matrix a lane gets word lane % 4 of row lane / 4.
__device__ __forceinline__ void load_matrices(uint4 *words, const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words->x), "=r"(words->y), "=r"(words->z), "=r"(words->w)
               : "r"(shared_address(row))
               : "memory");
}

// Four matrices of 8 x 8 halves, transposed: of each a lane gets rows 2 (lane % 4) and the next, in
// column lane / 4.
__device__ __forceinline__ void load_matrices_transposed(uint4 *words, const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words->x), "=r"(words->y), "=r"(words->z), "=r"(words->w)
               : "r"(shared_address(row))
               : "memory");
}

// Two matrices of 8 x 8 halves, or 8 x 4 words: lanes 0 to 15 name their rows, 16 bytes each; of
// each a lane gets word lane % 4 of row lane / 4.
__device__ __forceinline__ void load_matrix_pairs(uint2 *words, const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(words->x), "=r"(words->y)
               : "r"(shared_address(row))
               : "memory");
}

// Two matrices of 8 x 8 halves, transposed: of each a lane gets rows 2 (lane % 4) and the next, in
// column lane / 4.
__device__ __forceinline__ void load_matrix_pairs_transposed(uint2 *words, const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(words->x), "=r"(words->y)
               : "r"(shared_address(row))
               : "memory");
}

// A float's bits rounded to tf32: to nearest, ties away from zero.
__device__ __forceinline__ unsigned tf32_bits(unsigned bits) {
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(__uint_as_float(bits)));
  return bits;
}

// Each of four floats rounded to tf32.
__device__ __forceinline__ void round_tf32(uint4 *floats) {
  floats->x = tf32_bits(floats->x);
  floats->y = tf32_bits(floats->y);
  floats->z = tf32_bits(floats->z);
  floats->w = tf32_bits(floats->w);
}

// Each of two floats rounded to tf32.
__device__ __forceinline__ void round_tf32_pair(uint2 *floats) {
  floats->x = tf32_bits(floats->x);
  floats->y = tf32_bits(floats->y);
}

// sums += a b: 16 x 8 floats, of 16 x 16 by 16 x 8 bf16 numbers. With g = lane / 4, t = lane % 4, a
// lane holds sums (g, 2 t + 0..1), (g + 8, 2 t + 0..1); a (g, 2 t + 0..1), (g + 8, 2 t + 0..1),
// (g, 2 t + 8..9), (g + 8, 2 t + 8..9); b (2 t + 0..1, g), (2 t + 8..9, g).
__device__ __forceinline__ void multiply_bf16(float4 *sums, const uint4 *a, const uint2 *b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums->x), "+f"(sums->y), "+f"(sums->z), "+f"(sums->w)
      : "r"(a->x), "r"(a->y), "r"(a->z), "r"(a->w), "r"(b->x), "r"(b->y));
}

// sums += a b: 16 x 8 floats, of 16 x 8 by 8 x 8 tf32 numbers. With g = lane / 4, t = lane % 4, a
// lane holds sums (g, 2 t + 0..1), (g + 8, 2 t + 0..1); a (g, t), (g + 8, t), (g, t + 4),
// (g + 8, t + 4); b (t, g), (t + 4, g).
__device__ __forceinline__ void multiply_tf32(float4 *sums, const uint4 *a, const uint2 *b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums->x), "+f"(sums->y), "+f"(sums->z), "+f"(sums->w)
      : "r"(a->x), "r"(a->y), "r"(a->z), "r"(a->w), "r"(b->x), "r"(b->y));
}

// Wait for all lanes of the warp; they then see what the others wrote.
__device__ __forceinline__ void wait_warp() {
  __syncwarp();
}

// Whether this lane acts for its warp, all of which is here. The compiler then knows that no other
// does, and needs no loop over lanes for what it copies.
__device__ __forceinline__ int is_elected() {
  int own;
  asm volatile("{ .reg .pred p; elect.sync _|p, 0xffffffff; selp.s32 %0, 1, 0, p; }"
               : "=r"(own)
               :
               : "memory");
  return own;
}

// Store a word.
__device__ __forceinline__ void put_word(void *to, unsigned word) {
  *(unsigned *)to = word;
}

// Store two floats at once.
__device__ __forceinline__ void put_pair(void *to, float first, float second) {
  *(float2 *)to = make_float2(first, second);
}

// What this thread has copied to shared memory can be seen by products of four warps.
__device__ __forceinline__ void show_copies() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// What four warps multiply lies where they agreed that it does: at a place in shared memory, in
// lines of 64 or 32 bytes (mode 2 or 3) with swizzled units of 16. `lead` and `stride` are bytes
// from one pattern of eight lines to the next: along the other way, and along lines.
__device__ __forceinline__ unsigned long long matrix_descriptor(const void *place, int lead,
                                                                int stride, int mode) {
  const unsigned long long at = shared_address(place) >> 4;
  return at | (unsigned long long)(lead >> 4) << 16 | (unsigned long long)(stride >> 4) << 32 |
         (unsigned long long)mode << 62;
}

// Products of four warps may begin: their sums lie in registers.
__device__ __forceinline__ void begin_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

// All products since the last call become a group.
__device__ __forceinline__ void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Wait for the groups of products but the latest, of which there are 0 or 1.
__device__ __forceinline__ void wait_products(int latest) {
  if (latest)
    asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
  else
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}

// Round floats in shared memory to tf32: one, two or four of them.
__device__ __forceinline__ void round_copied_1(void *floats) {
  *(unsigned *)floats = tf32_bits(*(unsigned *)floats);
}

__device__ __forceinline__ void round_copied_2(void *floats) {
  uint2 words = *(uint2 *)floats;
  round_tf32_pair(&words);
  *(uint2 *)floats = words;
}

__device__ __forceinline__ void round_copied_4(void *floats) {
  uint4 words = *(uint4 *)floats;
  round_tf32(&words);
  *(uint4 *)floats = words;
}

// Barriers in shared memory, of eight bytes each, count what is still to come in a phase: arrivals,
// and bytes that are copied. Then the next phase begins.
__device__ __forceinline__ void begin_barrier(void *barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;"
               :
               : "r"(shared_address(barrier)), "r"(arrivals)
               : "memory");
}

// Barriers that this thread has begun can be seen by copies.
__device__ __forceinline__ void show_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// This thread arrives.
__device__ __forceinline__ void arrive_at(void *barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];"
               :
               : "r"(shared_address(barrier))
               : "memory");
}

// This thread arrives, and so many bytes are to come in the same phase.
__device__ __forceinline__ void expect_bytes(void *barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
               :
               : "r"(shared_address(barrier)), "r"(bytes)
               : "memory");
}

// Wait until the phase of a parity is complete; the other one's completion came before.
__device__ __forceinline__ void wait_barrier(void *barrier, int parity) {
  unsigned complete;
  do {
    asm volatile("{.reg .pred complete; "
                 "mbarrier.try_wait.parity.shared::cta.b64 complete, [%1], %2; "
                 "selp.u32 %0, 1, 0, complete;}"
                 : "=r"(complete)
                 : "r"(shared_address(barrier)), "r"(parity)
                 : "memory");
  } while (!complete);
}

// Begin a copy to shared memory of a box of an array, of which there is a map, from an index on,
// innermost first; what the box has beyond the array is zero. Its bytes count at a barrier.
__device__ __forceinline__ void copy_box_3(void *to, unsigned long long map, void *barrier, int i,
                                           int j, int k) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
               "[%0], [%1, {%3, %4, %5}], [%2];"
               :
               : "r"(shared_address(to)), "l"(map), "r"(shared_address(barrier)), "r"(i), "r"(j),
                 "r"(k)
               : "memory");
}

__device__ __forceinline__ void copy_box_5(void *to, unsigned long long map, void *barrier, int i,
                                           int j, int k, int l, int m) {
  asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
               "[%0], [%1, {%3, %4, %5, %6, %7}], [%2];"
               :
               : "r"(shared_address(to)), "l"(map), "r"(shared_address(barrier)), "r"(i), "r"(j),
                 "r"(k), "r"(l), "r"(m)
               : "memory");
}
