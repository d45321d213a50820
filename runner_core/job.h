// The job file: what this process is asked to do. docs/record-format.md describes every field.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace phonebench {

using Json = nlohmann::ordered_json;

constexpr int kJobVersion = 2;

enum class Dtype {
  kFloat32,
  kFloat16,
  kBfloat16,
  kFloat64,
  kInt64,
  kInt32,
  kInt16,
  kInt8,
  kUint8,
  kBool,
};
const char* dtype_name(Dtype dtype);
size_t dtype_bytes(Dtype dtype);

enum class Pass { kLatency, kMemory, kEnergy, kProfile };

// How the text that a probe reads becomes a value.
enum class Reading { kNumber, kTimeInState, kCpuBusy, kCharging };

struct TensorSource {
  std::vector<int64_t> shape;
  Dtype dtype;
  std::optional<std::string> file;
  int64_t offset_bytes;
  uint64_t seed;
  double low;
  double high;
};

struct Loop {
  int64_t min_iterations;
  double min_seconds;
  int64_t max_iterations;
  double max_seconds;
};

// One quantity in what a probe reads: the number that follows `after`.
struct Channel {
  std::string name;
  std::string unit;
  std::string after;
  double scale;
};

// Something to read while the launch runs: a file, or what a command prints.
struct Probe {
  std::optional<std::string> file;
  std::vector<std::string> command;
  std::optional<double> period_seconds;  // none: read at marks
  Reading reading;
  std::vector<Channel> channels;
};

struct Job {
  std::string launch;
  std::string engine;
  Pass measured_pass;
  std::string model_file;
  int threads;
  std::optional<std::vector<int>> affinity;
  bool channels_last;
  std::optional<std::string> quantized_engine;
  std::vector<TensorSource> inputs;
  std::vector<std::vector<TensorSource>> checks;
  bool drop_page_cache;
  int warm_loads;
  Loop warmup;
  Loop steady;
  double delay_seconds;
  double baseline_seconds;
  std::vector<Probe> probes;
  Json as_asked;  // the file's own content, for the header
};

// Parse a job. Every key must be there and no other. Throws Fault "job", naming the key.
Job parse_job(const std::string& text);

// Read and parse a job file; it must be for `engine`. Throws Fault "job".
Job read_job(const std::string& path, const std::string& engine);

}  // namespace phonebench
