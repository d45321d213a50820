// The loops that time inferences and loads. Nothing here writes or allocates in a timed region.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine.h"
#include "job.h"
#include "probes.h"

namespace phonebench {

// Room for the samples of one loop, made before it.
class Samples {
 public:
  // `touch` maps the memory at once, so that no page fault falls between two inferences. The memory
  // pass does without, because the room would count as the model's.
  Samples(int64_t capacity, bool touch);

  void add(int64_t start_ns, int64_t end_ns) {
    start_ns_[count_] = start_ns;
    duration_ns_[count_] = end_ns - start_ns;
    ++count_;
  }
  int64_t count() const { return count_; }
  Json record(const char* phase, const Counters* counters) const;

 private:
  std::unique_ptr<int64_t[]> start_ns_;
  std::unique_ptr<int64_t[]> duration_ns_;
  int64_t count_ = 0;
};

// Run inferences until both minima are reached, or either maximum. Returns what the process used.
Counters run_loop(Engine& engine, const Loop& loop, double delay_seconds, Samples& samples);

void time_inference(Engine& engine, Samples& samples);
void time_load(Engine& engine, const std::string& path, Samples& samples);

}  // namespace phonebench
