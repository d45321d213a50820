#include "bare_loop.h"

#include <chrono>

using Clock = std::chrono::steady_clock;

void run_bare_loop(torch::jit::mobile::Module& model, const std::vector<c10::IValue>& inputs,
                   int64_t iterations, std::vector<int64_t>& durations) {
  const torch::jit::mobile::Method forward = model.get_method("forward");
  std::vector<c10::IValue> stack;
  stack.reserve(inputs.size() + 1);  // the interpreter puts the module itself in front
  for (int64_t i = 0; i < iterations; ++i) {
    stack.assign(inputs.begin(), inputs.end());
    const auto start = Clock::now();
    forward.run(stack);
    const auto end = Clock::now();
    durations.push_back((end - start) / std::chrono::nanoseconds(1));
  }
}

void run_forward_loop(torch::jit::mobile::Module& model, const std::vector<c10::IValue>& inputs,
                      int64_t iterations, std::vector<int64_t>& durations) {
  for (int64_t i = 0; i < iterations; ++i) {
    const auto start = Clock::now();
    const c10::IValue output = model.forward(inputs);
    const auto end = Clock::now();
    durations.push_back((end - start) / std::chrono::nanoseconds(1));
  }
}
