#include "inputs.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <new>

#include "fault.h"

namespace phonebench {
namespace {

// The i-th number of splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
// generators", 2014): any element can be made on its own, in any language.
uint64_t splitmix64(uint64_t seed, uint64_t index) {
  uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

// Round to nearest, ties to even. Values here are finite.
uint16_t to_bfloat16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

// Round to nearest, ties to even; too large becomes infinite. Values here are finite.
uint16_t to_float16(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const float magnitude = std::fabs(value);
  if (magnitude >= 65520.0f) return sign | 0x7C00;
  int exponent = 0;
  std::frexp(magnitude, &exponent);  // magnitude = m * 2^exponent, m in [0.5, 1)
  const int ulp_exponent = exponent < -13 ? -24 : exponent - 11;
  // Scaling by a power of two is exact; nearbyint rounds ties to even.
  const auto steps = static_cast<uint32_t>(std::nearbyint(std::ldexp(magnitude, -ulp_exponent)));
  if (magnitude == 0.0f || exponent < -13) return sign | static_cast<uint16_t>(steps);
  // `steps` is in [1024, 2048]; 2048 carries into the exponent, as it should.
  return sign | static_cast<uint16_t>(((exponent + 14) << 10) + (steps - 1024));
}

template <typename T>
void store(HostTensor& tensor, size_t index, T value) {
  std::memcpy(tensor.bytes.data() + index * sizeof(T), &value, sizeof(T));
}

void fill_floats(HostTensor& tensor, size_t count, const TensorSource& source) {
  for (size_t i = 0; i < count; ++i) {
    const double unit = static_cast<double>(splitmix64(source.seed, i) >> 40) * 0x1p-24;
    const double value = source.low + (source.high - source.low) * unit;
    const auto narrow = static_cast<float>(value);
    switch (source.dtype) {
      case Dtype::kFloat64:
        store(tensor, i, value);
        break;
      case Dtype::kFloat16:
        store(tensor, i, to_float16(narrow));
        break;
      case Dtype::kBfloat16:
        store(tensor, i, to_bfloat16(narrow));
        break;
      default:
        store(tensor, i, narrow);
    }
  }
}

template <typename T>
void fill_integers(HostTensor& tensor, size_t count, const TensorSource& source) {
  constexpr double kExact = 9007199254740992.0;  // 2^53: doubles beyond skip integers
  const double first = std::ceil(source.low);
  const double beyond = std::ceil(source.high);
  const bool fits =
      first >= std::fmax(static_cast<double>(std::numeric_limits<T>::min()), -kExact) &&
      beyond - 1 <= std::fmin(static_cast<double>(std::numeric_limits<T>::max()), kExact);
  if (!fits || first >= beyond) {
    throw Fault("input", std::string("no ") + dtype_name(source.dtype) + " values lie in [" +
                             std::to_string(source.low) + ", " + std::to_string(source.high) +
                             "), or not all of them fit");
  }
  const auto span = static_cast<uint64_t>(beyond - first);
  for (size_t i = 0; i < count; ++i) {
    const auto step = static_cast<int64_t>(splitmix64(source.seed, i) % span);
    store(tensor, i, static_cast<T>(static_cast<int64_t>(first) + step));
  }
}

void fill_seeded(HostTensor& tensor, size_t count, const TensorSource& source) {
  switch (source.dtype) {
    case Dtype::kInt64:
      return fill_integers<int64_t>(tensor, count, source);
    case Dtype::kInt32:
      return fill_integers<int32_t>(tensor, count, source);
    case Dtype::kInt16:
      return fill_integers<int16_t>(tensor, count, source);
    case Dtype::kInt8:
      return fill_integers<int8_t>(tensor, count, source);
    case Dtype::kUint8:
      return fill_integers<uint8_t>(tensor, count, source);
    case Dtype::kBool:
      for (size_t i = 0; i < count; ++i) {
        tensor.bytes[i] = static_cast<unsigned char>(splitmix64(source.seed, i) >> 63);
      }
      return;
    default:
      return fill_floats(tensor, count, source);
  }
}

void read_values(HostTensor& tensor, const TensorSource& source) {
  std::ifstream file(*source.file, std::ios::binary);
  if (!file) throw Fault("input", "cannot read the input file " + *source.file);
  file.seekg(source.offset_bytes);
  file.read(reinterpret_cast<char*>(tensor.bytes.data()),
            static_cast<std::streamsize>(tensor.bytes.size()));
  if (static_cast<size_t>(file.gcount()) != tensor.bytes.size()) {
    throw Fault("input", "the input file " + *source.file +
                             " is too short: " + std::to_string(tensor.bytes.size()) +
                             " bytes are needed at offset " + std::to_string(source.offset_bytes));
  }
}

Fault too_large(const TensorSource& source) {
  return Fault("input", std::string("an input of ") + dtype_name(source.dtype) +
                            Json(source.shape).dump() + " does not fit into memory");
}

size_t element_count(const TensorSource& source) {
  size_t count = 1;
  for (const int64_t size : source.shape) {
    // Far below what would overflow, far above what a phone can hold.
    if (size > 0 && count > (size_t{1} << 40) / static_cast<size_t>(size)) {
      throw too_large(source);
    }
    count *= static_cast<size_t>(size);
  }
  return count;
}

}  // namespace

HostTensor make_input(const TensorSource& source) {
  const size_t count = element_count(source);
  HostTensor tensor{source.shape, source.dtype, {}};
  try {
    tensor.bytes.resize(count * dtype_bytes(source.dtype));
  } catch (const std::bad_alloc&) {
    throw too_large(source);
  }
  if (source.file) {
    read_values(tensor, source);
  } else {
    fill_seeded(tensor, count, source);
  }
  return tensor;
}

std::vector<HostTensor> make_inputs(const std::vector<TensorSource>& sources) {
  std::vector<HostTensor> tensors;
  tensors.reserve(sources.size());
  for (const TensorSource& source : sources) tensors.push_back(make_input(source));
  return tensors;
}

}  // namespace phonebench
