// Input tensors: read from a file, or made from a seed. tests/fakes/inputs.py makes the same ones.
#pragma once

#include <cstdint>
#include <vector>

#include "job.h"

namespace phonebench {

// A tensor in plain memory: row-major, little-endian.
struct HostTensor {
  std::vector<int64_t> shape;
  Dtype dtype;
  std::vector<unsigned char> bytes;
};

// Read or make one tensor. Throws Fault "input".
HostTensor make_input(const TensorSource& source);
std::vector<HostTensor> make_inputs(const std::vector<TensorSource>& sources);

}  // namespace phonebench
