// Loops that anybody would write to time a model: what the runner's is compared with. They share no
// code with the runner.
#pragma once

#include <ATen/core/ivalue.h>
#include <torch/csrc/jit/mobile/module.h>

#include <cstdint>
#include <vector>

// Times what the runner times, the call of the engine alone: the arguments are ready before it.
// Appends the nanoseconds of each inference, for which there must be room.
void run_bare_loop(torch::jit::mobile::Module& model, const std::vector<c10::IValue>& inputs,
                   int64_t iterations, std::vector<int64_t>& durations);

// Times the shortest way to call a model, which looks its method up and copies the arguments too.
void run_forward_loop(torch::jit::mobile::Module& model, const std::vector<c10::IValue>& inputs,
                      int64_t iterations, std::vector<int64_t>& durations);
