// The median of some durations.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

inline double median(std::vector<int64_t> durations) {
  std::sort(durations.begin(), durations.end());
  const size_t half = durations.size() / 2;
  const auto upper = static_cast<double>(durations[half]);
  return durations.size() % 2 == 1 ? upper : (static_cast<double>(durations[half - 1]) + upper) / 2;
}
