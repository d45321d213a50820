#include "probes.h"

#include <fcntl.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>

#include "fault.h"

namespace phonebench {
namespace {

int64_t read_clock(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return int64_t{time.tv_sec} * 1000000000 + time.tv_nsec;
}

std::string read_text(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// The number that follows `label` in a file of /proc, whose sizes are in kB.
int64_t number_after(const std::string& text, const char* label) {
  const size_t at = text.find(label);
  return at == std::string::npos ? 0 : std::atoll(text.c_str() + at + std::strlen(label));
}

// Pss, with what is shared with the sampler's process (a copy of this one) counted in full. Kernels
// before 5.4 do not tell the anonymous part of Pss: there it stays as it is.
int64_t own_pss(const std::string& rollup) {
  const int64_t pss = number_after(rollup, "\nPss:");
  const int64_t shared_out = number_after(rollup, "\nPss_Anon:");
  return shared_out == 0 ? pss : pss - shared_out + number_after(rollup, "\nAnonymous:");
}

class Descriptor {
 public:
  explicit Descriptor(const std::string& path) : number(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~Descriptor() {
    if (number >= 0) close(number);
  }
  const int number;
};

}  // namespace

int64_t now_ns() { return read_clock(CLOCK_MONOTONIC); }
int64_t unix_ns() { return read_clock(CLOCK_REALTIME); }

Counters read_counters() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return {now_ns(),        read_clock(CLOCK_PROCESS_CPUTIME_ID),
          usage.ru_nvcsw,  usage.ru_nivcsw,
          usage.ru_minflt, usage.ru_majflt};
}

Counters operator-(const Counters& after, const Counters& before) {
  return {after.wall_ns - before.wall_ns,
          after.cpu_ns - before.cpu_ns,
          after.voluntary_switches - before.voluntary_switches,
          after.involuntary_switches - before.involuntary_switches,
          after.minor_faults - before.minor_faults,
          after.major_faults - before.major_faults};
}

Json device_as_seen() {
  utsname system;
  uname(&system);
  std::string cpuset = read_text("/proc/self/cpuset");
  if (!cpuset.empty() && cpuset.back() == '\n') cpuset.pop_back();
  return {{"machine", system.machine},
          {"kernel", system.release},
          {"cpus_online", sysconf(_SC_NPROCESSORS_ONLN)},
          {"page_bytes", sysconf(_SC_PAGESIZE)},
          {"memory_total_bytes", number_after(read_text("/proc/meminfo"), "MemTotal:") * 1024},
          {"cpuset", cpuset.empty() ? Json(nullptr) : Json(cpuset)}};
}

Json clock_facts() {
  timespec resolution;
  clock_getres(CLOCK_MONOTONIC, &resolution);
  constexpr int kReadings = 1000;
  const int64_t start = now_ns();
  for (int i = 0; i < kReadings; ++i) now_ns();
  const int64_t cost = (now_ns() - start) / (kReadings + 1);
  return {{"name", "CLOCK_MONOTONIC"},
          {"resolution_ns", int64_t{resolution.tv_sec} * 1000000000 + resolution.tv_nsec},
          {"read_cost_ns", cost}};
}

Json mark_record(const char* name, bool with_pss) {
  const int64_t start = now_ns();
  const std::string status = read_text("/proc/self/status");
  Json pss = nullptr;
  if (with_pss) {
    const std::string rollup = read_text("/proc/self/smaps_rollup");
    if (!rollup.empty()) pss = own_pss(rollup) * 1024;
  }
  Json record = {{"type", "mark"},
                 {"name", name},
                 {"time_ns", start},
                 {"cost_ns", 0},
                 {"rss_bytes", number_after(status, "VmRSS:") * 1024},
                 {"vm_hwm_bytes", number_after(status, "VmHWM:") * 1024},
                 {"swap_bytes", number_after(status, "VmSwap:") * 1024},
                 {"pss_bytes", pss},
                 {"os_threads", number_after(status, "Threads:")}};
  record["cost_ns"] = now_ns() - start;
  return record;
}

void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD,
          32 << 20);  // the most that it takes; larger chunks are mapped each time
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
#endif
}

void set_affinity(const std::vector<int>& cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : cores) CPU_SET(static_cast<size_t>(core), &set);
  if (sched_setaffinity(0, sizeof(set), &set) != 0) {
    throw Fault("job", std::string("the job's affinity cannot be had: ") + std::strerror(errno) +
                           " (cores online: " + std::to_string(sysconf(_SC_NPROCESSORS_ONLN)) +
                           ")");
  }
}

std::vector<int> get_affinity() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cores;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(static_cast<size_t>(core), &set)) cores.push_back(core);
  }
  return cores;
}

void drop_pages(const std::string& path) {
  const Descriptor file(path);
  if (file.number < 0) return;
  fsync(file.number);  // dirty pages cannot be dropped
  posix_fadvise(file.number, 0, 0, POSIX_FADV_DONTNEED);
}

std::optional<double> resident_fraction(const std::string& path) {
  const Descriptor file(path);
  struct stat facts;
  if (file.number < 0 || fstat(file.number, &facts) != 0 || facts.st_size <= 0) return std::nullopt;
  const auto size = static_cast<size_t>(facts.st_size);
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* mapping = mmap(nullptr, size, PROT_READ, MAP_SHARED, file.number, 0);
  if (mapping == MAP_FAILED) return std::nullopt;
  std::vector<unsigned char> pages((size + page - 1) / page);
  const bool known = mincore(mapping, size, pages.data()) == 0;
  munmap(mapping, size);
  if (!known) return std::nullopt;
  size_t resident = 0;
  for (const unsigned char flags : pages) resident += flags & 1u;
  return static_cast<double>(resident) / static_cast<double>(pages.size());
}

}  // namespace phonebench
