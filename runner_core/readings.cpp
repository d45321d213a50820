#include "readings.h"

#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <cstring>

namespace phonebench {
namespace {

constexpr size_t kLongestNumber = 63;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The length of the number at the start of `text`; 0 if there is none.
size_t number_length(std::string_view text) {
  const auto at = [&](size_t i) { return i < text.size() ? text[i] : '\0'; };
  size_t i = at(0) == '-' || at(0) == '+' ? 1 : 0;
  const size_t first = i;
  while (is_digit(at(i))) ++i;
  size_t digits = i - first;
  if (at(i) == '.' && (digits > 0 || is_digit(at(i + 1)))) {
    const size_t point = i++;
    while (is_digit(at(i))) ++i;
    digits += i - point - 1;
  }
  if (digits == 0) return 0;
  if (at(i) == 'e' || at(i) == 'E') {
    size_t exponent = i + 1;
    if (at(exponent) == '-' || at(exponent) == '+') ++exponent;
    if (is_digit(at(exponent))) {
      while (is_digit(at(exponent))) ++exponent;
      i = exponent;
    }
  }
  return i;
}

// Whether a number stands right here, but for blanks: one farther on is another quantity's.
bool begins_with_number(std::string_view text) {
  const size_t start = text.find_first_not_of(" \t");
  return start != std::string_view::npos && number_length(text.substr(start)) > 0;
}

// The first number in `text`, which is cut off behind it.
bool take_number(std::string_view& text, double& value) {
  for (; !text.empty(); text.remove_prefix(1)) {
    const size_t length = number_length(text);
    if (length == 0) continue;
    if (length > kLongestNumber) return false;
    char digits[kLongestNumber + 1] = "";
    std::memcpy(digits, text.data(), length);
    value = std::strtod(digits, nullptr);
    text.remove_prefix(length);
    return std::isfinite(value);
  }
  return false;
}

std::string_view first_line(std::string_view text) { return text.substr(0, text.find('\n')); }

double ticks_per_second() { return static_cast<double>(sysconf(_SC_CLK_TCK)); }

bool sum_cycles(std::string_view text, double& kilocycles) {
  double khz, ticks, sum = 0;
  if (!take_number(text, khz)) return false;
  do {
    if (!take_number(text, ticks)) return false;
    sum += khz * ticks / ticks_per_second();
  } while (take_number(text, khz));
  kilocycles = sum;
  return std::isfinite(sum);
}

// proc(5): "cpu user nice system idle iowait irq softirq steal ..."; guests are within user.
bool sum_busy(std::string_view text, double& busy_ns) {
  text = first_line(text);
  if (text.substr(0, 4) != "cpu ") return false;
  double sum = 0;
  for (int field = 0; field < 8; ++field) {
    double ticks;
    if (!take_number(text, ticks)) return field >= 4;
    if (field != 3 && field != 4) sum += ticks;
    busy_ns = sum / ticks_per_second() * 1e9;
    if (!std::isfinite(busy_ns)) return false;
  }
  return true;
}

bool find_charging(std::string_view text, double& charging) {
  if (first_line(text).empty()) return false;
  charging = text.substr(0, 11) == "Discharging" ? 0 : 1;
  return true;
}

}  // namespace

bool find_value(std::string_view text, Reading reading, const Channel& channel, double& value) {
  switch (reading) {
    case Reading::kTimeInState:
      return sum_cycles(text, value);
    case Reading::kCpuBusy:
      return sum_busy(text, value);
    case Reading::kCharging:
      return find_charging(text, value);
    case Reading::kNumber:
      break;
  }
  const size_t at = text.find(channel.after);
  if (at == std::string_view::npos) return false;
  text.remove_prefix(at + channel.after.size());
  if (!channel.after.empty() && !begins_with_number(text)) return false;
  if (!take_number(text, value)) return false;
  value *= channel.scale;
  return std::isfinite(value);
}

}  // namespace phonebench
