// Several launches in one process, one after another, as an app would have them.
//
//   launches JOB RESULT [JOB RESULT]...     prints a line of JSON a launch, with what it left
//   behind
#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdio>
#include <string>
#include <vector>

#include "launch.h"
#include "platform/clock.h"
#include "platform/process.h"

using phonebench::Json;

namespace {

std::vector<std::string> told;

const char* name_of(phonebench::Ending ending) {
  switch (ending) {
    case phonebench::Ending::kOk:
      return "ok";
    case phonebench::Ending::kFailed:
      return "failed";
    default:
      return "no result";
  }
}

int count_descriptors() {
  int count = 0;
  DIR* folder = opendir("/proc/self/fd");
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count;
}

// The signals whose action is not the default one.
Json handled_signals() {
  Json handled = Json::array();
  for (int number = 1; number < 32; ++number) {
    struct sigaction action{};
    if (sigaction(number, nullptr, &action) == 0 && action.sa_handler != SIG_DFL) {
      handled.push_back(number);
    }
  }
  return handled;
}

bool has_children() { return waitpid(-1, nullptr, WNOHANG) >= 0 || errno != ECHILD; }

}  // namespace

int main(int argc, char** argv) {
  const int64_t main_ns = phonebench::now_ns();
  for (int i = 1; i + 1 < argc; i += 2) {
    told.clear();
    const phonebench::Outcome outcome =
        phonebench::run_launch(argv[i], argv[i + 1], {std::nullopt, main_ns},
                               [](const char* text) { told.emplace_back(text); });
    const Json left = {{"ending", name_of(outcome.ending)},
                       {"reason", outcome.reason},
                       {"told", told},
                       {"descriptors", count_descriptors()},
                       {"handled_signals", handled_signals()},
                       {"has_children", has_children()},
                       {"affinity", phonebench::get_affinity()}};
    std::printf("%s\n", left.dump().c_str());
  }
  return 0;
}
