#include "sampler.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>

#include "platform/clock.h"
#include "platform/process.h"
#include "readings.h"

namespace phonebench {
namespace {

constexpr uint32_t kMostPoints = 65536;
constexpr uint32_t kMostMarks = 32;
constexpr size_t kQuoted = 60;

struct Point {
  int64_t time_ns;
  double value;
};

}  // namespace

// What is known of one channel, in memory that both processes see. Points follow it.
struct Sampler::Track {
  std::atomic<uint32_t> points;
  uint32_t capacity;
  uint32_t failures;
  char reason[164];

  void touch() { std::memset(begin(), 0, capacity * sizeof(Point)); }
  Point* begin() { return reinterpret_cast<Point*>(this + 1); }

  void add(int64_t time_ns, double value) {
    const uint32_t at = points.load();
    if (at == capacity) return fail("full", {});
    begin()[at] = {time_ns, value};
    points.store(at + 1);  // last: a process killed in between leaves no half of a point
  }

  // Count a failure; `quoted` is cut short, and what cannot be printed of it becomes a space.
  void fail(const char* why, std::string_view quoted) {
    ++failures;
    size_t size = std::min(std::strlen(why), sizeof(reason) - kQuoted - 1);
    std::memcpy(reason, why, size);
    for (const char c : quoted.substr(0, kQuoted)) reason[size++] = c >= ' ' && c <= '~' ? c : ' ';
    reason[size] = '\0';
  }
};

// What the readings of the probes with a period cost, and of those without.
struct Sampler::Cost {
  std::atomic<int64_t> reads;
  std::atomic<int64_t> wall_ns;
  std::atomic<int64_t> cpu_ns;  // of readings at marks
};

// The costs and the tracks, one after another in memory that the companions see.
class Sampler::Room {
 public:
  explicit Room(size_t bytes) : memory_(bytes) { cost = new (memory_.start()) Cost{}; }

  static size_t track_bytes(uint32_t capacity) { return sizeof(Track) + capacity * sizeof(Point); }

  Track* make_track(uint32_t capacity) {
    auto* track = new (memory_.start() + used_) Track{};
    track->capacity = capacity;
    used_ += track_bytes(capacity);
    return track;
  }

  Cost* cost;

 private:
  SharedMemory memory_;
  size_t used_ = sizeof(Cost);
};

// One probe with its channels' tracks. `period_ns` 0: it is read at marks.
struct Sampler::Series {
  Series(const Probe& probe, char* buffer) : probe(probe), reader(probe, buffer) {}

  const Probe& probe;
  TextReader reader;
  std::vector<Track*> tracks;
  int64_t period_ns = 0;
  int64_t due_ns = 0;
};

void Sampler::fail_all(const std::vector<Series*>& list, const std::string& reason) {
  for (const Series* series : list) {
    for (Track* track : series->tracks) track->fail(reason.c_str(), {});
  }
}

Sampler::Sampler(const std::vector<Probe>& probes) : text_(new char[kMostText]()) {
  static_assert(sizeof(Track) % alignof(Point) == 0 && sizeof(Cost) % alignof(Track) == 0,
                "layout");
  size_t bytes = sizeof(Cost);
  const auto capacity = [](const Probe& probe) {
    return probe.period_seconds ? kMostPoints : kMostMarks;
  };
  for (const Probe& probe : probes) {
    bytes += probe.channels.size() * Room::track_bytes(capacity(probe));
  }
  room_ = std::make_unique<Room>(bytes);
  for (const Probe& probe : probes) {
    series_.push_back(std::make_unique<Series>(probe, text_.get()));
    Series& series = *series_.back();
    if (probe.period_seconds) series.period_ns = static_cast<int64_t>(*probe.period_seconds * 1e9);
    for (size_t i = 0; i < probe.channels.size(); ++i) {
      series.tracks.push_back(room_->make_track(capacity(probe)));
      // The runner's own: there from the start, so that it does not count as the model's.
      if (series.period_ns == 0) series.tracks.back()->touch();
    }
  }
}

Sampler::~Sampler() = default;

void Sampler::start() {
  for (const auto& series : series_) {
    if (series->period_ns == 0) continue;
    (series->probe.file ? files_ : commands_).series.push_back(series.get());
  }
  start(files_);
  start(commands_);
}

void Sampler::start(Group& group) {
  if (group.series.empty()) return;
  const std::string trouble =
      group.companion.start([this, &group](int stop) { follow(group.series, stop); });
  if (!trouble.empty()) fail_all(group.series, "the sampler cannot start: " + trouble);
}

// The life of a companion: read what is due, until it has to stop.
void Sampler::follow(const std::vector<Series*>& own, int stop) {
  const int64_t start = now_ns();
  for (Series* series : own) series->due_ns = start;
  while (true) {
    Series& next = **std::min_element(own.begin(), own.end(),
                                      [](Series* a, Series* b) { return a->due_ns < b->due_ns; });
    if (stopped_before(stop, next.due_ns)) return;
    read(next, stop);
    // Always at whole periods from the start; those that have gone by are left out.
    const int64_t late = std::max<int64_t>(0, now_ns() - next.due_ns);
    next.due_ns += (late / next.period_ns + 1) * next.period_ns;
  }
}

void Sampler::read(Series& series, int stop) {
  const int64_t before = now_ns();
  const Text text = series.reader.read(stop);
  const int64_t after = now_ns();
  if (text.stopped) return;
  room_->cost->reads += 1;
  for (size_t i = 0; i < series.tracks.size(); ++i) {
    double value;
    if (text.trouble != nullptr) {
      series.tracks[i]->fail(text.trouble, {});
    } else if (find_value(text.text, series.probe.reading, series.probe.channels[i], value)) {
      series.tracks[i]->add(before + (after - before) / 2, value);
    } else {
      series.tracks[i]->fail("no number in: ", text.text);
    }
  }
  room_->cost->wall_ns += now_ns() - before;
}

void Sampler::read_at_mark() {
  const int64_t before = spent_cpu_ns();
  for (const auto& series : series_) {
    if (series->period_ns == 0) read(*series, /*stop=*/-1);
  }
  room_->cost->cpu_ns += spent_cpu_ns() - before;
}

void Sampler::end(Group& group) {
  const std::string trouble = group.companion.end(/*at_once=*/false);
  if (!trouble.empty()) fail_all(group.series, "the sampler " + trouble);
}

void Sampler::finish(RecordWriter& out) {
  if (series_.empty()) return;
  end(files_);
  end(commands_);
  Json failures = Json::array();
  for (const auto& series : series_) {
    for (size_t i = 0; i < series->tracks.size(); ++i) {
      Track& track = *series->tracks[i];
      const Channel& channel = series->probe.channels[i];
      if (track.points.load() == 0 && track.failures == 0) track.fail("never read", {});
      Json times = Json::array(), values = Json::array();
      for (uint32_t point = 0; point < track.points.load(); ++point) {
        times.push_back(track.begin()[point].time_ns);
        values.push_back(track.begin()[point].value);
      }
      out.write({{"type", "trace"},
                 {"name", channel.name},
                 {"unit", channel.unit},
                 {"time_ns", std::move(times)},
                 {"values", std::move(values)}});
      if (track.failures == 0) continue;
      failures.push_back(
          {{"channel", channel.name}, {"count", track.failures}, {"reason", track.reason}});
    }
  }
  out.write({{"type", "sampling"},
             {"reads", room_->cost->reads.load()},
             {"cpu_ns", files_.companion.cpu_ns() + commands_.companion.cpu_ns() +
                            room_->cost->cpu_ns.load()},
             {"wall_ns", room_->cost->wall_ns.load()},
             {"failures", std::move(failures)}});
}

}  // namespace phonebench
