// What the operating system knows of this process and its machine: counters, memory, cores, the
// page cache.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace phonebench {

// The totals of this process so far; the difference of two is what happened in between.
struct Counters {
  int64_t wall_ns;
  int64_t cpu_ns;
  int64_t voluntary_switches;
  int64_t involuntary_switches;
  int64_t minor_faults;
  int64_t major_faults;
};
Counters read_counters();

// Processor time of the calling thread, and of commands that it started and that have ended.
int64_t spent_cpu_ns();

// The memory of this process. What of the resident pages is anonymous and what of files not every
// kernel tells. `pss_bytes` costs milliseconds: only where it is asked for.
struct Memory {
  int64_t rss_bytes;
  std::optional<int64_t> rss_anon_bytes;
  std::optional<int64_t> rss_file_bytes;
  int64_t vm_hwm_bytes;
  int64_t swap_bytes;
  std::optional<int64_t> pss_bytes;
  int64_t os_threads;
};
Memory read_memory(bool with_pss);

struct Device {
  std::string machine;
  std::string kernel;
  int64_t cpus_online;
  int64_t page_bytes;
  int64_t memory_total_bytes;
  std::optional<std::string> cpuset;
};
Device device_as_seen();

// As long as it lives, malloc keeps what is freed, where it is glibc's. By default it gives the top
// of the heap back to the kernel or not depending on where other chunks happen to lie, down to the
// length of a path in the job, and the page faults that follow can cost an inference several
// percent.
class FreedMemoryKept {
 public:
  FreedMemoryKept();
  ~FreedMemoryKept();
  FreedMemoryKept(const FreedMemoryKept&) = delete;
  FreedMemoryKept& operator=(const FreedMemoryKept&) = delete;
};

// As long as it lives, the calling thread, and those that it makes, keep to these cores. Throws
// Fault "job".
class Pinned {
 public:
  explicit Pinned(const std::vector<int>& cores);
  ~Pinned();
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

 private:
  std::vector<int> before_;
};

// The cores that the calling thread may use; empty if that cannot be known.
std::vector<int> get_affinity();

// Ask the kernel to forget a file's pages, so that reading it comes from storage.
void drop_pages(const std::string& path);

// The share of a file's pages that is in the page cache; nothing if that cannot be known.
std::optional<double> resident_fraction(const std::string& path);

}  // namespace phonebench
