// Work that goes on beside what is measured, and is no part of it: on Linux in a process of its
// own, which changes neither the memory nor the threads of what is measured.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace phonebench {

// Zeroed memory that companions begun later see too, and what they write into it is seen here. A
// page of it comes into being where it is first written: what a companion writes adds nothing to
// the memory of this process. Throws Fault "internal".
class SharedMemory {
 public:
  explicit SharedMemory(size_t bytes);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  char* start() const { return start_; }

 private:
  char* start_;
  size_t bytes_;
};

// Wait for a moment. Returns early, and true, if `stop`, a descriptor, is or becomes readable.
bool stopped_before(int stop, int64_t time_ns);

class Companion {
 public:
  Companion() = default;
  ~Companion();
  Companion(const Companion&) = delete;
  Companion& operator=(const Companion&) = delete;

  // Begin `work`, which returns soon after its argument, a descriptor, became readable. It never
  // outlives the calling thread. Returns why it cannot begin, or nothing. Call before the engine
  // has threads.
  std::string start(const std::function<void(int stop)>& work);

  // Let it end, with some patience or at once. Returns how it ended if that is otherwise than it
  // was asked to ("was ended by signal 9"), or nothing.
  std::string end(bool at_once);

  // What it cost; known once it has ended.
  int64_t cpu_ns() const { return cpu_ns_; }

 private:
  pid_t pid_ = -1;
  int stop_ = -1;
  int64_t cpu_ns_ = 0;
};

}  // namespace phonebench
