#include "platform/clock.h"

#include <time.h>

#include <cerrno>

namespace phonebench {
namespace {

int64_t as_ns(const timespec& time) { return int64_t{time.tv_sec} * 1000000000 + time.tv_nsec; }

int64_t read_clock(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return as_ns(time);
}

}  // namespace

int64_t now_ns() { return read_clock(CLOCK_MONOTONIC); }
int64_t unix_ns() { return read_clock(CLOCK_REALTIME); }

ClockFacts monotonic_clock() {
  timespec resolution;
  clock_getres(CLOCK_MONOTONIC, &resolution);
  return {"CLOCK_MONOTONIC", as_ns(resolution)};
}

void sleep_until(int64_t time_ns) {
  const timespec end{static_cast<time_t>(time_ns / 1000000000),
                     static_cast<long>(time_ns % 1000000000)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, nullptr) == EINTR) {
  }
}

}  // namespace phonebench
