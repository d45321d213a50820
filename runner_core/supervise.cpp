// Starts a runner so that it outlives whoever asked for it, and notes how it ended.
//
//   supervise RESULT_DIR -- RUNNER ARGS...
//   supervise --await RESULT_DIR SECONDS
//
// RESULT_DIR/pid     this process: "PID START_TICKS" (the start time tells a recycled id). It
//                    leads a process group that holds the runner too: kill -PID ends both
// RESULT_DIR/stdout, RESULT_DIR/stderr
// RESULT_DIR/exit    how it ended; appears whole, and only after the runner is gone
//
// The second form sleeps until RESULT_DIR/exit is there (0) or the time is over (1), so that a host
// can wait over one connection without a process that polls beside what is being measured.
//
// Plain C calls only: it is linked statically and must cost next to nothing.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace {

int64_t now_ns() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{time.tv_sec} * 1000000000 + time.tv_nsec;
}

[[noreturn]] void fail(const char* doing, const char* what) {
  std::fprintf(stderr, "supervise: cannot %s %s: %s\n", doing, what, std::strerror(errno));
  _exit(2);
}

// Write a small file so that it is there whole or not at all. Paths are relative to RESULT_DIR.
void write_whole(const char* name, const char* format, ...) __attribute__((format(printf, 2, 3)));
void write_whole(const char* name, const char* format, ...) {
  char partial[64];
  std::snprintf(partial, sizeof(partial), "%s.partial", name);
  FILE* file = std::fopen(partial, "we");
  if (file == nullptr) fail("create", partial);
  va_list arguments;
  va_start(arguments, format);
  std::vfprintf(file, format, arguments);
  va_end(arguments);
  const bool written = std::fflush(file) == 0 && fsync(fileno(file)) == 0;
  if (std::fclose(file) != 0 || !written || std::rename(partial, name) != 0) fail("write", name);
}

// The 22nd field of /proc/PID/stat: when this process began, in clock ticks since boot.
uint64_t own_start_ticks() {
  FILE* file = std::fopen("/proc/self/stat", "re");
  if (file == nullptr) return 0;
  char text[1024];
  const size_t size = std::fread(text, 1, sizeof(text) - 1, file);
  std::fclose(file);
  text[size] = '\0';
  // The 2nd field is the program's name in parentheses, and may hold anything.
  const char* at = std::strrchr(text, ')');
  for (int field = 2; at != nullptr && field < 22; ++field) at = std::strchr(at + 1, ' ');
  return at == nullptr ? 0 : std::strtoull(at, nullptr, 10);
}

void forward(int number) {
  signal(number, SIG_IGN);  // this process belongs to the group too
  kill(0, number);
}

// Outlive the terminal and the host: only SIGTERM counts, and goes to the whole group.
void arrange_signals() {
  for (const int ignored : {SIGHUP, SIGINT, SIGQUIT, SIGPIPE}) signal(ignored, SIG_IGN);
  struct sigaction action{};
  action.sa_handler = forward;
  sigaction(SIGTERM, &action, nullptr);
}

void redirect(int descriptor, const char* name) {
  const int file = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (file < 0 || dup2(file, descriptor) < 0) fail("redirect to", name);
  if (file != descriptor) close(file);
}

[[noreturn]] void become_runner(char** command, int first_dir, pid_t supervisor) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);         // never run on unobserved
  if (getppid() != supervisor) _exit(127);  // it died before that took effect
  redirect(STDOUT_FILENO, "stdout");
  redirect(STDERR_FILENO, "stderr");
  for (const int number : {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM}) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (fchdir(first_dir) != 0) fail("return to", "the first folder");
  char time_text[32];
  std::snprintf(time_text, sizeof(time_text), "%" PRId64, now_ns());
  setenv("PHONEBENCH_EXEC_NS", time_text, 1);
  // OpenBLAS (libtorch on arm64) makes a thread for every core while it is loaded, and these spin
  // for seconds before they sleep: beside whatever is measured. Nobody can tell it later than here;
  // the engine asks it for the threads that the job wants.
  setenv("OPENBLAS_NUM_THREADS", "1", 1);
  execv(command[0], command);
  std::fprintf(stderr, "supervise: cannot execute %s: %s\n", command[0], std::strerror(errno));
  _exit(127);
}

// Returns 0 once DIR/exit is there, 1 when the time is over or DIR is gone.
int await_exit(const char* dir, double seconds) {
  if (chdir(dir) != 0) fail("enter", dir);
  const int watch = inotify_init1(IN_CLOEXEC);
  if (watch < 0 || inotify_add_watch(watch, ".", IN_MOVED_TO | IN_DELETE_SELF) < 0)
    fail("watch", dir);
  const int64_t deadline = now_ns() + static_cast<int64_t>(seconds * 1e9);
  // Looked for after the watch began: it cannot appear unseen in between.
  while (access("exit", F_OK) != 0) {
    const int64_t left_ms = (deadline - now_ns()) / 1000000;
    pollfd ready{watch, POLLIN, 0};
    if (left_ms <= 0 || access(".", F_OK) != 0) return 1;
    if (poll(&ready, 1, static_cast<int>(left_ms)) > 0) {
      char events[4096];
      if (read(watch, events, sizeof(events)) < 0 && errno != EINTR) fail("watch", dir);
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4 && std::strcmp(argv[1], "--await") == 0) return await_exit(argv[2], atof(argv[3]));
  if (argc < 4 || std::strcmp(argv[2], "--") != 0) {
    std::fprintf(stderr,
                 "usage: %s RESULT_DIR -- RUNNER ARGS...\n       %s --await RESULT_DIR SECONDS\n",
                 argv[0], argv[0]);
    return 2;
  }
  setsid();  // refused only to the leader of a group, and leading one is what matters here
  const int first_dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (first_dir < 0) fail("open", ".");
  if (chdir(argv[1]) != 0) fail("enter", argv[1]);

  // SIGTERM waits until there is a runner that can get it.
  sigset_t term, before;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  sigprocmask(SIG_BLOCK, &term, &before);
  arrange_signals();
  write_whole("pid", "%d %" PRIu64 "\n", static_cast<int>(getpid()), own_start_ticks());
  const int64_t start = now_ns();
  const pid_t supervisor = getpid(), pid = fork();
  if (pid < 0) fail("fork", "");
  if (pid == 0) become_runner(argv + 3, first_dir, supervisor);
  sigprocmask(SIG_SETMASK, &before, nullptr);

  int status = 0;
  rusage usage{};
  while (wait4(pid, &status, 0, &usage) < 0) {
    if (errno != EINTR) fail("wait for", argv[3]);
  }
  const int64_t end = now_ns();
  char code[16] = "null", by_signal[16] = "null";
  if (WIFEXITED(status)) std::snprintf(code, sizeof(code), "%d", WEXITSTATUS(status));
  if (WIFSIGNALED(status)) std::snprintf(by_signal, sizeof(by_signal), "%d", WTERMSIG(status));
  write_whole("exit",
              "{\"exit_code\":%s,\"signal\":%s,\"start_ns\":%" PRId64 ",\"end_ns\":%" PRId64
              ",\"max_rss_bytes\":%" PRId64 "}\n",
              code, by_signal, start, end, int64_t{usage.ru_maxrss} * 1024);
  return 0;
}
