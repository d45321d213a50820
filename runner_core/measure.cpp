#include "measure.h"

#include <cerrno>
#include <cstring>
#include <ctime>

#include "platform/clock.h"

namespace phonebench {
namespace {

void pause_for(double seconds) {
  timespec left;
  left.tv_sec = static_cast<time_t>(seconds);
  left.tv_nsec = static_cast<long>((seconds - static_cast<double>(left.tv_sec)) * 1e9);
  while (nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
}

bool is_done(const Loop& loop, int64_t iterations, double seconds) {
  if (iterations >= loop.max_iterations || seconds >= loop.max_seconds) return true;
  return iterations >= loop.min_iterations && seconds >= loop.min_seconds;
}

Counters difference(const Counters& after, const Counters& before) {
  return {after.wall_ns - before.wall_ns,
          after.cpu_ns - before.cpu_ns,
          after.voluntary_switches - before.voluntary_switches,
          after.involuntary_switches - before.involuntary_switches,
          after.minor_faults - before.minor_faults,
          after.major_faults - before.major_faults};
}

Json as_list(const int64_t* values, int64_t count) {
  Json list = Json::array();
  list.get_ref<Json::array_t&>().assign(values, values + count);
  return list;
}

}  // namespace

Samples::Samples(int64_t capacity)
    : capacity_(capacity),
      start_ns_(new int64_t[static_cast<size_t>(capacity)]),
      duration_ns_(new int64_t[static_cast<size_t>(capacity)]) {
  std::memset(start_ns_.get(), 0xFF, static_cast<size_t>(capacity) * sizeof(int64_t));
  std::memset(duration_ns_.get(), 0xFF, static_cast<size_t>(capacity) * sizeof(int64_t));
}

bool Samples::make_place(int64_t number) {
  kept_ = (capacity_ + 1) / 2;
  for (int64_t i = 0; i < kept_; ++i) {
    start_ns_[i] = start_ns_[2 * i];
    duration_ns_[i] = duration_ns_[2 * i];
  }
  stride_ *= 2;
  return number % stride_ == 0 && kept_ < capacity_;
}

Json Samples::record(const char* phase, const Counters* counters) const {
  Json record = {{"type", "samples"},
                 {"phase", phase},
                 {"start_ns", as_list(start_ns_.get(), kept_)},
                 {"duration_ns", as_list(duration_ns_.get(), kept_)},
                 {"counters", nullptr}};
  if (counters != nullptr) {
    record["counters"] = {{"iterations", count_},
                          {"wall_ns", counters->wall_ns},
                          {"cpu_ns", counters->cpu_ns},
                          {"voluntary_switches", counters->voluntary_switches},
                          {"involuntary_switches", counters->involuntary_switches},
                          {"minor_faults", counters->minor_faults},
                          {"major_faults", counters->major_faults}};
  }
  return record;
}

void stay_idle(double seconds) { sleep_until(now_ns() + static_cast<int64_t>(seconds * 1e9)); }

void time_inference(Engine& engine, Samples& samples) {
  engine.prepare();
  const int64_t start = now_ns();
  engine.infer();
  const int64_t end = now_ns();
  samples.add(start, end);
}

void time_load(Engine& engine, const std::string& path, Samples& samples) {
  engine.unload();
  const int64_t start = now_ns();
  engine.load(path);
  const int64_t end = now_ns();
  samples.add(start, end);
}

Counters run_loop(Engine& engine, const Loop& loop, double delay_seconds, Samples& samples) {
  const Counters before = read_counters();
  double seconds = 0;
  while (!is_done(loop, samples.count(), seconds)) {
    if (delay_seconds > 0 && samples.count() > 0) pause_for(delay_seconds);
    time_inference(engine, samples);
    seconds = static_cast<double>(now_ns() - before.wall_ns) * 1e-9;
  }
  return difference(read_counters(), before);
}

}  // namespace phonebench
