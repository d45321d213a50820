// The runner: one job file in, one result file out. It times one case; no plans, no statistics.
//
//   runner_ENGINE JOB.json RESULT.jsonl      exit code 0: ok, 1: failed, 2: wrong usage
//   runner_ENGINE --version
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "launch.h"
#include "platform/clock.h"

namespace {

void show(const char* text) {
  std::printf("%s\n", text);
  std::fflush(stdout);
}

// What supervise.cpp tells of when it started this process.
std::optional<int64_t> exec_time() {
  const char* text = std::getenv("PHONEBENCH_EXEC_NS");
  if (text == nullptr) return std::nullopt;
  return std::strtoll(text, nullptr, 10);
}

int run(const char* job_path, const char* result_path, int64_t main_ns) {
  const phonebench::Outcome outcome =
      phonebench::run_launch(job_path, result_path, {exec_time(), main_ns}, show);
  if (outcome.ending == phonebench::Ending::kNoResult) {
    std::fprintf(stderr, "%s\n", outcome.reason.c_str());
  }
  return outcome.ending == phonebench::Ending::kOk ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t main_ns = phonebench::now_ns();
  int code = 2;
  if (argc == 2 && std::strcmp(argv[1], "--version") == 0) {
    show(phonebench::runner_facts().dump().c_str());
    code = 0;
  } else if (argc == 3) {
    code = run(argv[1], argv[2], main_ns);
  } else {
    std::fprintf(stderr, "usage: %s JOB.json RESULT.jsonl\n       %s --version\n", argv[0],
                 argv[0]);
  }
  // The result is safe: an engine that stumbles while it is torn down must not change the verdict.
  std::_Exit(code);
}
