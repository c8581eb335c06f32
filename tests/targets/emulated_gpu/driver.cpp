// CUDA's driver and runtime as far as TVM's runtime calls them, on the processor: memory is the processor's, and
// everything is done when it is asked for. A module is a path: a library whose kernels were compiled with cuda.h here.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <string>

namespace {
struct Function { bool (*run)(const unsigned*, const unsigned*, void**); };
struct Config { unsigned grid[3], block[3], shared; void* stream; void* attributes; unsigned count; };
int number(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text ? std::atoi(text) : otherwise;
}
int set(void* place, intptr_t value) { *static_cast<intptr_t*>(place) = value; return 0; }
}  // namespace

extern "C" {
int cuModuleLoadData(void** module, const void* image) {
  *module = dlopen(static_cast<const char*>(image), RTLD_NOW | RTLD_LOCAL);
  return *module ? 0 : 200;
}
int cuModuleUnload(void*) { return 0; }
int cuModuleGetFunction(void** function, void* module, const char* name) {
  void* found = dlsym(module, (std::string(name) + "__launch").c_str());
  if (!found) return 500;
  *function = new Function{reinterpret_cast<bool (*)(const unsigned*, const unsigned*, void**)>(found)};
  return 0;
}
int cuLaunchKernelEx(const Config* config, void* function, void** parameters, void**) {
  return static_cast<Function*>(function)->run(config->grid, config->block, parameters) ? 0 : 719;
}
int cuFuncSetAttribute(void*, int, int) { return 0; }
int cuGetErrorName(int, const char** text) { *text = "error"; return 0; }
int cuGetErrorString(int, const char** text) { *text = "an error of the emulated driver"; return 0; }
int cuDeviceGetName(char* name, int size, int) { std::strncpy(name, "emulated", size); return 0; }
int cuTensorMapEncodeTiled() { return 801; }

int cudaGetDeviceCount(int* count) { *count = number("EMULATED_GPUS", 1); return 0; }
int cudaGetDevice(int* device) { *device = 0; return 0; }
int cudaSetDevice(int) { return 0; }
int cudaDeviceGetAttribute(int* value, int attribute, int) {
  switch (attribute) {
    case 75: *value = number("EMULATED_CAPABILITY", 9); break;  // compute capability, major
    case 76: *value = 0; break;     // and minor
    case 1: *value = 1024; break;   // threads of a block
    case 10: *value = 32; break;    // of a warp
    case 8: *value = 49152; break;  // bytes that a block shares
    default: *value = 1024;
  }
  return 0;
}
int cudaGetDeviceProperties(void* properties, int) { std::memset(properties, 0, 256); return 0; }
int cudaMalloc(void** place, size_t size) { *place = std::aligned_alloc(256, (size + 255) / 256 * 256); return *place ? 0 : 2; }
int cudaMallocHost(void** place, size_t size) { return cudaMalloc(place, size); }
int cudaFree(void* place) { std::free(place); return 0; }
int cudaFreeHost(void* place) { std::free(place); return 0; }
int cudaMemcpyAsync(void* to, const void* from, size_t size, int, void*) { std::memmove(to, from, size); return 0; }
int cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t size, void*) { std::memmove(to, from, size); return 0; }
int cudaMemGetInfo(size_t* free, size_t* total) { *free = *total = size_t(1) << 30; return 0; }
int cudaStreamCreate(void** stream) { return set(stream, 1); }
int cudaStreamCreateWithFlags(void** stream, unsigned) { return set(stream, 1); }
int cudaStreamDestroy(void*) { return 0; }
int cudaStreamSynchronize(void*) { return 0; }
int cudaStreamWaitEvent(void*, void*, unsigned) { return 0; }
int cudaStreamBeginCapture(void*, int) { return 801; }
int cudaStreamEndCapture(void*, void**) { return 801; }
int cudaGraphInstantiate() { return 801; }
int cudaGraphLaunch() { return 801; }
int cudaGraphDestroy() { return 0; }
int cudaGraphExecDestroy() { return 0; }
int cudaEventCreate(void** event) { return set(event, 1); }
int cudaEventDestroy(void*) { return 0; }
int cudaEventRecord(void*, void*) { return 0; }
int cudaEventSynchronize(void*) { return 0; }
int cudaEventElapsedTime(float* time, void*, void*) { *time = 0; return 0; }
int cudaGetLastError() { return 0; }
int cudaPeekAtLastError() { return 0; }
const char* cudaGetErrorName(int) { return "error"; }
const char* cudaGetErrorString(int) { return "an error of the emulated runtime"; }
}
