// A load that is known exactly, in place of an engine: its "model" is a small JSON file that says
// how much to compute, to allocate and to leak. It calibrates gauges, and shows that what is
// measured is true. harness/runners/synthetic_load.py writes such files.
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>
#include <mutex>
#include <thread>

#include "engine.h"
#include "fault.h"
#include "platform/clock.h"

namespace phonebench {
namespace {

// What one inference does, and what the "model" holds.
struct Load {
  int64_t work;      // integer operations of each of the job's threads, by count and not by time
  int64_t sleep_ns;  // after the work
  int64_t allocate_bytes;  // held from the load on
  int64_t scratch_bytes;   // held during an inference
  int64_t leak_bytes;      // lost by each inference
};

int64_t take(const Json& content, const char* key, const std::string& path) {
  const auto found = content.find(key);
  if (found == content.end() || !found->is_number_unsigned()) {
    throw Fault("model_load", path + " is no synthetic load: " + key + " must be an integer");
  }
  return found->get<int64_t>();
}

Load read_load(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Fault("model_load", path + " does not exist");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const Json content = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!content.is_object()) throw Fault("model_load", path + " is no synthetic load");
  return {take(content, "work", path), take(content, "sleep_ms", path) * 1000000,
          take(content, "allocate_bytes", path), take(content, "scratch_bytes", path),
          take(content, "leak_bytes_per_inference", path)};
}

// Memory that is really there: every page of it is written.
void* allocate_touched(int64_t bytes) {
  void* memory = std::malloc(static_cast<size_t>(bytes));
  if (memory == nullptr) throw Fault("inference", "the synthetic load finds no memory");
  std::memset(memory, 0x5A, static_cast<size_t>(bytes));
  asm volatile("" : : "r"(memory) : "memory");  // it must not be optimized away
  return memory;
}

// Each step needs the one before: no compiler or processor can take a short cut.
uint64_t spin(int64_t steps) {
  uint64_t value = 1;
  for (int64_t i = 0; i < steps; ++i) {
    value = value * 6364136223846793005u + 1442695040888963407u;
    asm volatile("" : "+r"(value));
  }
  return value;
}

// Threads that work at the same time as their caller.
class Crew {
 public:
  explicit Crew(int threads) {
    for (int i = 1; i < threads; ++i) threads_.emplace_back([this] { help(); });
  }
  ~Crew() {
    {
      const std::lock_guard<std::mutex> guard(lock_);
      leaving_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  void run(int64_t work) {
    {
      const std::lock_guard<std::mutex> guard(lock_);
      work_ = work;
      ++round_;
      busy_ = threads_.size();
    }
    changed_.notify_all();
    spin(work);
    std::unique_lock<std::mutex> guard(lock_);
    changed_.wait(guard, [this] { return busy_ == 0; });
  }

  int threads() const { return static_cast<int>(threads_.size()) + 1; }

 private:
  void help() {
    uint64_t seen = 0;
    std::unique_lock<std::mutex> guard(lock_);
    while (true) {
      changed_.wait(guard, [&] { return leaving_ || round_ != seen; });
      if (leaving_) return;
      seen = round_;
      const int64_t work = work_;
      guard.unlock();
      spin(work);
      guard.lock();
      if (--busy_ == 0) changed_.notify_all();
    }
  }

  int64_t work_ = 0;
  std::mutex lock_;
  std::condition_variable changed_;
  std::vector<std::thread> threads_;
  uint64_t round_ = 0;
  size_t busy_ = 0;
  bool leaving_ = false;
};

class SyntheticEngine : public Engine {
 public:
  ~SyntheticEngine() override { unload(); }

  std::string name() const override { return "synthetic"; }
  std::string version() const override { return PHONEBENCH_RUNNER_VERSION; }

  void set_up(const Job& job) override { crew_ = std::make_unique<Crew>(job.threads); }
  void set_inputs(std::vector<HostTensor>) override {}

  int threads() const override { return crew_->threads(); }
  std::optional<std::string> quantized_engine() const override { return std::nullopt; }
  std::string memory_format() const override { return "contiguous"; }

  void load(const std::string& path) override {
    load_ = read_load(path);
    held_ = allocate_touched(load_.allocate_bytes);
  }

  void unload() override {
    std::free(held_);
    held_ = nullptr;
  }

  void prepare() override {}

  void infer() override {
    const int64_t start = now_ns();
    void* scratch = allocate_touched(load_.scratch_bytes);
    if (load_.leak_bytes > 0) allocate_touched(load_.leak_bytes);
    crew_->run(load_.work);
    if (load_.sleep_ns > 0) {
      const timespec pause{static_cast<time_t>(load_.sleep_ns / 1000000000),
                           static_cast<long>(load_.sleep_ns % 1000000000)};
      nanosleep(&pause, nullptr);
    }
    std::free(scratch);
    calls_ += 1;
    total_ns_ += now_ns() - start;
  }

  std::vector<HostTensor> outputs() override {
    const float one = 1.0f;
    HostTensor output{{1}, Dtype::kFloat32, std::vector<unsigned char>(sizeof(one))};
    std::memcpy(output.bytes.data(), &one, sizeof(one));
    return {output};
  }

  void start_profile() override { calls_ = total_ns_ = 0; }
  std::vector<OperatorTotals> stop_profile() override {
    return {{"synthetic::load", calls_, total_ns_, total_ns_}};
  }

 private:
  Load load_{};
  void* held_ = nullptr;
  std::unique_ptr<Crew> crew_;
  int64_t calls_ = 0;
  int64_t total_ns_ = 0;
};

}  // namespace

std::unique_ptr<Engine> make_engine() { return std::make_unique<SyntheticEngine>(); }

}  // namespace phonebench
