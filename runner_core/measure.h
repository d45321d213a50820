// The loops that time inferences and loads. Nothing here writes or allocates in a timed region.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine.h"
#include "job.h"
#include "platform/process.h"

namespace phonebench {

// Room for the samples of one loop, made before it and touched at once, so that no page fault falls
// between two inferences. When it is full, every second sample makes place, and from then on only
// every second inference is kept: the samples stay evenly spread.
class Samples {
 public:
  explicit Samples(int64_t capacity);

  void add(int64_t start_ns, int64_t end_ns) {
    const int64_t number = count_++;
    if (number % stride_ != 0) return;
    if (kept_ == capacity_ && !make_place(number)) return;
    start_ns_[kept_] = start_ns;
    duration_ns_[kept_] = end_ns - start_ns;
    ++kept_;
  }
  // All that were added, whether they were kept or not.
  int64_t count() const { return count_; }
  Json record(const char* phase, const Counters* counters) const;

 private:
  // Returns whether the sample of that number, which found no place, is among those to keep.
  bool make_place(int64_t number);

  int64_t capacity_;
  std::unique_ptr<int64_t[]> start_ns_;
  std::unique_ptr<int64_t[]> duration_ns_;
  int64_t count_ = 0;
  int64_t kept_ = 0;
  int64_t stride_ = 1;
};

// Run inferences until both minima are reached, or either maximum. Returns what the process used.
Counters run_loop(Engine& engine, const Loop& loop, double delay_seconds, Samples& samples);

// Do nothing, without waking up, for as long.
void stay_idle(double seconds);

void time_inference(Engine& engine, Samples& samples);
void time_load(Engine& engine, const std::string& path, Samples& samples);

}  // namespace phonebench
