#include "platform/companion.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "crash.h"
#include "fault.h"
#include "platform/clock.h"

namespace phonebench {
namespace {

constexpr int64_t kPatienceNs = 2000000000;

int64_t as_ns(const timeval& time) {
  return int64_t{time.tv_sec} * 1000000000 + int64_t{time.tv_usec} * 1000;
}

// One that ends otherwise than it was asked to was ended by somebody else.
std::string describe_end(int status) {
  if (WIFSIGNALED(status)) return "was ended by signal " + std::to_string(WTERMSIG(status));
  if (WEXITSTATUS(status) != 0) {
    return "ended with exit code " + std::to_string(WEXITSTATUS(status));
  }
  return "";
}

}  // namespace

SharedMemory::SharedMemory(size_t bytes) : bytes_(bytes) {
  void* start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) {
    throw Fault("internal", std::string("no memory for traces: ") + std::strerror(errno));
  }
  start_ = static_cast<char*>(start);
}

SharedMemory::~SharedMemory() { munmap(start_, bytes_); }

bool stopped_before(int stop, int64_t time_ns) {
  while (true) {
    const int64_t left_ns = std::max<int64_t>(0, time_ns - now_ns());
    const timespec left{static_cast<time_t>(left_ns / 1000000000),
                        static_cast<long>(left_ns % 1000000000)};
    pollfd asked{stop, POLLIN, 0};
    if (ppoll(&asked, 1, &left, nullptr) > 0) return true;
    if (now_ns() >= time_ns) return false;  // otherwise a signal came
  }
}

Companion::~Companion() { end(/*at_once=*/true); }

std::string Companion::start(const std::function<void(int stop)>& work) {
  stop_ = eventfd(0, EFD_CLOEXEC);
  if (stop_ < 0) return std::strerror(errno);
  const pid_t runner = getpid();
  // No signal may find the new process with the runner's handlers still in place.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_ = fork();
  const int error = errno;
  if (pid_ == 0) {
    disarm_crash_handlers();
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == runner) work(stop_);  // otherwise it died before that took effect
    _exit(0);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return pid_ < 0 ? std::strerror(error) : "";
}

std::string Companion::end(bool at_once) {
  if (stop_ >= 0) {
    eventfd_write(stop_, 1);
    close(stop_);
    stop_ = -1;
  }
  if (pid_ <= 0) return "";
  int status = 0;
  rusage usage{};
  const int64_t deadline = at_once ? 0 : now_ns() + kPatienceNs;
  while (wait4(pid_, &status, WNOHANG, &usage) == 0) {
    if (now_ns() > deadline) kill(pid_, SIGKILL);
    const timespec moment{0, 1000000};
    nanosleep(&moment, nullptr);
  }
  pid_ = -1;
  cpu_ns_ += as_ns(usage.ru_utime) + as_ns(usage.ru_stime);
  return describe_end(status);
}

}  // namespace phonebench
