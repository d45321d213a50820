#include "platform/text_reader.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "platform/clock.h"

extern char** environ;

namespace phonebench {
namespace {

constexpr int64_t kCommandNs = 5000000000;

std::string with_own_pid(std::string path) {
  const std::string_view placeholder = "@PID";
  const size_t at = path.find(placeholder);
  return at == std::string::npos ? path
                                 : path.replace(at, placeholder.size(), std::to_string(getpid()));
}

// Only where reading from the start gives the present value: other files may have been replaced.
bool may_stay_open(int file) {
  struct statfs system;
  if (fstatfs(file, &system) != 0) return false;
  return system.f_type == PROC_SUPER_MAGIC || system.f_type == SYSFS_MAGIC;
}

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

TextReader::TextReader(const Probe& probe, char* buffer)
    : path_(with_own_pid(probe.file.value_or(""))), words_(probe.command), buffer_(buffer) {
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
