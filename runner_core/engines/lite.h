// What the engine "lite" holds, in torch's own terms: for a loop that goes around the engine.
#pragma once

#include <ATen/core/ivalue.h>
#include <torch/csrc/jit/mobile/module.h>

#include <vector>

#include "engine.h"

namespace phonebench {

struct LiteContents {
  torch::jit::mobile::Module& model;
  const std::vector<c10::IValue>& inputs;
};

// `engine` must be one that engines/lite.cpp made, with inputs and a model.
LiteContents lite_contents(Engine& engine);

}  // namespace phonebench
