// The loop that anybody would write to time a model: what the runner is compared with. It shares no
// code with the runner.
//
//   bare_loop MODEL THREADS WARMUP ITERATIONS SIZE...     prints the median in nanoseconds
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <malloc.h>
#include <torch/csrc/jit/mobile/import.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

int main(int argc, char** argv) {
  if (argc < 6) return 2;
  // As the runner does: otherwise it is chance which of the two has the more page faults.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
  at::set_num_threads(std::atoi(argv[2]));
  const int warmup = std::atoi(argv[3]);
  const int iterations = std::atoi(argv[4]);
  std::vector<int64_t> shape;
  for (int i = 5; i < argc; ++i) shape.push_back(std::atoll(argv[i]));

  const c10::InferenceMode inference_mode;
  const at::Tensor input = at::rand(shape);
  auto model = torch::jit::_load_for_mobile(argv[1]);
  std::vector<int64_t> durations;
  durations.reserve(iterations);
  for (int i = 0; i < warmup + iterations; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const c10::IValue output = model.forward({input});
    const auto end = std::chrono::steady_clock::now();
    if (i >= warmup) durations.push_back((end - start) / std::chrono::nanoseconds(1));
  }
  std::sort(durations.begin(), durations.end());
  const size_t half = durations.size() / 2;
  const int64_t median =
      durations.size() % 2 == 1 ? durations[half] : (durations[half - 1] + durations[half]) / 2;
  std::printf("%lld\n", static_cast<long long>(median));
  return 0;
}
