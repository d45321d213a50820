#include "sampler.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>

#include "crash.h"
#include "fault.h"
#include "probes.h"

namespace phonebench {
namespace {

constexpr uint32_t kMostPoints = 65536;
constexpr uint32_t kMostMarks = 32;
constexpr size_t kQuoted = 60;
constexpr int64_t kPatienceNs = 2000000000;

struct Point {
  int64_t time_ns;
  double value;
};

int64_t as_ns(const timeval& time) {
  return int64_t{time.tv_sec} * 1000000000 + int64_t{time.tv_usec} * 1000;
}

int64_t cpu_ns(const rusage& usage) { return as_ns(usage.ru_utime) + as_ns(usage.ru_stime); }

// Of the calling thread, and of the commands that have ended.
int64_t spent_cpu_ns() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  rusage commands;
  getrusage(RUSAGE_CHILDREN, &commands);
  return int64_t{time.tv_sec} * 1000000000 + time.tv_nsec + cpu_ns(commands);
}

std::string cannot_start() {
  return std::string("the sampler cannot start: ") + std::strerror(errno);
}

std::string describe_end(int status) {
  return WIFSIGNALED(status)
             ? "the sampler was ended by signal " + std::to_string(WTERMSIG(status))
             : "the sampler ended with exit code " + std::to_string(WEXITSTATUS(status));
}

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

// Memory that the runner shares with the process that reads. A page of it comes into being where it
// is first written: what that process writes adds nothing to the memory of the runner.
class Sampler::Room {
 public:
  explicit Room(size_t bytes) : bytes_(bytes) {
    start_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start_ == MAP_FAILED) {
      throw Fault("internal", std::string("no memory for traces: ") + std::strerror(errno));
    }
    cost = new (start_) Cost{};
    used_ = sizeof(Cost);
  }
  ~Room() { munmap(start_, bytes_); }
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;

  static size_t track_bytes(uint32_t capacity) { return sizeof(Track) + capacity * sizeof(Point); }

  Track* make_track(uint32_t capacity) {
    auto* track = new (static_cast<char*>(start_) + used_) Track{};
    track->capacity = capacity;
    used_ += track_bytes(capacity);
    return track;
  }

  Cost* cost;

 private:
  void* start_;
  size_t bytes_;
  size_t used_;
};

// One probe with its channels' tracks. `period_ns` 0: it is read at marks.
struct Sampler::Series {
  Series(const Probe& probe, char* buffer) : probe(probe), reader(probe, getpid(), buffer) {}

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

Sampler::~Sampler() {
  end(files_, /*at_once=*/true);
  end(commands_, /*at_once=*/true);
}

void Sampler::start() {
  for (const auto& series : series_) {
    if (series->period_ns == 0) continue;
    (series->probe.file ? files_ : commands_).series.push_back(series.get());
  }
  start(files_);
  start(commands_);
}

void Sampler::start(Process& process) {
  if (process.series.empty()) return;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_all(process.series, cannot_start());
  const pid_t runner = getpid();
  // No signal may find the new process with the runner's handlers still in place.
  sigset_t all, before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  process.pid = fork();
  if (process.pid == 0) {
    disarm_crash_handlers();
    sigprocmask(SIG_SETMASK, &before, nullptr);
    close(ends[1]);
    if (files_.stop >= 0) close(files_.stop);  // only the runner's end may keep that one going
    follow(process.series, runner, ends[0]);
  }
  if (process.pid < 0) fail_all(process.series, cannot_start());
  sigprocmask(SIG_SETMASK, &before, nullptr);
  close(ends[0]);
  process.stop = ends[1];
}

// The life of a process that reads: until the runner closes its end of the pipe, or is gone.
void Sampler::follow(const std::vector<Series*>& own, pid_t runner, int stop) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != runner) _exit(0);  // it died before that took effect
  const int64_t start = now_ns();
  for (Series* series : own) series->due_ns = start;
  while (true) {
    Series& next = **std::min_element(own.begin(), own.end(),
                                      [](Series* a, Series* b) { return a->due_ns < b->due_ns; });
    const int64_t wait_ns = std::max<int64_t>(0, next.due_ns - now_ns());
    const timespec wait{static_cast<time_t>(wait_ns / 1000000000),
                        static_cast<long>(wait_ns % 1000000000)};
    pollfd asked{stop, POLLIN, 0};
    if (ppoll(&asked, 1, &wait, nullptr) > 0) _exit(0);
    if (next.due_ns > now_ns()) continue;  // a signal came
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

void Sampler::end(Process& process, bool at_once) {
  if (process.stop >= 0) close(process.stop);
  process.stop = -1;
  if (process.pid <= 0) return;
  int status = 0;
  rusage usage{};
  const int64_t deadline = at_once ? 0 : now_ns() + kPatienceNs;
  while (wait4(process.pid, &status, WNOHANG, &usage) == 0) {
    if (now_ns() > deadline) kill(process.pid, SIGKILL);
    const timespec moment{0, 1000000};
    nanosleep(&moment, nullptr);
  }
  process.pid = -1;
  cpu_ns_ += cpu_ns(usage);
  // One that ends otherwise than it was asked to was ended by somebody else.
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    fail_all(process.series, describe_end(status));
  }
}

void Sampler::finish(RecordWriter& out) {
  if (series_.empty()) return;
  end(files_, /*at_once=*/false);
  end(commands_, /*at_once=*/false);
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
             {"cpu_ns", cpu_ns_ + room_->cost->cpu_ns.load()},
             {"wall_ns", room_->cost->wall_ns.load()},
             {"failures", std::move(failures)}});
}

}  // namespace phonebench
