// The clocks of the operating system, and a sleep until a moment.
#pragma once

#include <cstdint>

namespace phonebench {

int64_t now_ns();   // the monotonic clock, that of samples, marks and traces
int64_t unix_ns();  // the time of day

// What the clock behind `now_ns` is called, and the finest step that the system promises of it.
struct ClockFacts {
  const char* name;
  int64_t resolution_ns;
};
ClockFacts monotonic_clock();

// Do nothing, without waking up, until `now_ns` would say so.
void sleep_until(int64_t time_ns);

}  // namespace phonebench
