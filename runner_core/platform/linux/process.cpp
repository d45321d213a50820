#include "platform/process.h"

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
#include "platform/clock.h"

namespace phonebench {
namespace {

int64_t read_clock(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return int64_t{time.tv_sec} * 1000000000 + time.tv_nsec;
}

int64_t as_ns(const timeval& time) {
  return int64_t{time.tv_sec} * 1000000000 + int64_t{time.tv_usec} * 1000;
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

// In bytes; kernels before 4.5 have no such line.
std::optional<int64_t> kib_after(const std::string& text, const char* label) {
  if (text.find(label) == std::string::npos) return std::nullopt;
  return number_after(text, label) * 1024;
}

// Returns whether that can be had.
bool pin(const std::vector<int>& cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : cores) CPU_SET(static_cast<size_t>(core), &set);
  return sched_setaffinity(0, sizeof(set), &set) == 0;
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

Counters read_counters() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return {now_ns(),        read_clock(CLOCK_PROCESS_CPUTIME_ID),
          usage.ru_nvcsw,  usage.ru_nivcsw,
          usage.ru_minflt, usage.ru_majflt};
}

int64_t spent_cpu_ns() {
  rusage commands;
  getrusage(RUSAGE_CHILDREN, &commands);
  return read_clock(CLOCK_THREAD_CPUTIME_ID) + as_ns(commands.ru_utime) + as_ns(commands.ru_stime);
}

Memory read_memory(bool with_pss) {
  const std::string status = read_text("/proc/self/status");
  const std::string rollup = with_pss ? read_text("/proc/self/smaps_rollup") : "";
  return {number_after(status, "VmRSS:") * 1024,
          kib_after(status, "RssAnon:"),
          kib_after(status, "RssFile:"),
          number_after(status, "VmHWM:") * 1024,
          number_after(status, "VmSwap:") * 1024,
          rollup.empty() ? std::nullopt : std::optional<int64_t>(own_pss(rollup) * 1024),
          number_after(status, "Threads:")};
}

Device device_as_seen() {
  utsname system;
  uname(&system);
  std::string cpuset = read_text("/proc/self/cpuset");
  if (!cpuset.empty() && cpuset.back() == '\n') cpuset.pop_back();
  return {system.machine,
          system.release,
          sysconf(_SC_NPROCESSORS_ONLN),
          sysconf(_SC_PAGESIZE),
          number_after(read_text("/proc/meminfo"), "MemTotal:") * 1024,
          cpuset.empty() ? std::nullopt : std::optional<std::string>(cpuset)};
}

FreedMemoryKept::FreedMemoryKept() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD,
          32 << 20);  // the most that it takes; larger chunks are mapped each time
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
#endif
}

// glibc's own initial values. That they grow by themselves, as they did before, nobody can ask for.
FreedMemoryKept::~FreedMemoryKept() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 128 << 10);
  mallopt(M_TRIM_THRESHOLD, 128 << 10);
#endif
}

Pinned::Pinned(const std::vector<int>& cores) : before_(get_affinity()) {
  if (!pin(cores)) {
    throw Fault("job", std::string("the job's affinity cannot be had: ") + std::strerror(errno) +
                           " (cores online: " + std::to_string(sysconf(_SC_NPROCESSORS_ONLN)) +
                           ")");
  }
}

Pinned::~Pinned() { pin(before_); }

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
