// What CUDA C has beside C++: types, constants, functions that kernels use. For emulator.h.

// -------------------------------------------------------------------------- vectors

// The base of a vector in memory: copying from or to an address that a GPU refuses is a fault.
template <size_t bytes> struct Aligned {
  Aligned() {}
  Aligned(const Aligned &from) { require(&from); }
  Aligned &operator=(const Aligned &from) {
    require(&from);
    require(this);
    return *this;
  }
  static void require(const void *address) {
    asm("" : "+r"(address));  // or the compiler takes the type's word for it
    if ((size_t)address % bytes) fail(MISALIGNED);
  }
};

#define VECTOR2(name, scalar)                                                              \
  struct alignas(2 * sizeof(scalar)) name : Aligned<2 * sizeof(scalar)> {                  \
    scalar x, y;                                                                           \
  };                                                                                       \
  static inline name make_##name(scalar x, scalar y) { return {{}, x, y}; }
#define VECTOR4(name, scalar)                                                              \
  struct alignas(4 * sizeof(scalar)) name : Aligned<4 * sizeof(scalar)> {                  \
    scalar x, y, z, w;                                                                     \
  };                                                                                       \
  static inline name make_##name(scalar x, scalar y, scalar z, scalar w) {                 \
    return {{}, x, y, z, w};                                                               \
  }

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef __INT8_TYPE__ int8_t;
typedef __UINT8_TYPE__ uint8_t;
typedef __INT16_TYPE__ int16_t;
typedef __UINT16_TYPE__ uint16_t;
typedef __INT32_TYPE__ int32_t;
typedef __UINT32_TYPE__ uint32_t;
typedef __INT64_TYPE__ int64_t;
typedef __UINT64_TYPE__ uint64_t;

VECTOR2(char2, signed char)
VECTOR4(char4, signed char)
VECTOR2(uchar2, uchar)
VECTOR4(uchar4, uchar)
VECTOR2(short2, short)
VECTOR4(short4, short)
VECTOR2(ushort2, ushort)
VECTOR4(ushort4, ushort)
VECTOR2(int2, int)
VECTOR4(int4, int)
VECTOR2(uint2, uint)
VECTOR4(uint4, uint)
VECTOR2(float2, float)
VECTOR4(float4, float)
VECTOR2(double2, double)
VECTOR2(longlong2, long long)
VECTOR2(ulonglong2, unsigned long long)

// ----------------------------------------------------------------------------- math

#define CUDART_INF_F __builtin_inff()
#define CUDART_NAN_F __builtin_nanf("")

// A number wins over NaN.
static inline float max(float a, float b) { return b != b || a > b ? a : b; }
static inline float min(float a, float b) { return b != b || a < b ? a : b; }
template <class T> static inline T max(T a, T b) { return a > b ? a : b; }
template <class T> static inline T min(T a, T b) { return a < b ? a : b; }

template <class To, class From> static inline To same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
static inline float __int_as_float(int x) { return same_bits<float>(x); }
static inline float __uint_as_float(uint x) { return same_bits<float>(x); }
static inline int __float_as_int(float x) { return same_bits<int>(x); }
static inline uint __float_as_uint(float x) { return same_bits<uint>(x); }

static inline float rsqrtf(float x) { return 1 / __builtin_sqrtf(x); }
#define ceilf __builtin_ceilf
#define exp2f __builtin_exp2f
#define expf __builtin_expf
#define fabsf __builtin_fabsf
#define floorf __builtin_floorf
#define fmaf __builtin_fmaf
#define fmaxf max
#define fminf min
#define log2f __builtin_log2f
#define logf __builtin_logf
#define nearbyintf __builtin_nearbyintf
#define powf __builtin_powf
#define roundf __builtin_roundf
#define sqrtf __builtin_sqrtf
#define tanhf __builtin_tanhf
#define truncf __builtin_truncf
