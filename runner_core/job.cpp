#include "job.h"

#include <array>
#include <fstream>
#include <iterator>
#include <limits>
#include <set>
#include <utility>

#include "fault.h"

namespace phonebench {
namespace {

struct DtypeFacts {
  const char* name;
  size_t bytes;
};

// In the order of the enumeration.
constexpr std::array<DtypeFacts, 10> kDtypes = {{{"float32", 4},
                                                 {"float16", 2},
                                                 {"bfloat16", 2},
                                                 {"float64", 8},
                                                 {"int64", 8},
                                                 {"int32", 4},
                                                 {"int16", 2},
                                                 {"int8", 1},
                                                 {"uint8", 1},
                                                 {"bool", 1}}};

constexpr double kLeastPeriod = 0.001;     // seconds: a sampler must leave time to what it watches
constexpr double kMostSeconds = 1e8;       // three years, far from what nanoseconds in 64 bits hold
constexpr int64_t kMostSamples = 1000000;  // room is made for all of them
constexpr int64_t kMostThinned = 1000000000;

[[noreturn]] void refuse(const std::string& key, const std::string& problem) {
  throw Fault("job", "the job's " + key + " " + problem);
}

// One JSON object, read strictly: a key of the wrong type, missing or left over is refused.
class Fields {
 public:
  Fields(const Json& object, std::string path) : object_(object), path_(std::move(path)) {
    if (!object.is_object()) refuse(path_.empty() ? "content" : path_, "must be an object");
  }

  const Json& any(const char* key) {
    const auto found = object_.find(key);
    if (found == object_.end()) refuse(name(key), "is missing");
    taken_.insert(key);
    return *found;
  }

  std::string text(const char* key) { return as_text(any(key), name(key)); }

  std::optional<std::string> optional_text(const char* key) {
    const Json& value = any(key);
    if (value.is_null()) return std::nullopt;
    return as_text(value, name(key));
  }

  bool flag(const char* key) {
    const Json& value = any(key);
    if (!value.is_boolean()) refuse(name(key), "must be true or false");
    return value.get<bool>();
  }

  int64_t integer(const char* key, int64_t least, int64_t most) {
    return as_integer(any(key), name(key), least, most);
  }

  uint64_t seed(const char* key) {
    const Json& value = any(key);
    if (!value.is_number_unsigned()) refuse(name(key), "must be an integer in [0, 2^64)");
    return value.get<uint64_t>();
  }

  double number(const char* key) {
    const Json& value = any(key);
    if (!value.is_number()) refuse(name(key), "must be a number");
    return value.get<double>();
  }

  double seconds(const char* key) {
    const double value = number(key);
    if (value < 0) refuse(name(key), "must not be negative");
    if (value > kMostSeconds) refuse(name(key), "must be 1e8 at most");
    return value;
  }

  const Json& list(const char* key) { return as_list(any(key), name(key)); }

  // Refuse keys that nobody asked for: the job means something this runner does not do.
  void done() {
    for (const auto& item : object_.items()) {
      if (taken_.count(item.key()) == 0) refuse(name(item.key()), "is not known to this runner");
    }
  }

  std::string name(const std::string& key) const { return path_.empty() ? key : path_ + "." + key; }

  static std::string as_text(const Json& value, const std::string& name) {
    if (!value.is_string()) refuse(name, "must be text");
    return value.get<std::string>();
  }

  static int64_t as_integer(const Json& value, const std::string& name, int64_t least,
                            int64_t most) {
    const bool fits = value.is_number_unsigned()
                          ? value.get<uint64_t>() <= uint64_t{std::numeric_limits<int64_t>::max()}
                          : value.is_number_integer();
    const int64_t number = fits ? value.get<int64_t>() : 0;
    if (!fits || number < least || number > most) {
      refuse(name,
             "must be an integer in [" + std::to_string(least) + ", " + std::to_string(most) + "]");
    }
    return number;
  }

  static const Json& as_list(const Json& value, const std::string& name) {
    if (!value.is_array()) refuse(name, "must be a list");
    return value;
  }

 private:
  const Json& object_;
  std::string path_;
  std::set<std::string> taken_;
};

constexpr int64_t kAnyInteger = std::numeric_limits<int64_t>::max();

Dtype parse_dtype(const std::string& text, const std::string& name) {
  for (size_t i = 0; i < kDtypes.size(); ++i) {
    if (text == kDtypes[i].name) return static_cast<Dtype>(i);
  }
  refuse(name, "is not a known dtype: " + text);
}

TensorSource parse_source(const Json& value, const std::string& path) {
  Fields fields(value, path);
  TensorSource source;
  for (const Json& size : fields.list("shape")) {
    source.shape.push_back(Fields::as_integer(size, fields.name("shape"), 0, kAnyInteger));
  }
  source.dtype = parse_dtype(fields.text("dtype"), fields.name("dtype"));
  source.file = fields.optional_text("file");
  source.offset_bytes = fields.integer("offset_bytes", 0, kAnyInteger);
  source.seed = fields.seed("seed");
  source.low = fields.number("low");
  source.high = fields.number("high");
  fields.done();
  return source;
}

std::vector<TensorSource> parse_sources(const Json& list, const std::string& path) {
  std::vector<TensorSource> sources;
  for (const Json& value : Fields::as_list(list, path)) {
    sources.push_back(parse_source(value, path + "[" + std::to_string(sources.size()) + "]"));
  }
  return sources;
}

Loop parse_loop(const Json& value, const std::string& path, Pass measured_pass) {
  const bool thinned = measured_pass == Pass::kMemory || measured_pass == Pass::kEnergy;
  const int64_t most = thinned ? kMostThinned : kMostSamples;
  Fields fields(value, path);
  Loop loop;
  loop.min_iterations = fields.integer("min_iterations", 0, most);
  loop.min_seconds = fields.seconds("min_seconds");
  loop.max_iterations = fields.integer("max_iterations", 1, most);
  loop.max_seconds = fields.seconds("max_seconds");
  fields.done();
  return loop;
}

Pass parse_pass(const std::string& text) {
  if (text == "latency") return Pass::kLatency;
  if (text == "memory") return Pass::kMemory;
  if (text == "energy") return Pass::kEnergy;
  if (text == "profile") return Pass::kProfile;
  refuse("measured_pass", "is not a known pass: " + text);
}

Reading parse_reading(const std::string& text, const std::string& name) {
  if (text == "number") return Reading::kNumber;
  if (text == "time_in_state") return Reading::kTimeInState;
  if (text == "cpu_busy") return Reading::kCpuBusy;
  if (text == "charging") return Reading::kCharging;
  refuse(name, "is not a known reading: " + text);
}

Channel parse_channel(const Json& value, const std::string& path) {
  Fields fields(value, path);
  Channel channel;
  channel.name = fields.text("name");
  channel.unit = fields.text("unit");
  channel.after = fields.text("after");
  channel.scale = fields.number("scale");
  fields.done();
  return channel;
}

std::vector<Channel> parse_channels(const Json& list, const std::string& path) {
  std::vector<Channel> channels;
  for (const Json& value : Fields::as_list(list, path)) {
    channels.push_back(parse_channel(value, path + "[" + std::to_string(channels.size()) + "]"));
  }
  return channels;
}

std::vector<std::string> parse_command(const Json& value, const std::string& path) {
  std::vector<std::string> words;
  if (value.is_null()) return words;
  for (const Json& word : Fields::as_list(value, path)) {
    words.push_back(Fields::as_text(word, path));
  }
  if (words.empty()) refuse(path, "has no words");
  return words;
}

Probe parse_probe(const Json& value, const std::string& path) {
  Fields fields(value, path);
  Probe probe;
  probe.file = fields.optional_text("file");
  probe.command = parse_command(fields.any("command"), fields.name("command"));
  if (!fields.any("period_seconds").is_null()) {
    probe.period_seconds = fields.seconds("period_seconds");
    if (*probe.period_seconds < kLeastPeriod) {
      refuse(fields.name("period_seconds"), "must be 0.001 at least");
    }
  }
  probe.reading = parse_reading(fields.text("reading"), fields.name("reading"));
  probe.channels = parse_channels(fields.any("channels"), fields.name("channels"));
  fields.done();
  if (probe.file.has_value() != probe.command.empty()) {
    refuse(path, "must name either a file or a command");
  }
  if (probe.channels.empty()) refuse(fields.name("channels"), "names no channel");
  if (probe.reading != Reading::kNumber && probe.channels.size() != 1) {
    refuse(fields.name("channels"), "must name one channel for this reading");
  }
  return probe;
}

std::vector<Probe> parse_probes(const Json& list) {
  std::vector<Probe> probes;
  std::set<std::string> names;
  for (const Json& value : Fields::as_list(list, "probes")) {
    probes.push_back(parse_probe(value, "probes[" + std::to_string(probes.size()) + "]"));
    for (const Channel& channel : probes.back().channels) {
      if (!names.insert(channel.name).second) {
        refuse("probes", "name the channel " + channel.name + " twice");
      }
    }
  }
  return probes;
}

bool parse_memory_format(const std::string& text) {
  if (text == "channels_last") return true;
  if (text == "contiguous") return false;
  refuse("memory_format", "is not a known memory format: " + text);
}

std::optional<std::vector<int>> parse_affinity(const Json& value) {
  if (value.is_null()) return std::nullopt;
  std::vector<int> cores;
  for (const Json& core : Fields::as_list(value, "affinity")) {
    cores.push_back(static_cast<int>(Fields::as_integer(core, "affinity", 0, 1023)));
  }
  if (cores.empty()) refuse("affinity", "names no core");
  return cores;
}

void check_version(const Json& content) {
  if (!content.is_object() || !content.contains("job_version")) {
    refuse("job_version", "is missing: this is not a job file");
  }
  if (content["job_version"] != kJobVersion) {
    refuse("job_version", "is " + content["job_version"].dump() + "; this runner takes " +
                              std::to_string(kJobVersion));
  }
}

}  // namespace

const char* dtype_name(Dtype dtype) { return kDtypes[static_cast<size_t>(dtype)].name; }
size_t dtype_bytes(Dtype dtype) { return kDtypes[static_cast<size_t>(dtype)].bytes; }

Job parse_job(const std::string& text) {
  const Json content = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (content.is_discarded()) throw Fault("job", "the job is not JSON");
  check_version(content);
  Fields fields(content, "");
  fields.any("job_version");
  Job job;
  job.launch = fields.text("launch");
  job.engine = fields.text("engine");
  job.measured_pass = parse_pass(fields.text("measured_pass"));
  job.model_file = fields.text("model_file");
  job.threads = static_cast<int>(fields.integer("threads", 1, 1024));
  job.affinity = parse_affinity(fields.any("affinity"));
  job.channels_last = parse_memory_format(fields.text("memory_format"));
  job.quantized_engine = fields.optional_text("quantized_engine");
  job.inputs = parse_sources(fields.any("inputs"), "inputs");
  for (const Json& sample : fields.list("checks")) {
    job.checks.push_back(
        parse_sources(sample, "checks[" + std::to_string(job.checks.size()) + "]"));
  }
  job.drop_page_cache = fields.flag("drop_page_cache");
  job.warm_loads = static_cast<int>(fields.integer("warm_loads", 0, 100000));
  job.warmup = parse_loop(fields.any("warmup"), "warmup", job.measured_pass);
  job.steady = parse_loop(fields.any("steady"), "steady", job.measured_pass);
  job.delay_seconds = fields.seconds("delay_seconds");
  job.baseline_seconds = fields.seconds("baseline_seconds");
  job.probes = parse_probes(fields.any("probes"));
  fields.done();
  job.as_asked = content;
  return job;
}

Job read_job(const std::string& path, const std::string& engine) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Fault("job", "cannot read the job file " + path);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  Job job = parse_job(text);
  if (job.engine != engine) {
    refuse("engine", "is " + job.engine + "; this runner is for " + engine);
  }
  return job;
}

}  // namespace phonebench
