// What TVM's kernels for CUDA need to be compiled for the processor: included by them in place of CUDA's own header.
//
// A block's threads are fibers that take turns. They stop at barriers and at exchanges within a warp, and nowhere else.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <ucontext.h>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static  // blocks run one after the other
#define __align__(n) __attribute__((aligned(n)))

struct Place { int x = 0, y = 0, z = 0; };
static Place threadIdx, blockIdx, blockDim, gridDim;

struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(16) longlong2 { long long x, y; };
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline int2 make_int2(int x, int y) { return {x, y}; }
static inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

// As CUDA has them: the one that is a number.
static inline float max(float a, float b) { return std::fmax(a, b); }
static inline float min(float a, float b) { return std::fmin(a, b); }
static inline double max(double a, double b) { return std::fmax(a, b); }
static inline double min(double a, double b) { return std::fmin(a, b); }
template <typename T> static inline T max(T a, T b) { return a < b ? b : a; }
template <typename T> static inline T min(T a, T b) { return b < a ? b : a; }
static inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
static inline float __int_as_float(int x) { float y; std::memcpy(&y, &x, 4); return y; }
#define CUDART_INF_F __builtin_inff()
#define CUDART_NAN_F __builtin_nanf("")
#define CUDART_INF __builtin_inf()
#define CUDART_NAN __builtin_nan("")

namespace emulator {
constexpr int WARP = 32, STACK = 1 << 16;
enum class State { Ready, Barrier, Exchange, Done };

struct Fiber {
  ucontext_t context;
  std::vector<char> stack;
  Place place;
  State state = State::Ready;
  uint64_t value = 0;  // what it offers to its warp
};

static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static int current;
static std::function<void()> body;

static void enter() {
  body();
  fibers[current].state = State::Done;
  swapcontext(&fibers[current].context, &scheduler);
}

static void stop(State state) {
  fibers[current].state = state;
  swapcontext(&fibers[current].context, &scheduler);
}

// Those that wait together go on together: the block at a barrier, a warp at an exchange.
static bool release(State state, size_t begin, size_t end) {
  size_t waiting = 0, live = 0;
  for (size_t i = begin; i < end; ++i) {
    live += fibers[i].state != State::Done;
    waiting += fibers[i].state == state;
  }
  if (!waiting || waiting != live) return false;
  for (size_t i = begin; i < end; ++i)
    if (fibers[i].state == state) fibers[i].state = State::Ready;
  return true;
}

static bool run_block() {
  size_t count = size_t(blockDim.x) * blockDim.y * blockDim.z;
  fibers.resize(count);
  for (size_t i = 0; i < count; ++i) {
    Fiber& fiber = fibers[i];
    fiber.stack.resize(STACK);
    fiber.state = State::Ready;
    fiber.place = {int(i) % blockDim.x, int(i) / blockDim.x % blockDim.y, int(i) / (blockDim.x * blockDim.y)};
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
  }
  for (;;) {
    bool ran = false, done = true;
    for (size_t i = 0; i < count; ++i) {
      if (fibers[i].state == State::Ready) {
        current = int(i);
        threadIdx = fibers[i].place;
        swapcontext(&scheduler, &fibers[i].context);
        ran = true;
      }
      done &= fibers[i].state == State::Done;
    }
    if (done) return true;
    bool released = release(State::Barrier, 0, count);
    for (size_t begin = 0; begin < count; begin += WARP)
      released |= release(State::Exchange, begin, begin + WARP < count ? begin + WARP : count);
    if (!ran && !released) return false;  // they wait for each other
  }
}

static bool launch(const unsigned* grid, const unsigned* block, std::function<void()> kernel) {
  body = kernel;
  gridDim = {int(grid[0]), int(grid[1]), int(grid[2])};
  blockDim = {int(block[0]), int(block[1]), int(block[2])};
  for (int z = 0; z < gridDim.z; ++z)
    for (int y = 0; y < gridDim.y; ++y)
      for (int x = 0; x < gridDim.x; ++x) {
        blockIdx = {x, y, z};
        if (!run_block()) return false;
      }
  return true;
}

template <typename T> static T exchange(T value, int lane) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  fibers[current].value = bits;
  int own = current;
  stop(State::Exchange);
  int other = own / WARP * WARP + lane;
  T result = value;
  if (other >= 0 && size_t(other) < fibers.size()) std::memcpy(&result, &fibers[other].value, sizeof(T));
  stop(State::Exchange);  // nobody offers anything else before all have read
  return result;
}
}  // namespace emulator

static inline void __syncthreads() { emulator::stop(emulator::State::Barrier); }
static inline void __syncwarp(unsigned = ~0u) { emulator::stop(emulator::State::Exchange); }
static inline unsigned __activemask() { return ~0u; }
// A warp falls into parts of `width` lanes. A lane beyond is taken modulo the width; beyond a part each keeps its own.
template <typename T> static inline T __shfl_sync(unsigned, T value, int lane, int width = 32) {
  int own = emulator::current % emulator::WARP;
  return emulator::exchange(value, own / width * width + lane % width);
}
template <typename T> static inline T __shfl_down_sync(unsigned, T value, unsigned delta, int width = 32) {
  int own = emulator::current % emulator::WARP;
  return emulator::exchange(value, own % width + int(delta) < width ? own + int(delta) : own);
}
