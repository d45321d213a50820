// The bare loop as a program of its own.
//
//   bare_loop MODEL THREADS WARMUP ITERATIONS SIZE...     prints the median in nanoseconds
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <malloc.h>
#include <torch/csrc/jit/mobile/import.h>

#include <climits>
#include <cstdio>
#include <cstdlib>

#include "bare_loop.h"
#include "median.h"

int main(int argc, char** argv) {
  if (argc < 6) return 2;
  // As the runner does: otherwise it is chance which of the two has the more page faults.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
  at::set_num_threads(std::atoi(argv[2]));
  const int64_t warmup = std::atoll(argv[3]);
  const int64_t iterations = std::atoll(argv[4]);
  std::vector<int64_t> shape;
  for (int i = 5; i < argc; ++i) shape.push_back(std::atoll(argv[i]));

  const c10::InferenceMode inference_mode;
  const std::vector<c10::IValue> inputs = {at::rand(shape)};
  auto model = torch::jit::_load_for_mobile(argv[1]);
  std::vector<int64_t> durations;
  durations.reserve(static_cast<size_t>(std::max(warmup, iterations)));
  run_bare_loop(model, inputs, warmup, durations);
  durations.clear();
  run_bare_loop(model, inputs, iterations, durations);
  std::printf("%.1f\n", median(durations));
  return 0;
}
