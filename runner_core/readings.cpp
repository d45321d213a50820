#include "readings.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "probes.h"

extern char** environ;

namespace phonebench {
namespace {

constexpr int64_t kCommandNs = 5000000000;
constexpr size_t kLongestNumber = 63;

std::string with_pid(std::string path, pid_t runner) {
  const std::string_view placeholder = "@PID";
  const size_t at = path.find(placeholder);
  return at == std::string::npos ? path
                                 : path.replace(at, placeholder.size(), std::to_string(runner));
}

// Only where reading from the start gives the present value: other files may have been replaced.
bool may_stay_open(int file) {
  struct statfs system;
  if (fstatfs(file, &system) != 0) return false;
  return system.f_type == PROC_SUPER_MAGIC || system.f_type == SYSFS_MAGIC;
}

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

TextReader::TextReader(const Probe& probe, pid_t runner, char* buffer)
    : path_(with_pid(probe.file.value_or(""), runner)), words_(probe.command), buffer_(buffer) {
  for (std::string& word : words_) arguments_.push_back(word.data());
  arguments_.push_back(nullptr);
}

TextReader::~TextReader() {
  if (file_ >= 0) close(file_);
}

Text TextReader::read(int stop) { return words_.empty() ? read_file() : run_command(stop); }

Text TextReader::system_trouble(int error) {
  std::snprintf(trouble_, sizeof(trouble_), "%s", std::strerror(error));
  return {{}, trouble_};
}

Text TextReader::read_file() {
  // Not blocking: a pipe or a device that has nothing to say must not hold up the others.
  if (file_ < 0) file_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file_ < 0) return system_trouble(errno);
  size_t size = 0;
  ssize_t got = 0;
  int error = 0;
  do {
    got = pread(file_, buffer_ + size, kMostText - size, static_cast<off_t>(size));
    if (got < 0) error = errno;
    if (got > 0) size += static_cast<size_t>(got);
  } while ((got > 0 && size < kMostText) || (got < 0 && error == EINTR));
  if (got < 0 || !may_stay_open(file_)) {
    close(file_);
    file_ = -1;
  }
  if (got < 0) return system_trouble(error);
  return {{buffer_, size}};
}

namespace {

// A command that runs, and the end of the pipe that its output comes from.
struct Running {
  pid_t pid;
  int output;
};

// Returns 0, or the error.
int start_command(char* const* arguments, Running& running) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return errno;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t all, none;
  sigfillset(&all);
  sigemptyset(&none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  const int error =
      posix_spawnp(&running.pid, arguments[0], &actions, &attributes, arguments, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  running.output = ends[0];
  if (error != 0) close(ends[0]);
  return error;
}

enum class Ending { kDone, kStopped, kLate };

// Read what a command prints until it has ended, the time is over, or it has to stop.
Ending collect(int output, int stop, char* buffer, size_t& size) {
  const int64_t deadline = now_ns() + kCommandNs;
  char rest[4096];  // what does not fit is read too, or the command would wait for ever
  while (true) {
    const int64_t left_ms = (deadline - now_ns()) / 1000000;
    if (left_ms <= 0) return Ending::kLate;
    pollfd ready[2] = {{output, POLLIN, 0}, {stop, POLLIN, 0}};
    if (poll(ready, 2, static_cast<int>(left_ms)) <= 0) continue;
    if (ready[1].revents != 0) return Ending::kStopped;
    const bool fits = size < kMostText;
    const ssize_t got =
        ::read(output, fits ? buffer + size : rest, fits ? kMostText - size : sizeof(rest));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return Ending::kDone;
    if (fits) size += static_cast<size_t>(got);
  }
}

}  // namespace

Text TextReader::run_command(int stop) {
  Running running{};
  if (const int error = start_command(arguments_.data(), running)) return system_trouble(error);
  size_t size = 0;
  const Ending ending = collect(running.output, stop, buffer_, size);
  close(running.output);
  if (ending != Ending::kDone) kill(running.pid, SIGKILL);
  int status = 0;
  while (waitpid(running.pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (ending == Ending::kStopped) return {{}, "stopped", true};
  if (ending == Ending::kLate) return {{}, "the command took longer than 5 s"};
  if (WIFSIGNALED(status)) {
    std::snprintf(trouble_, sizeof(trouble_), "the command was ended by signal %d",
                  WTERMSIG(status));
    return {{}, trouble_};
  }
  if (WEXITSTATUS(status) != 0) {
    std::snprintf(trouble_, sizeof(trouble_), "the command ended with exit code %d",
                  WEXITSTATUS(status));
    return {{}, trouble_};
  }
  return {{buffer_, size}};
}

}  // namespace phonebench
