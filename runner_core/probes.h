// What the operating system knows of this process: clocks, memory, counters, cores, page cache.
// Everything that is Linux's own is behind this header.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "job.h"

namespace phonebench {

int64_t now_ns();   // CLOCK_MONOTONIC
int64_t unix_ns();  // CLOCK_REALTIME

struct Counters {
  int64_t wall_ns;
  int64_t cpu_ns;
  int64_t voluntary_switches;
  int64_t involuntary_switches;
  int64_t minor_faults;
  int64_t major_faults;
};

// The totals of this process so far; the difference of two is what happened in between.
Counters read_counters();
Counters operator-(const Counters& after, const Counters& before);

Json device_as_seen();
Json clock_facts();
Json mark_record(const char* name, bool with_pss);

// Have malloc keep what is freed, where it is glibc's. By default it gives the top of the heap back
// to the kernel or not depending on where other chunks happen to lie, down to the length of a path
// in the job, and the page faults that follow can cost an inference several percent.
void keep_freed_memory();

// Pin this process (and the threads it makes later) to cores. Throws Fault "job".
void set_affinity(const std::vector<int>& cores);
std::vector<int> get_affinity();

// Ask the kernel to forget a file's pages, so that reading it comes from storage.
void drop_pages(const std::string& path);

// The share of a file's pages that is in the page cache; nothing if that cannot be known.
std::optional<double> resident_fraction(const std::string& path);

}  // namespace phonebench
