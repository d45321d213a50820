// Fatal signals become an `error` record and an `end`, so that a crash says where it happened.
#pragma once

#include <signal.h>

#include <cstddef>

#include "records.h"

namespace phonebench {

// Name the phase that begins; errors and crashes name it.
void enter_phase(const char* name);
const char* current_phase();

// As long as it lives, a fatal signal finishes `writer`'s file before it ends the process. There is
// one at a time, as there is one launch.
class CrashHandlers {
 public:
  explicit CrashHandlers(RecordWriter& writer);
  ~CrashHandlers();
  CrashHandlers(const CrashHandlers&) = delete;
  CrashHandlers& operator=(const CrashHandlers&) = delete;

 private:
  static constexpr size_t kSignals = 8;
  stack_t stack_before_;
  struct sigaction actions_before_[kSignals];
};

// From here on a signal just ends the process: it is a companion of the runner, and the result is
// not its own.
void disarm_crash_handlers();

}  // namespace phonebench
